"""Ranking metrics as their expectation over all orders of tied items, in closed form.

McSherry & Najork, "Computing information retrieval performance measures efficiently in the presence of tied
scores", ECIR 2008.

A group is the set of candidates that share one score with at least one positive. With g candidates strictly above
it, t members, m of them positive, and h positives above it, each of its members has a uniform rank in g+1 .. g+t.
Legend: R questions (one ranking each) · T positives · G groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from recexp.errors import RecexpError, nearest


@dataclass(frozen=True)
class Groups:
    """The tied groups of all questions, in order of question and rank.

    Shape:
        question, above (g), tied (t), hits (m), hits_above (h) [G] int64 · positives [R] int64.
    """

    question: np.ndarray
    above: np.ndarray
    tied: np.ndarray
    hits: np.ndarray
    hits_above: np.ndarray
    positives: np.ndarray

    @staticmethod
    def of(question_T: np.ndarray, above_T: np.ndarray, tied_T: np.ndarray) -> Groups:
        """Gather positives by question and score; questions are numbered 0 .. R-1 without gaps."""
        width = int(above_T.max()) + 1
        _, first, hits = np.unique(question_T.astype(np.int64) * width + above_T, return_index=True, return_counts=True)
        question, positives = question_T[first], np.bincount(question_T)
        before = np.cumsum(positives) - positives
        hits_above = np.cumsum(hits) - hits - before[question]
        return Groups(question, above_T[first].astype(np.int64), tied_T[first], hits, hits_above, positives)

    def total(self, value_G: np.ndarray) -> np.ndarray:
        """Sum over the groups of each question, [R]."""
        return np.bincount(self.question, weights=value_G, minlength=len(self.positives))


def expected(groups: Groups) -> Groups:
    """Every order of tied items is equally likely."""
    return groups


def against(groups: Groups) -> Groups:
    """Positives stand behind all negatives of the same score."""
    return replace(groups, above=groups.above + groups.tied - groups.hits, tied=groups.hits)


def favouring(groups: Groups) -> Groups:
    """Positives stand before all negatives of the same score."""
    return replace(groups, tied=groups.hits)


TIES: dict[str, Callable[[Groups], Groups]] = {"expected": expected, "against": against, "for": favouring}


def _cumulative(terms: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(terms)])


def _discounts(k: int) -> np.ndarray:
    """The sums of 1/log2(1+r) over ranks r <= 0 .. k."""
    return _cumulative(1 / np.log2(1 + np.arange(1, k + 1)))


def _reciprocals(k: int) -> np.ndarray:
    """The sums of 1/r over ranks r <= 0 .. k."""
    return _cumulative(1 / np.arange(1, k + 1))


def _places_within(groups: Groups, k: int) -> np.ndarray:
    """How many of a group's ranks are within the cut-off, [G]."""
    return np.clip(k - groups.above, 0, groups.tied)


def _between(table: np.ndarray, groups: Groups, k: int) -> np.ndarray:
    """The part of a cumulative table on a group's ranks within the cut-off, [G]."""
    return table[np.minimum(groups.above + groups.tied, k)] - table[np.minimum(groups.above, k)]


def _hits(groups: Groups, k: int) -> np.ndarray:
    return groups.total(groups.hits * _places_within(groups, k) / groups.tied)


def recall(groups: Groups, k: int) -> np.ndarray:
    """recall@k = positives within k / positives."""
    return _hits(groups, k) / groups.positives


def precision(groups: Groups, k: int) -> np.ndarray:
    """precision@k = positives within k / k."""
    return _hits(groups, k) / k


def ndcg(groups: Groups, k: int) -> np.ndarray:
    """ndcg@k = sum over positives of [r <= k]/log2(1+r) / the same for min(k, P) positives on top."""
    table = _discounts(k)
    gain = groups.total(groups.hits / groups.tied * _between(table, groups, k))
    return gain / table[np.minimum(groups.positives, k)]


