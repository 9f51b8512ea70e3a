"""Cold items on MovieLens 1M: a two-tower run against chance and against TF-IDF neighbours.

python benchmarks/cold_items.py RUN…   # finished runs of experiment=movielens_1m_cold_items, one for each seed
"""

from __future__ import annotations

import sys

import numpy as np
import polars as pl
import torch
from record import of_run, save
from scipy import sparse
from torch import Tensor

import recexp
from recexp.data.features import Encoder
from recexp.types import Bags, Query

COLUMNS = ["title", "genres", "plot", "director", "actors"]


def tf_idf(run: recexp.task.run.Run) -> np.ndarray:  # type: ignore[name-defined]
    """Items by items cosines of the bags of all columns, idf from train."""
    data = run.experiment.data
    encoder = Encoder([], COLUMNS, ["title", "plot"], [], "words", "train", 1, 100_000)
    columns = encoder(data.dataset, data.split.train).items.values()
    bags = [sparse.csr_matrix(
        (b.weights.numpy(), b.tokens.numpy(), b.offsets.numpy()), (len(b), b.size)
    ) for b in columns if isinstance(b, Bags)]  # fmt: skip
    joined = sparse.hstack(bags).tocsr()
    norms = np.sqrt(joined.multiply(joined).sum(1)).A1 if hasattr(joined, "A1") else sparse.linalg.norm(joined, axis=1)
    joined = sparse.diags(1 / np.maximum(norms, 1e-9)) @ joined
    return (joined @ joined.T).toarray().astype(np.float32)


class Neighbours:
    """R(u, i) = mean of the k largest cosines of i with the items of the history."""

    def __init__(self, cosines: np.ndarray, k: int) -> None:
        self.cosines, self.k = torch.from_numpy(cosines), k

    def __call__(self, query: Query, items: Tensor | None) -> Tensor:
        rows = []
        for start, stop in zip(query.start.tolist(), query.stop.tolist(), strict=True):
            near = self.cosines[query.log.item[start:stop]]
            rows.append(near.topk(min(self.k, len(near)), dim=0).values.mean(0) if len(near) else near.sum(0))
        return torch.stack(rows)


def main(paths: list[str]) -> None:
    """Measure, print, keep."""
    runs = [recexp.load_run(path) for path in paths]
    run = runs[0]
    evaluations, cosines = run.experiment.evaluations, tf_idf(run)
    tried = {k: recall(evaluations["val"], Neighbours(cosines, k)) for k in (1, 5, 20, 10_000)}
    k = max(tried, key=lambda one: tried[one])
    found = {
        **{f"two_tower, seed {one.facts['seed']}": one.metrics["test/recall@20"] for one in runs},
        "two_tower, mean": float(np.mean([one.metrics["test/recall@20"] for one in runs])),
        "random": run.metrics["popularity/recall@20"],  # no cold item is in train: all tie
        f"tf_idf, {k} neighbours": recall(evaluations["test"], Neighbours(cosines, k)),
    }
    print(pl.DataFrame({"model": [*found], "recall@20": [*found.values()]}))
    print(save("movielens_1m_cold_items", **of_run(paths[0]), controls=found))


def recall(evaluation: object, score: Neighbours) -> float:
    """recall@20 of an evaluation."""
    evaluation.reset()  # type: ignore[attr-defined]
    for rows in torch.arange(len(evaluation.users)).split(512):  # type: ignore[attr-defined]
        evaluation.update(score, rows, "cpu")  # type: ignore[attr-defined]
    return float(evaluation.result().metrics["recall@20"])  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(sys.argv[1:])
