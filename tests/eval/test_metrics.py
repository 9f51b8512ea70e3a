"""Closed forms against an oracle that goes through every order of tied items."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recexp.errors import RecexpError
from recexp.eval.metrics import RANKING, TIES, Groups, check_choice, check_cutoffs, check_depth, check_metrics, ranking


def orders(scores: list[int], positives: set[int], ties: str) -> list[list[bool]]:
    """Every ranking that the scores allow, as hits from the top; all equally likely."""
    groups = [[i for i, s in enumerate(scores) if s == value] for value in sorted(set(scores), reverse=True)]
    if ties == "expected":
        choices = [list(itertools.permutations(group)) for group in groups]
    else:
        choices = [[sorted(group, key=lambda i: (i in positives) == (ties == "against"))] for group in groups]
    return [[i in positives for part in parts for i in part] for parts in itertools.product(*choices)]


def by_hand(hits: list[bool], k: int) -> dict[str, float]:
    ranks = [r for r, hit in enumerate(hits, 1) if hit and r <= k]
    total, best = sum(hits), min(k, sum(hits))
    return {
        "hr": float(bool(ranks)),
        "recall": len(ranks) / total,
        "precision": len(ranks) / k,
        "ndcg": sum(1 / math.log2(1 + r) for r in ranks) / sum(1 / math.log2(1 + r) for r in range(1, best + 1)),
        "map": sum(sum(hits[:r]) / r for r in ranks) / best,
        "mrr": 1 / ranks[0] if ranks else 0.0,
    }


def closed(scores: list[int], positives: set[int], ties: str, cuts: list[int]) -> dict[str, float]:
    above = np.array([sum(s > scores[p] for s in scores) for p in sorted(positives)])
    tied = np.array([sum(s == scores[p] for s in scores) for p in sorted(positives)])
    groups = TIES[ties](Groups.of(np.zeros(len(positives), dtype=np.int64), above, tied))
    return {name: float(value[0]) for name, value in ranking(groups, RANKING, cuts).items()}


@st.composite
def lists(draw: st.DrawFn, longest: int) -> tuple[list[int], set[int]]:
    scores = draw(st.lists(st.integers(0, 3), min_size=1, max_size=longest))
    return scores, draw(st.sets(st.integers(0, len(scores) - 1), min_size=1))


@settings(max_examples=150, deadline=None)
@given(lists(longest=6), st.sampled_from(sorted(TIES)))
def test_metrics_are_the_mean_over_all_orders(case: tuple[list[int], set[int]], ties: str) -> None:
    scores, positives = case
    cuts = list(range(1, len(scores) + 1))
    found = closed(scores, positives, ties, cuts)
    rankings = orders(scores, positives, ties)
    for k in cuts:
        exact = [by_hand(hits, k) for hits in rankings]
        for name in RANKING:
            assert found[f"{name}@{k}"] == pytest.approx(np.mean([row[name] for row in exact]), abs=1e-12), (name, k)


@settings(max_examples=150, deadline=None)
@given(lists(longest=40))
def test_metrics_keep_their_bounds(case: tuple[list[int], set[int]]) -> None:
    cuts = list(range(1, len(case[0]) + 1))
    worst, mean, best = (closed(*case, ties, cuts) for ties in ("against", "expected", "for"))
    for name, value in mean.items():
        assert 0 <= value <= 1
        assert worst[name] - 1e-12 <= value <= best[name] + 1e-12
    for k in cuts:
        assert mean[f"hr@{k}"] >= mean[f"recall@{k}"] - 1e-12
        assert mean[f"hr@{k}"] >= mean[f"mrr@{k}"] - 1e-12
        assert mean[f"hr@{k}"] <= k * mean[f"precision@{k}"] + 1e-12
    for k, name in itertools.product(cuts[:-1], ("hr", "recall", "mrr")):
        assert mean[f"{name}@{k}"] <= mean[f"{name}@{k + 1}"] + 1e-12


def test_one_positive_by_hand() -> None:
    """Four above, three beside: hr@6 = (6-4)/4, ndcg@6 = (1/log2 6 + 1/log2 7)/4."""
    scores = [5, 5, 5, 5, 1, 1, 1, 1, 0]
    found = closed(scores, {4}, "expected", [6])
    assert found["hr@6"] == found["recall@6"] == 0.5
    assert found["ndcg@6"] == pytest.approx((1 / math.log2(6) + 1 / math.log2(7)) / 4)
    assert found["mrr@6"] == found["map@6"] == pytest.approx((1 / 5 + 1 / 6) / 4)
    assert closed(scores, {4}, "against", [7])["hr@7"] == 0
    assert closed(scores, {4}, "for", [5])["hr@5"] == 1


def test_constant_scores_are_chance() -> None:
    found = closed([0] * 100, {17}, "expected", [10, 100])
    assert found["hr@10"] == pytest.approx(0.1)
    assert found["hr@100"] == pytest.approx(1)


def test_questions_are_kept_apart() -> None:
    question, above, tied = np.array([0, 0, 1, 1, 2]), np.array([0, 3, 0, 0, 7]), np.array([1, 2, 4, 4, 1])
    groups = Groups.of(question, above, tied)
    assert groups.hits.tolist() == [1, 1, 2, 1]
    assert groups.hits_above.tolist() == [0, 1, 0, 0]
    together = ranking(groups, RANKING, [3])
    for q in range(3):
        own = question == q
        alone = ranking(Groups.of(question[own] - q, above[own], tied[own]), RANKING, [3])
        assert {name: value[q] for name, value in together.items()} == {n: v[0] for n, v in alone.items()}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: check_metrics(["ndgc"], RANKING, "full"), ["'ndgc'", "allowed are ndcg", "eval.metrics=[ndcg]"]),
        (lambda: check_metrics([], RANKING, "full"), ["eval.metrics is empty"]),
        (lambda: check_choice("eval.ties", "agains", TIES), ["eval.ties=agains", "type eval.ties=against"]),
        (lambda: check_cutoffs(10), ["eval.k=10", "type eval.k=[10]"]),
        (lambda: check_cutoffs([]), ["type eval.k=[10]"]),
        (lambda: check_cutoffs([5, 0]), ["type eval.k=[5]"]),
        (lambda: check_cutoffs([5, 5]), ["type eval.k=[5]"]),
        (lambda: check_cutoffs("10"), ["eval.k=10"]),
        (lambda: check_cutoffs([1.5]), ["at least 1"]),
        (lambda: check_depth([5, 50], 30, "items"), ["cut-off 50", "only 30 items", "type eval.k=[5]"]),
        (lambda: check_depth([50], 30, "items"), ["type eval.k=[30]"]),
    ],
)
def test_mistakes_say_what_to_type(call: object, words: list[str]) -> None:
    with pytest.raises(RecexpError) as caught:
        call()
    assert all(word in str(caught.value) for word in words), caught.value
