"""Counting places and finding the top, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recexp.eval.rank import hide_nothing, hide_seen, places, top_items
from recexp.types import PAD, Query


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]))
def test_places_count_above_and_equal(seed: int, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(seed)
    scores_BC = torch.from_numpy(rng.integers(-3, 4, (5, 11)) / 2).to(dtype)
    scores_BC[0, 0] = -torch.inf
    positive_BP = scores_BC.gather(1, torch.from_numpy(rng.integers(0, 11, (5, 4))))
    above = (scores_BC[:, None] > positive_BP[:, :, None]).sum(2)
    equal = (scores_BC[:, None] == positive_BP[:, :, None]).sum(2)
    found = places(positive_BP, scores_BC.clone())
    assert found[0].equal(above)
    assert found[1].equal(equal)


def test_neighbouring_floats_are_not_tied() -> None:
    low = np.float32(1.0)
    scores = torch.tensor([[low, np.nextafter(low, np.float32(2)), 0.5]])
    above, equal = places(scores[:, :1].clone(), scores)
    assert (above.item(), equal.item()) == (1, 1)


def test_seen_items_are_hidden_and_others_are_not() -> None:
    query = Query.from_histories([[2, 2, 0], [], [3]])
    scores = torch.ones(3, 4)
    hide_nothing(scores, query)
    assert scores.eq(1).all()
    hide_seen(scores, query)
    assert scores.isinf().tolist() == [[True, False, True, False], [False] * 4, [False, False, False, True]]


def test_an_unknown_item_in_a_history_hides_nothing() -> None:
    scores = torch.ones(1, 3)
    hide_seen(scores, Query.from_histories([[PAD]]))
    assert scores.eq(1).all()


@pytest.mark.parametrize("length", [1, 3, 6])
def test_top_items_break_ties_by_id_and_leave_hidden_items_out(length: int) -> None:
    inf = torch.inf
    scores = torch.tensor([[1.0, 3, 3, 0, 3, 2], [0.0, 0, 0, 0, 0, 0], [5.0, -inf, -inf, 6, -inf, -inf]])
    expected = torch.tensor([[1, 2, 4, 5, 0, 3], [0, 1, 2, 3, 4, 5], [3, 0, PAD, PAD, PAD, PAD]])
    assert top_items(scores, length).equal(expected[:, :length])


def test_top_items_see_a_tie_that_crosses_the_cut() -> None:
    scores = torch.zeros(1, 2000)
    scores[0, 1500] = 1
    assert top_items(scores, 3).tolist() == [[1500, 0, 1]]
