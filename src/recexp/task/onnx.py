"""Towers as ONNX programs."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recexp.errors import RecexpError
from recexp.model.base import Tower

EXTRA = "Type pip install 'recexp[export]'."


def write(tower: Tower, rows: Any, path: Path) -> None:
    """Export a tower, any number of rows at once; what may be longer than in `rows` is dynamic too."""
    _need("onnx")
    _need("onnxscript")
    inputs = tower.inputs(rows)
    size = torch.export.Dim("rows", min=1)
    shapes = tuple({0: size, **({1: torch.export.Dim.AUTO} if name.endswith(BAGS) else {})} for name in tower.names)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own, of its own future
        torch.onnx.export(
            tower,
            tuple(inputs),
            path,
            input_names=tower.names,
            output_names=["vector"],
            dynamic_shapes=(shapes,),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


BAGS = ("_tokens", "_weights")


class Program:
    """A tower that onnxruntime runs, on one thread.

    Args:
        path: of the .onnx file.
    """

    def __init__(self, path: Path) -> None:
        runtime = _need("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, tower: Tower, rows: Any) -> np.ndarray:
        """The vectors of some rows, [R, D]."""
        given = zip(tower.names, tower.inputs(rows), strict=True)
        wanted = {one.name for one in self.session.get_inputs()}
        vectors: np.ndarray = self.session.run(None, {name: t.cpu().numpy() for name, t in given if name in wanted})[0]
        return vectors


def _need(package: str) -> Any:
    try:
        return __import__(package)
    except ImportError as error:
        raise RecexpError(f"ONNX needs the package {package}. {EXTRA}") from error
