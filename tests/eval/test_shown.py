"""Metrics of lists, by hand and against plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from recexp.eval.shown import co_users, coverage, diversity, gini, novelty, popularity_bias
from recexp.types import PAD

POPULARITY = np.array([6, 1, 1, 0])


def test_coverage_and_gini_by_hand() -> None:
    assert coverage(np.array([3, 0, 1, 0]), POPULARITY) == 0.5
    assert gini(np.array([2, 2, 2, 2]), POPULARITY) == 0
    assert gini(np.array([0, 8, 0, 0]), POPULARITY) == pytest.approx(0.75)
    assert gini(np.array([1, 3, 0, 0]), POPULARITY) == pytest.approx(
        np.abs(np.subtract.outer([1, 3, 0, 0], [1, 3, 0, 0])).sum() / (2 * 4 * 4)
    )


def test_novelty_is_finite_for_unseen_items() -> None:
    assert novelty(np.array([0, 0, 0, 5]), POPULARITY) == pytest.approx(np.log2(12))
    assert novelty(np.array([1, 1, 0, 0]), POPULARITY) == pytest.approx(np.log2([12 / 7, 6]).mean())


def test_popularity_bias_of_peoples_own_choices_is_one() -> None:
    assert popularity_bias(POPULARITY, POPULARITY) == pytest.approx(1)
    assert popularity_bias(np.array([2, 0, 0, 0]), POPULARITY) == pytest.approx(6 / (38 / 8))


def test_diversity_is_the_mean_over_pairs(happened) -> None:
    rng = np.random.default_rng(1)
    train = happened([(int(u), int(i)) for u, i in rng.integers(0, [9, 5], (40, 2))])
    seen = np.zeros((9, 7))
    seen[train.user, train.item] = 1
    norm = np.linalg.norm(seen, axis=0)
    cosine = seen.T @ seen / np.maximum(np.outer(norm, norm), 1e-9)
    lists = np.array([[0, 1, 2], [6, 3, PAD], [4, 6, 5], [1, PAD, PAD]])
    found = diversity(lists, co_users(train, 7))
    for row, items in enumerate(([0, 1, 2], [6, 3], [4, 6, 5])):
        pairs = [cosine[i, j] for i, j in itertools.combinations(items, 2)]
        assert found[row] == pytest.approx(1 - np.mean(pairs))
    assert np.isnan(found[3])
