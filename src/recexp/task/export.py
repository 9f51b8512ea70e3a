"""task=export: item vectors as an index, both towers as ONNX, and how well they agree with the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from omegaconf import DictConfig
from torch import Tensor

from recexp.errors import RecexpError
from recexp.model.base import Factored, Tower
from recexp.task import onnx, show
from recexp.task.index import Index
from recexp.task.job import Job
from recexp.task.run import Run
from recexp.types import Log, Query

K = 20
QUERIES = 1000
"""Users that the copies are compared for."""
CHUNK = 4096
TIMED = 200
"""Single users that are timed."""


def export(config: DictConfig, job: Job) -> None:
    """Write `items.usearch`, `query_tower.onnx`, `item_tower.onnx` and what was found of them."""
    run = Run(config.run, config)
    model = factored(run)
    with show.waiting("reading the data"):
        query = some_queries(run)
    index = Index.build(item_vectors(model))
    job.begin(config, parent=run.facts.get("id"), data=run.experiment.data.dataset.sha256)
    report = {**_index(index, model, query), **_towers(model, query, job.folder.path)}
    index.save(job.folder.path)
    job.folder.write_table("items.parquet", pl.DataFrame({"item": run.items}))
    job.finish(report, model=str(run.path), expansion=int(index.graph.expansion_search))
    for name, value in report.items():
        show.console.print(f"{name.removeprefix('export/'):24} {value:.6g}")


def factored(run: Run) -> Factored:
    """The run's model.

    Raises:
        RecexpError: its score is no product of two vectors.
    """
    if not isinstance(run.model, Factored):
        raise RecexpError(
            f"{run.path}: {type(run.model).__name__} scores items by no vectors, so there is nothing to index. "
            "Export a run of a model with two towers, such as model=two_tower, dssm or mf."
        )
    return run.model


def some_queries(run: Run) -> Query:
    """The first users of the data with all that they did, by id where training saw them."""
    dataset = run.experiment.data.dataset
    users = torch.arange(min(QUERIES, dataset.num_users))
    offsets = torch.from_numpy(dataset.interactions.offsets(dataset.num_users))
    return run.known(Query(users, Log.of(dataset.interactions), offsets[users], offsets[users + 1]))


@torch.no_grad()
def item_vectors(model: Factored) -> np.ndarray:
    """The vectors of all items, [I, D]."""
    chunks = torch.arange(model.num_items).split(CHUNK)
    return torch.cat([model.encode_items(chunk) for chunk in chunks]).numpy()


@torch.no_grad()
def _index(index: Index, model: Factored, query: Query) -> dict[str, float]:
    queries_QD = model.encode_query(query).numpy()
    exact_QK = torch.from_numpy(queries_QD @ item_vectors(model).T).topk(min(K, model.num_items)).indices.numpy()
    recall = index.tune(queries_QD, exact_QK)
    seconds = [_timed(index, one[None]) for one in queries_QD[:TIMED]]
    return {f"export/index_recall@{K}": recall, "export/index_ms": 1000 * float(np.median(seconds))}


def _timed(index: Index, query_1D: np.ndarray) -> float:
    began = time.perf_counter()
    index.best(query_1D, K)
    return time.perf_counter() - began


def _towers(model: Factored, query: Query, folder: Path) -> dict[str, float]:
    towers = model.towers()
    if towers is None:
        show.notes([f"{type(model).__name__} has no towers that ONNX can hold: the index alone was written."])
        return {}
    report: dict[str, float] = {}
    asked: list[Query | Tensor] = [query, torch.arange(model.num_items)]
    for name, tower, rows in zip(("query", "item"), towers, asked, strict=True):
        path = folder / f"{name}_tower.onnx"
        onnx.write(tower.eval(), next(parts(rows, 2)), path)
        report[f"export/{name}_tower_difference"] = difference(onnx.Program(path), tower, model, rows)
    return report


@torch.no_grad()
def difference(program: onnx.Program, tower: Tower, model: Factored, rows: Query | Tensor) -> float:
    """The largest difference between the program's and the model's vectors."""
    encode: Callable[[Any], Tensor] = model.encode_query if isinstance(rows, Query) else model.encode_items
    pairs = ((program(tower, part), encode(part).numpy()) for part in parts(rows, 512))
    return max(float(np.abs(given - own).max()) for given, own in pairs)


def parts(rows: Query | Tensor, size: int) -> Iterator[Any]:
    """The rows, some at a time."""
    for start in range(0, len(rows), size):
        some = slice(start, start + size)
        yield rows.rows(some) if isinstance(rows, Query) else rows[some]
