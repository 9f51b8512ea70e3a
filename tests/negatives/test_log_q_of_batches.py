"""What log q is for: on average over batches, sum_j exp(S_j - log q_j) is the sum over the catalogue."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from recexp.examples.base import Examples
from recexp.examples.events import Events
from recexp.examples.next_items import NextItems
from recexp.negatives.base import Negatives, history_of_rows
from recexp.negatives.in_batch import InBatch
from recexp.negatives.mixed import Mixed
from recexp.types import Interactions

USERS, ITEMS, LENGTH, HISTORIES, TIMES = 400, 80, 8, 6, 1500
POPULARITY = 1 / np.arange(2, ITEMS + 2)


@pytest.fixture(scope="module")
def train() -> Interactions:
    rng = np.random.default_rng(0)
    share = POPULARITY / POPULARITY.sum()
    item = np.concatenate([rng.choice(ITEMS, LENGTH, replace=False, p=share) for _ in range(USERS)]).astype(np.int32)
    user, ones = np.repeat(np.arange(USERS, dtype=np.int32), LENGTH), np.ones(len(item), np.float32)
    return Interactions(user, item, np.arange(len(item)), ones, ones)


def weights(negatives: Negatives, examples: Examples, rows: int, train: Interactions) -> tuple[Tensor, Tensor]:
    """The mean of exp(-log q) of each item, 0 where a batch has it not, in the first row, [I]; what its history asks.

    The first of the rows of examples is in every batch.
    """
    examples.prepare(train, USERS, torch.device("cpu"))
    negatives.prepare(train, ITEMS)
    rng, generator, total_I = np.random.default_rng(1), torch.Generator().manual_seed(1), torch.zeros(ITEMS)
    for _ in range(TIMES):
        others = rng.integers(1, examples.count(train), rows - 1)
        batch = examples(torch.from_numpy(np.append(0, others)), generator)
        candidates = negatives(batch.positive, batch.query, generator)
        assert candidates.log_q is not None
        total_I[candidates.items] += (-candidates.log_q[0]).exp()
    return total_I / TIMES, batch.positive[history_of_rows(batch.query) == 0]


@pytest.mark.parametrize("negatives", [InBatch(), Mixed(10)], ids=["in_batch", "mixed"])
@pytest.mark.parametrize(
    ("examples", "rows"), [(Events(), HISTORIES * LENGTH), (NextItems(10), HISTORIES)], ids=["events", "next_items"]
)
def test_every_item_weighs_as_in_the_catalogue(
    negatives: Negatives, examples: Examples, rows: int, train: Interactions
) -> None:
    weight_I, own = weights(negatives, examples, rows, train)
    torch.testing.assert_close(weight_I[own], torch.ones(len(own)))  # in every batch
    others = torch.ones(ITEMS, dtype=torch.bool).index_fill(0, own, False)
    assert weight_I[others].mean() == pytest.approx(1.0, abs=0.1)
