"""Paired tests against scipy and against each other."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
import scipy.stats

from recexp.errors import RecexpError
from recexp.eval.significance import bootstrap, compare, paired, paired_t, randomization


def test_paired_t_is_scipys() -> None:
    one, other = np.random.default_rng(0).normal(size=(2, 30))
    assert paired_t(one - other) == pytest.approx(scipy.stats.ttest_rel(one, other).pvalue)
    assert paired_t(np.zeros(5)) == 1
    assert paired_t(np.ones(5)) == 0


def test_randomization_comes_near_all_sign_flips() -> None:
    differences = np.array([0.3, 0.1, -0.2, 0.5, 0.4, 0.0, 0.2, -0.1])
    flips = [abs(np.dot(signs, differences)) for signs in itertools.product([-1, 1], repeat=8)]
    exact = np.mean(np.array(flips) >= abs(differences.sum()) - 1e-12)
    assert randomization(differences, 20_000, np.random.default_rng(0)) == pytest.approx(exact, abs=0.01)


def test_bootstrap_comes_near_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(1, 2, 2_000)
    low, high = bootstrap(values, 2_000, 0.95, np.random.default_rng(1))
    half = 1.96 * values.std() / np.sqrt(2_000)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_compare_is_repeatable_and_sees_a_difference() -> None:
    differences = np.random.default_rng(0).normal(0.1, 0.2, 200)
    one, again = (compare(differences, 1_000, 0.95, np.random.default_rng(7)) for _ in range(2))
    assert one == again
    assert 0 < one.low < one.difference < one.high
    assert max(one.p_t, one.p_randomization) < 0.01


def test_pairs_are_matched_by_user() -> None:
    one = pl.DataFrame({"user": ["a", "b", "c"], "hr@1": [1.0, 0.0, float("nan")]})
    other = pl.DataFrame({"user": ["c", "b", "a"], "hr@1": [0.0, 0.5, 0.0]})
    assert sorted(paired(one, other, "hr@1").tolist()) == [-0.5, 1.0]
    with pytest.raises(RecexpError, match="3 and 2 users, 2 of them the same"):
        paired(one, other[1:], "hr@1")
    with pytest.raises(RecexpError, match=r"'hr@2' is not in both runs; allowed are hr@1"):
        paired(one, other, "hr@2")
