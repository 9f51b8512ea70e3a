"""Lists from what task=export wrote instead of from the model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from recexp.errors import RecexpError, nearest
from recexp.model.base import Factored, Recommender, Tower
from recexp.store import Folder
from recexp.task.export import CHUNK, factored
from recexp.task.index import Index
from recexp.task.onnx import Program
from recexp.task.run import Run
from recexp.task.served import best
from recexp.types import PAD, Query

Answers = Callable[[Query, slice, int], pl.DataFrame]
MODEL, INDEX, ONNX = ENGINES = ("model", "index", "onnx")


def answers(run: Run, engine: str, folder: str | None) -> Answers:
    """Who makes the lists: the run's model, or the index or the towers that an export of it wrote.

    Raises:
        RecexpError: there is no such engine, or no export of this run in the folder.
    """
    if engine not in ENGINES:
        like = nearest(engine, ENGINES)
        raise RecexpError(f"engine={engine} is unknown; allowed: {', '.join(like)}. Type engine={like[0]}")
    if engine == MODEL:
        return run.answers
    path = _export_of(run, engine, folder)
    model = copy.deepcopy(factored(run)).cpu()  # where usearch and onnxruntime are, wherever the run's own serves
    if engine == INDEX:
        return partial(_of_index, run, model, Index.load(path, int(Folder(path).run()["expansion"])))
    return partial(_of_towers, run, Towers(model, path))


def _export_of(run: Run, engine: str, folder: str | None) -> Path:
    if folder is None:
        raise RecexpError(
            f"engine={engine} needs the folder of an export. Type python -m recexp task=export run={run.path}, "
            f"then engine={engine} export=FOLDER, its last printed line."
        )
    facts = Folder(folder).run()
    if facts.get("task") != "export" or facts.get("parent") != run.facts.get("id"):
        raise RecexpError(f"export={folder} is not the folder of an export of {run.path}.")
    if facts.get("status") != "finished":
        raise RecexpError(
            f"export={folder} is {facts.get('status')}, not finished. Type python -m recexp task=export run={run.path}"
        )
    needed = {INDEX: "items.usearch", ONNX: "query_tower.onnx"}[engine]
    if not (Path(folder) / needed).exists():
        raise RecexpError(f"{folder} has no {needed}: this model has no towers for ONNX. Type engine=index.")
    return Path(folder)


@torch.no_grad()
def _of_index(run: Run, model: Factored, index: Index, query: Query, rows: slice, k: int) -> pl.DataFrame:
    """As many items as the longest history may hide beside k, without those that it hides."""
    asked = run.known(query.to("cpu")).rows(rows)
    hidden = int((asked.stop - asked.start).max())
    items_BK, scores_BK = index.best(model.encode_query(asked).numpy(), k + hidden)
    met_BK = _met(items_BK, asked.history.numpy(), model.num_items)
    place_BK = np.cumsum(~met_BK, axis=1)
    row_N, column_N = np.nonzero(~met_BK & (place_BK <= k))
    columns = {"row": row_N + rows.start, "item": items_BK[row_N, column_N], "rank": place_BK[row_N, column_N]}
    return pl.DataFrame({**columns, "score": scores_BK[row_N, column_N].astype(np.float32)})


def _met(items_BK: np.ndarray, history_BL: np.ndarray, num_items: int) -> np.ndarray:
    """Which of its items are in the history of each row, [B, K] bool."""
    first_B1 = np.arange(len(items_BK))[:, None] * num_items
    return np.isin(items_BK + first_B1, (history_BL + first_B1)[history_BL != PAD])


def _of_towers(run: Run, towers: Towers, query: Query, rows: slice, k: int) -> pl.DataFrame:
    return best(towers, run.known(query.to("cpu")), rows, k)


class Towers(Recommender):
    """Both ONNX programs as a model.

    Args:
        model: that knows what its towers' inputs are. folder: with the programs.
    """

    def __init__(self, model: Factored, folder: Path) -> None:
        super().__init__()
        found = model.towers()
        assert found is not None
        self.query_tower: Tower = found[0]
        self.query_program = Program(folder / "query_tower.onnx")
        items = Program(folder / "item_tower.onnx")
        chunks = torch.arange(model.num_items).split(CHUNK)
        self.vectors = torch.from_numpy(np.concatenate([items(found[1], chunk) for chunk in chunks]))

    def score(self, query: Query, items: Tensor | None = None) -> Tensor:
        vectors = self.vectors if items is None else self.vectors[items.clamp(min=0)]
        query_QD = torch.from_numpy(self.query_program(self.query_tower, query))
        return query_QD @ vectors.T if vectors.dim() == 2 else (vectors @ query_QD[:, :, None]).squeeze(-1)
