"""A small world: who did what, who is asked, and a model that is a table of scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import polars as pl
import pytest
import torch

from recexp.eval.evaluation import Evaluation, Result
from recexp.eval.segments import Segments
from recexp.types import Dataset, Holdout, Interactions, Query, Split


def events(pairs: Iterable[tuple[int, int]], labels: Iterable[float] | None = None) -> Interactions:
    rows = sorted(
        zip(pairs, labels if labels is not None else iter(lambda: 1.0, None), strict=False), key=lambda r: r[0][0]
    )
    user = np.array([p[0] for p, _ in rows], dtype=np.int32)
    item = np.array([p[1] for p, _ in rows], dtype=np.int32)
    label = np.array([value for _, value in rows], dtype=np.float32)
    return Interactions(user, item, np.zeros(len(user), np.int64), np.ones(len(user), np.float32), label)


class World:
    """Users `u0 ..` and items `i0 ..`; histories are all of train."""

    def __init__(self, train: Interactions, target: Interactions, num_users: int, num_items: int, **given: np.ndarray):
        users = pl.DataFrame({"user": [f"u{u}" for u in range(num_users)]})
        items = pl.DataFrame({"item": [f"i{i}" for i in range(num_items)]})
        self.dataset = Dataset("toy", Interactions.concat(train, target), users, items)
        self.split = Split(train, None, Holdout(train, target), **given)

    def on(self, protocol: object, seed: int = 0) -> Evaluation:
        return protocol.on(self.split, self.split.test, self.dataset, seed)


@pytest.fixture
def world() -> type[World]:
    return World


@pytest.fixture
def happened() -> Callable[..., Interactions]:
    return events


@pytest.fixture
def random_world() -> World:
    """40 users, 30 items, 5 events of the past and 1 to 6 targets each; user 0 has no past."""
    rng = np.random.default_rng(3)
    train, target = [], []
    for user in range(40):
        items = rng.permutation(30)
        train += [(user, int(i)) for i in items[: 5 if user else 0]]
        target += [(user, int(i)) for i in items[5 : 6 + user % 6]]
    return World(events(train), events(target), 40, 30)


@pytest.fixture
def segments() -> Segments:
    return Segments(head_share=0.2, cold_below=3)


@pytest.fixture
def table() -> Callable[[np.ndarray], Callable]:
    """A model that looks its scores up by dense user id (PAD: the last row)."""

    def model(scores: np.ndarray) -> Callable[[Query, torch.Tensor | None], torch.Tensor]:
        scores_UI = torch.as_tensor(scores)

        def score(query: Query, items: torch.Tensor | None = None) -> torch.Tensor:
            return scores_UI[query.users] if items is None else scores_UI[query.users].gather(1, items)

        return score

    return model


@pytest.fixture
def asked() -> Callable[..., Result]:
    """The result after asking everybody, in chunks."""

    def run(evaluation: Evaluation, score: Callable, chunk: int = 7) -> Result:
        for rows in torch.arange(len(evaluation.users)).split(chunk):
            evaluation.update(score, rows, "cpu")
        return evaluation.result()

    return run


@pytest.fixture
def close() -> Callable[[Mapping[str, float], Mapping[str, float]], bool]:
    def same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
        return one.keys() == other.keys() and all(abs(one[name] - other[name]) < 1e-9 for name in one)

    return same
