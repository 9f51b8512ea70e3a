"""Prepared datasets on disk, so that a file is parsed once."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recexp.data.raw import RawFile, cache_folder
from recexp.types import Dataset, Interactions

FORMAT = 3
"""To be raised whenever the same files and the same config prepare differently."""

log = logging.getLogger("recexp")


def cached(files: Sequence[RawFile], config: Mapping[str, Any], build: Callable[[], Dataset]) -> Dataset:
    """The dataset prepared earlier from the same bytes and config, or built now and kept."""
    key = json.dumps([FORMAT, config, [file.digest() for file in files]], sort_keys=True)
    path = cache_folder() / "prepared" / (hashlib.sha256(key.encode()).hexdigest() + ".npz")
    dataset = _read(path)
    if dataset is None:
        dataset = build()
        _write(dataset, path)
    return dataset


def _read(path: Path) -> Dataset | None:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return _unpack({name: stored[name] for name in stored.files})
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever is wrong with it, it can be made again
        log.warning("%s is damaged (%s); preparing the data again.", path, error)
        return None


def _write(dataset: Dataset, path: Path) -> None:
    """A whole file or none: two runs may prepare the same data at once, and the last one to finish wins."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                np.savez(stream, allow_pickle=False, **_pack(dataset))
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        log.warning("the prepared data could not be kept in %s (%s).", path.parent, error)


def _pack(dataset: Dataset) -> dict[str, Any]:
    arrays: dict[str, Any] = {name: getattr(dataset, name) for name in ("name", "sha256", "timed")}
    arrays |= vars(dataset.interactions) | {"circumstances": json.dumps(dataset.context)}
    arrays |= {name: _bytes(getattr(dataset, name)) for name in ("users", "items")}
    return arrays | {n: a for n in ("part", "negatives") if (a := getattr(dataset, n)) is not None}


def _unpack(arrays: Mapping[str, np.ndarray]) -> Dataset:
    interactions = Interactions(*(arrays[name] for name in ("user", "item", "time", "weight", "label", "context")))
    users, items = (pl.read_ipc(io.BytesIO(arrays[name].tobytes())) for name in ("users", "items"))
    optional = arrays.get("part"), arrays.get("negatives")
    sha256, timed = str(arrays["sha256"]), bool(arrays["timed"])
    context = json.loads(str(arrays["circumstances"]))
    return Dataset(str(arrays["name"]), interactions, users, items, *optional, sha256, timed, context)


def _bytes(table: pl.DataFrame) -> np.ndarray:
    stream = io.BytesIO()
    table.write_ipc(stream)
    return np.frombuffer(stream.getvalue(), np.uint8)
