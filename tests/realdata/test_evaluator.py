"""Popularity on the NCF files is known to the last digit: it validates the evaluator.

Rendle, Krichene, Zhang & Anderson, RecSys 2020, table 3: HR@10 .4535, NDCG@10 .2543.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recexp.eval.protocol import Sampled
from recexp.eval.segments import Segments
from recexp.types import Dataset, Holdout, Interactions, Split

pytestmark = pytest.mark.realdata


def read(name: str) -> bytes:
    if "RECEXP_DATA" not in os.environ:
        pytest.skip("RECEXP_DATA is not set")
    path = Path(os.environ["RECEXP_DATA"]) / "ncf" / f"{name}.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return gzip.decompress(path.read_bytes())


def ratings(name: str) -> Interactions:
    columns = pl.read_csv(read(name), separator="\t", has_header=False).to_numpy()
    user, item, rating, time = columns[np.lexsort((columns[:, 3], columns[:, 0]))].T
    weight = np.ones(len(user), np.float32)
    return Interactions(user.astype(np.int32), item.astype(np.int32), time, weight, rating.astype(np.float32))


@pytest.fixture(scope="module")
def ncf() -> tuple[Split, Dataset]:
    train, test = ratings("ml-1m.train.rating"), ratings("ml-1m.test.rating")
    lines = read("ml-1m.test.negative").decode().splitlines()
    negatives = np.array([line.split("\t")[1:] for line in lines], dtype=np.int32)
    users, items = pl.DataFrame({"user": np.arange(6040)}), pl.DataFrame({"item": np.arange(3706)})
    dataset = Dataset("ncf", Interactions.concat(train, test), users, items)
    return Split(train, None, Holdout(train, test), negatives), dataset


@pytest.mark.parametrize(
    ("ties", "hits", "hr", "ndcg"),
    [
        ("expected", 2739.0, 0.45348, 0.25427),
        ("against", 2737.0, 0.45315, 0.25409),
        ("for", 2741.0, 0.45381, 0.25446),
    ],
)
def test_popularity_on_ncf_ml_1m(ncf: tuple[Split, Dataset], ties: str, hits: float, hr: float, ndcg: float) -> None:
    split, dataset = ncf
    protocol = Sampled("ncf", [10], ["hr", "ndcg"], ties, "given", 99, 512, Segments(0.2, 5))
    evaluation = protocol.on(split, split.test, dataset, 0)
    found = evaluation.of_popularity().metrics
    assert evaluation.notes == ["156 given negatives are targets of the same user: taken out"]
    assert found["hr@10"] * 6040 == pytest.approx(hits, abs=1e-6)
    assert found["hr@10"] == pytest.approx(hr, abs=5e-6)
    assert found["ndcg@10"] == pytest.approx(ndcg, abs=5e-6)
