"""Hard negatives: not met, and scored higher than chance; mixed ones: what is drawn how often, and what is masked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from recexp.errors import RecexpError
from recexp.negatives.hard import Hard
from recexp.negatives.mixed import Mixed
from recexp.types import Candidates, Interactions, Query

USERS, ITEMS = 30, 200
SCORES_UI = torch.randn(USERS, ITEMS, generator=torch.Generator().manual_seed(0))


def events() -> Interactions:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(USERS, dtype=np.int32), 20)
    item = np.concatenate([rng.permutation(ITEMS)[:20] for _ in range(USERS)]).astype(np.int32)
    ones = np.ones(len(user), np.float32)
    return Interactions(user, item, np.arange(len(user)), ones, ones)


class Asked:
    """A model that counts what it is asked."""

    scores = 0

    def __call__(self, query: Query, items: Tensor | None) -> Tensor:
        assert items is not None
        self.scores += len(query) * len(items)
        return SCORES_UI[query.users][:, items]


def mined(epoch: int, asked: Asked | None = None, **settings: int) -> tuple[Hard, Candidates, Tensor]:
    hard = Hard(**{"num_negatives": 6, "num_hard": 3, "num_kept": 5, "pool_size": 50, **settings})
    hard.prepare(events(), ITEMS)
    generator = torch.Generator().manual_seed(1)
    hard.refresh(asked or Asked(), epoch, generator)
    users = torch.arange(USERS).repeat(20)
    query = Query.from_histories([[] for _ in users], users.tolist())
    return hard, hard(torch.zeros(len(users), dtype=torch.int64), query, generator), users


def test_hard_negatives_are_not_met_and_score_higher_than_uniform_ones() -> None:
    _, candidates, users = mined(epoch=1)
    assert candidates.valid is not None
    met = {tuple(pair) for pair in np.stack([events().user, events().item], 1).tolist()}
    score_QC = SCORES_UI[users[:, None], candidates.items]
    hard_QH, valid_QH = candidates.items[:, 1:4], candidates.valid[:, 1:4]
    pairs = zip(users.repeat_interleave(3).tolist(), hard_QH.flatten().tolist(), strict=True)
    assert not any(pair in met for pair, counts in zip(pairs, valid_QH.flatten().tolist(), strict=True) if counts)
    assert valid_QH.float().mean() > 0.9
    uniform = score_QC[:, 4:][candidates.valid[:, 4:]]
    assert score_QC[:, 1:4][valid_QH].mean() > uniform.mean() + 1.0
    assert score_QC[:, 1:4][valid_QH].min() > uniform.mean()


class Fond(Asked):
    """A model that has learned: what was met scores highest."""

    def __call__(self, query: Query, items: Tensor | None) -> Tensor:
        met_UI = torch.zeros(USERS, ITEMS)
        met_UI[torch.from_numpy(events().user).long(), torch.from_numpy(events().item).long()] = 100.0
        return super().__call__(query, items) + met_UI[query.users][:, items]


def test_what_was_met_leaves_no_gap_among_the_hard() -> None:
    hard, candidates, _ = mined(1, Fond())
    assert (hard.hard >= 0).all()
    assert candidates.valid is not None
    assert candidates.valid[:, 1:4].float().mean() > 0.9


def test_the_first_epoch_takes_the_first_of_the_pool() -> None:
    hard, *_ = mined(0)
    generator = torch.Generator().manual_seed(1)
    pool_P = torch.randperm(ITEMS, generator=generator)[:50]
    met = set(events().item[events().user == 7].tolist())
    assert hard.hard[7].tolist() == [item for item in pool_P.tolist() if item not in met][:5]


def test_the_first_epoch_knows_nothing_and_asks_nothing() -> None:
    asked = Asked()
    _, candidates, users = mined(0, asked)
    assert asked.scores == 0
    assert abs(SCORES_UI[users[:, None], candidates.items[:, 1:4]].mean()) < 0.3


@pytest.mark.parametrize("pool_size", [5, 50, 1000])
def test_the_cost_of_an_epoch_is_bounded_by_the_pool(pool_size: int) -> None:
    asked = Asked()
    mined(1, asked, pool_size=pool_size)
    assert asked.scores == USERS * min(pool_size, ITEMS)


def test_each_epoch_draws_another_pool() -> None:
    hard, *_ = mined(1)
    before, generator = hard.hard.clone(), torch.Generator().manual_seed(2)
    hard.refresh(Asked(), 2, generator)
    assert not torch.equal(hard.hard, before)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"num_hard": 7}, r"num_hard=7: must be from 1 to negatives.num_negatives=6"),
        ({"num_kept": 51}, r"num_kept=51: must be from 1 to negatives.pool_size=50"),
    ],
)
def test_impossible_wishes(settings: dict[str, int], complaint: str) -> None:
    with pytest.raises(RecexpError, match=complaint):
        mined(1, **settings)


def mixed(positive: list[int], n: int) -> Candidates:
    negatives = Mixed(n)
    negatives.prepare(events(), ITEMS)
    query = Query.from_histories([[] for _ in positive])
    return negatives(torch.tensor(positive), query, torch.Generator().manual_seed(3))


def test_mixed_is_what_the_batch_and_the_draw_hold_and_a_rows_own_item_is_never_its_negative() -> None:
    candidates = mixed([4, 7, 4], 500)
    assert len(candidates.items.unique()) == len(candidates.items) > 150
    assert candidates.items[candidates.target].tolist() == [4, 7, 4]
    assert candidates.valid is None
    for negative, positive in zip(candidates.is_negative(), [4, 7, 4], strict=True):
        assert positive not in candidates.items[negative]
