"""task=export: item vectors as an index, both towers as ONNX, and how well they agree with the model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import torch
from omegaconf import DictConfig
from torch import Tensor

from recexp.errors import RecexpError
from recexp.model.base import Factored, Tower
from recexp.task import onnx, show
from recexp.task.index import RECALL, Index
from recexp.task.job import Job
from recexp.task.run import Run
from recexp.types import Log, Query

K = 20
QUERIES = 1000
"""Users that the copies are compared for."""
CHUNK = 4096
TIMED = 200
"""Single users that are timed."""
BYTES = 2**28
"""Of the scores that are held at a time when the exact best items are looked for."""
APART = 1e-4
"""How far a program's vectors may be from the model's."""


@torch.no_grad()
def export(config: DictConfig, job: Job) -> None:
    """Write `items.usearch`, `query_tower.onnx`, `item_tower.onnx` and what was found of them.

    Raises:
        RecexpError: the model has no vectors, or a program's are not the model's; nothing is written.
    """
    run = Run(config.run, config)
    model = factored(run)
    with show.waiting("reading the data"):
        query = some_queries(run)
    queries_QD, items_ID = model.encode_query(query).numpy(), item_vectors(model)
    index = Index.build(items_ID)
    with TemporaryDirectory(dir=job.folder.path) as unseen:
        towers = _towers(model, [query, torch.arange(model.num_items)], [queries_QD, items_ID], Path(unseen))
        report = {**_index(index, queries_QD, items_ID), **towers}
        job.begin(config, parent=run.facts.get("id"), data=run.experiment.data.dataset.sha256)
        index.save(job.folder.path)
        for program in Path(unseen).iterdir():
            program.replace(job.folder.path / program.name)
    job.folder.write_table("items.parquet", pl.DataFrame({"item": run.items}))
    alarms = _alarms(report)
    job.finish(report, model=str(run.path), expansion=int(index.graph.expansion_search), alarms=alarms)
    for name, value in report.items():
        show.console.print(f"{name.removeprefix('export/'):24} {value:.6g}")
    show.alarms(alarms)


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
    """The first users with all that they did, in circumstances of the data, by id where training saw them."""
    dataset, events = run.experiment.data.dataset, run.experiment.data.dataset.interactions
    users = torch.arange(min(QUERIES, dataset.num_users))
    offsets = torch.from_numpy(events.offsets(dataset.num_users))
    start, stop = offsets[users], offsets[users + 1]
    context = torch.from_numpy(events.context.astype(np.int64))[(stop - 1).clamp(min=0)]
    return run.known(Query(users, Log.of(events), start, stop, context=context))


def item_vectors(model: Factored) -> np.ndarray:
    """The vectors of all items, [I, D]."""
    chunks = torch.arange(model.num_items).split(CHUNK)
    return torch.cat([model.encode_items(chunk) for chunk in chunks]).numpy()


def _index(index: Index, queries_QD: np.ndarray, items_ID: np.ndarray) -> dict[str, float]:
    recall = index.tune(queries_QD, exact_best(queries_QD, items_ID, K))
    seconds = [_timed(index, one[None]) for one in queries_QD[:TIMED]]
    return {f"export/index_recall@{K}": recall, "export/index_ms": 1000 * float(np.median(seconds))}


def exact_best(queries_QD: np.ndarray, items_ID: np.ndarray, k: int) -> np.ndarray:
    """The k best items of each query, all items compared, [Q, K]."""
    items = torch.from_numpy(items_ID)
    chunks = torch.from_numpy(queries_QD).split(max(1, BYTES // (4 * len(items))))
    return torch.cat([(chunk @ items.T).topk(min(k, len(items))).indices for chunk in chunks]).numpy()


def _timed(index: Index, query_1D: np.ndarray) -> float:
    began = time.perf_counter()
    index.best(query_1D, K)
    return time.perf_counter() - began


def _alarms(report: dict[str, float]) -> list[str]:
    found = report[f"export/index_recall@{K}"]
    return [] if found >= RECALL else [f"the index finds {found:.1%} of the exact best {K} items, not {RECALL:.0%}"]


def _towers(model: Factored, asked: list[Any], vectors: list[np.ndarray], folder: Path) -> dict[str, float]:
    towers = model.towers()
    if towers is None:
        show.notes([f"{type(model).__name__} has no towers that ONNX can hold: the index alone was written."])
        return {}
    report: dict[str, float] = {}
    for name, tower, rows, own_RD in zip(("query_tower", "item_tower"), towers, asked, vectors, strict=True):
        path = folder / f"{name}.onnx"
        onnx.write(tower.eval(), next(parts(rows, 2)), path)
        apart = difference(onnx.Program(path), tower, rows, own_RD)
        if not apart <= APART:
            raise RecexpError(
                f"{path.name} gives vectors that differ from those of {type(model).__name__} by {apart:.3g}, and at "
                f"most {APART:g} is allowed: nothing was exported. The run itself is sound: use engine=model."
            )
        report[f"export/{name}_difference"] = apart
    return report


def difference(program: onnx.Program, tower: Tower, rows: Query | Tensor, own_RD: np.ndarray) -> float:
    """The largest difference between the program's and the model's vectors; in units of their largest number if > 1."""
    pairs = zip(parts(rows, 512), parts(own_RD, 512), strict=True)
    apart = [np.abs(program(tower, part) - own).max() for part, own in pairs]
    return float(np.max(apart) / max(1.0, np.abs(own_RD).max()))


def parts(rows: Any, size: int) -> Iterator[Any]:
    """The rows, some at a time."""
    for start in range(0, len(rows), size):
        some = slice(start, start + size)
        yield rows.rows(some) if isinstance(rows, Query) else rows[some]