def average_precision(groups: Groups, k: int) -> np.ndarray:
    """map@k = sum over positives of [r <= k] (positives within r)/r / min(k, P).

    The j-th member of a group is positive with m/t, and then has h + 1 + (j-1)a positives within its rank g+j,
    a = (m-1)/(t-1); over j = 1 .. n that sums to n a + (h+1 - (g+1)a) (H(g+n) - H(g)), H the harmonic numbers.
    """
    share = (groups.hits - 1) / np.maximum(groups.tied - 1, 1)
    harmonic = _between(_reciprocals(k), groups, k)
    total = _places_within(groups, k) * share + (groups.hits_above + 1 - (groups.above + 1) * share) * harmonic
    return groups.total(groups.hits / groups.tied * total) / np.minimum(groups.positives, k)


def _first_hit(groups: Groups, k: int, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The expected gain(rank of the first positive) within the cut-off, [R].

    P(first positive of a group is its j-th member) = S(j-1) - S(j), S(j) = prod over i < j of (t-m-i)/(t-i).
    """
    first = groups.hits_above == 0
    above, tied, hits = groups.above[first], groups.tied[first], groups.hits[first]
    none_yet, value = np.ones(len(above)), np.zeros(len(above))
    for j in range(1, min(k, int(tied.max())) + 1):
        still_none = none_yet * np.maximum(tied - hits - j + 1, 0) / np.maximum(tied - j + 1, 1)
        value += np.where(above + j <= k, (none_yet - still_none) * gain(above + j), 0)
        none_yet = still_none
    return value


def hr(groups: Groups, k: int) -> np.ndarray:
    """hr@k = [some positive within k]."""
    return _first_hit(groups, k, np.ones_like)


def mrr(groups: Groups, k: int) -> np.ndarray:
    """mrr@k = [r <= k]/r, r the rank of the first positive."""
    return _first_hit(groups, k, lambda rank: 1 / rank)


RANKING: dict[str, Callable[[Groups, int], np.ndarray]] = {
    "hr": hr,
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "map": average_precision,
    "mrr": mrr,
}
"""Metrics of one question each: averaged over users."""


def ranking(groups: Groups, metrics: Iterable[str], k: Iterable[int]) -> dict[str, np.ndarray]:
    """Every metric at every cut-off for each question, {"ndcg@10": [R]}."""
    cuts = list(k)
    return {f"{name}@{cut}": np.clip(RANKING[name](groups, cut), 0, 1) for name in metrics for cut in cuts}


def check_choice(key: str, asked: str, allowed: Iterable[str]) -> None:
    """Raises: RecexpError if the value of a key is not one of those allowed."""
    if asked not in (names := nearest(str(asked), allowed)):
        raise RecexpError(f"{key}={asked} is not known; allowed are {', '.join(names)}; type {key}={names[0]}")


def check_metrics(asked: Iterable[str], allowed: Iterable[str], protocol: str) -> None:
    """Raises: RecexpError if a metric does not exist in this protocol; needs no data."""
    allowed, asked = list(allowed), list(asked)
    for name in asked:
        if name not in (names := nearest(str(name), allowed)):
            raise RecexpError(
                f"eval.metrics: '{name}' is not a metric of eval={protocol}; allowed are {', '.join(names)}; "
                f"type eval.metrics=[{names[0]}]"
            )
    if not asked:
        raise RecexpError(f"eval.metrics is empty; allowed are {', '.join(allowed)}; type eval.metrics=[{allowed[0]}]")


def check_cutoffs(k: object) -> None:
    """Raises: RecexpError if the cut-offs are not a list of distinct counts of at least 1; needs no data."""
    cuts = [k] if isinstance(k, str) or not isinstance(k, Iterable) else list(k)
    sound = all(isinstance(cut, int) and not isinstance(cut, bool) and cut >= 1 for cut in cuts)
    if isinstance(k, str) or not isinstance(k, Iterable) or not cuts or not sound or len(set(cuts)) < len(cuts):
        usable = sorted({cut for cut in cuts if isinstance(cut, int) and cut >= 1}) or [10]
        raise RecexpError(
            f"eval.k={k}: expected a list of different cut-offs of at least 1; "
            f"type eval.k=[{','.join(str(cut) for cut in usable)}]"
        )


def check_depth(k: Iterable[int], depth: int, what: str) -> None:
    """Raises: RecexpError if a cut-off is longer than the list that is ranked."""
    if max(k) > depth:
        fitting = [cut for cut in k if cut <= depth] or [depth]
        raise RecexpError(
            f"eval.k has the cut-off {max(k)}, but there are only {depth} {what}; "
            f"type eval.k=[{','.join(str(cut) for cut in fitting)}]"
        )
