"""Metrics of the lists that users are shown: what all lists together do to the catalogue.

They are computed from how often each item is recommended, and are never averaged over batches.
Legend: B users · K the longest cut-off · I items.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.sparse as sp

from recexp.eval.questions import EvaluationError
from recexp.types import PAD, Interactions


def coverage(counts: np.ndarray, popularity: np.ndarray) -> float:
    """coverage@k = items in somebody's list / items in the catalogue."""
    return float(np.count_nonzero(counts) / len(counts))


def gini(counts: np.ndarray, popularity: np.ndarray) -> float:
    """gini@k = sum_i (2i - I - 1) c_i / (I sum_i c_i), c ascending over the whole catalogue: 0 if all equal."""
    rank = np.arange(1, len(counts) + 1)
    return float(((2 * rank - len(counts) - 1) * np.sort(counts)).sum() / (len(counts) * max(counts.sum(), 1)))


def novelty(counts: np.ndarray, popularity: np.ndarray) -> float:
    """novelty@k = mean of -log2 p(i) over all places in lists, p(i) = (n_i + 1)/(N + I), n train events [bits]."""
    share = (popularity + 1) / (popularity.sum() + len(popularity))
    return float(-(counts * np.log2(share)).sum() / max(counts.sum(), 1))


def popularity_bias(counts: np.ndarray, popularity: np.ndarray) -> float:
    """popularity_bias@k = mean n_i over all places in lists / mean n_i over all train events: 1 is as people do."""
    people = (popularity.astype(float) ** 2).sum() / max(popularity.sum(), 1)
    return float((counts * popularity).sum() / max(counts.sum(), 1) / people)


CATALOGUE: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "coverage": coverage,
    "gini": gini,
    "novelty": novelty,
    "popularity_bias": popularity_bias,
}
"""Metrics of all lists together, from counts [I] of recommendations and of train events."""

DIVERSITY = "intra_list_diversity"
SHOWN = [*CATALOGUE, DIVERSITY]


def co_users(train: Interactions, num_items: int) -> sp.csr_array:
    """Items by their train users, rows of length 1 (0 for an unseen item), [I, U]."""
    shape = (num_items, int(train.user.max(initial=0)) + 1)
    seen = sp.coo_array((np.ones(len(train)), (train.item, train.user)), shape=shape).tocsr()
    seen.data[:] = 1.0
    norm = np.sqrt(np.diff(seen.indptr))
    seen.data /= np.repeat(norm, np.diff(seen.indptr))
    return seen


def diversity(items_BK: np.ndarray, vectors: sp.csr_array) -> np.ndarray:
    """intra_list_diversity = 1 - mean over pairs i != j of cos(v_i, v_j), v the train users of an item, [B].

    From |sum_i v_i|^2 = sum_i |v_i|^2 + sum over pairs; lists of fewer than two items give NaN.
    """
    row, column = np.nonzero(items_BK != PAD)
    item = items_BK[row, column]
    picks = sp.coo_array((np.ones(len(item)), (row, item)), shape=(len(items_BK), vectors.shape[0])).tocsr()
    summed = picks @ vectors
    own = picks @ (np.diff(vectors.indptr) > 0).astype(float)
    length = np.bincount(row, minlength=len(items_BK))
    pairs = np.where(length > 1, length * (length - 1), np.nan)
    return 1 - (summed.multiply(summed).sum(axis=1) - own) / pairs


class Shown:
    """Counts of what was recommended, per cut-off; each user counts once."""

    def __init__(self, metrics: Sequence[str], k: Sequence[int], train: Interactions, shape: tuple[int, int]) -> None:
        """Args: shape: users asked and items in the catalogue."""
        self.k, self.num_items = list(k), shape[1]
        self.catalogue = [name for name in metrics if name in CATALOGUE]
        self.popularity = np.bincount(train.item, minlength=shape[1])
        self.vectors = co_users(train, shape[1]) if DIVERSITY in metrics else None
        self._forget(shape[0])

    def _forget(self, num_users: int) -> None:
        self.asked = np.zeros(num_users, dtype=bool)
        self.counts = np.zeros((len(self.k), self.num_items), dtype=np.int64)
        self.diversity = np.full((len(self.k) if self.vectors is not None else 0, num_users), np.nan)

    def fresh(self) -> Shown:
        """The same, before anybody was asked."""
        twin = copy.copy(self)
        twin._forget(len(self.asked))
        return twin

    @property
    def length(self) -> int:
        """How many items of each list are needed."""
        return max(self.k)

    def update(self, rows: np.ndarray, items_BK: np.ndarray) -> None:
        """Count the lists of rows that were not counted before."""
        _, first = np.unique(rows, return_index=True)
        fresh = first[~self.asked[rows[first]]]
        rows, items_BK = rows[fresh], items_BK[fresh]
        self.asked[rows] = True
        for at, cut in enumerate(self.k):
            shown = items_BK[:, :cut]
            self.counts[at] += np.bincount(shown[shown != PAD], minlength=self.num_items)
            if self.vectors is not None:
                self.diversity[at, rows] = diversity(shown, self.vectors)

    def state(self) -> dict[str, np.ndarray]:
        """What other ranks need, shapes equal on all of them."""
        return {"shown_asked": self.asked, "shown_counts": self.counts, "shown_diversity": self.diversity}

    def merge(self, states: Sequence[Mapping[str, np.ndarray]]) -> None:
        """Become the union of all ranks."""
        times_asked = np.sum([state["shown_asked"] for state in states], axis=0)
        if (times_asked > 1).any():
            raise EvaluationError(
                f"{int((times_asked > 1).sum())} users were asked on more than one rank; give each rank its own rows"
            )
        self.asked = times_asked > 0
        self.counts = np.sum([state["shown_counts"] for state in states], axis=0)
        self.diversity = np.fmax.reduce([state["shown_diversity"] for state in states])

    def result(self) -> dict[str, float]:
        """The metrics of all lists together, {"coverage@10": ...}."""
        return {
            f"{name}@{cut}": CATALOGUE[name](self.counts[at], self.popularity)
            for name in self.catalogue
            for at, cut in enumerate(self.k)
        }

    def per_user(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The metrics of each list, {"intra_list_diversity@10": [rows]}."""
        return {f"{DIVERSITY}@{cut}": values[rows] for cut, values in zip(self.k, self.diversity, strict=False)}
