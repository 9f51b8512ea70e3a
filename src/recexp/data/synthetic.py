"""A small made-up world with known structure: everything a model can learn is planted in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recexp.data.base import prepare
from recexp.data.filters import Filters
from recexp.errors import RecexpError
from recexp.types import Dataset

WORDS = {
    "space": "star orbit comet rocket alien galaxy moon signal",
    "western": "saddle desert sheriff canyon outlaw cattle dust revolver",
    "romance": "letter summer kiss dance wedding rose promise longing",
    "crime": "detective alibi heist motive witness verdict shadow ransom",
    "fantasy": "dragon sword wizard kingdom spell quest elf throne",
    "nature": "forest river glacier wolf reef meadow storm valley",
    "music": "melody guitar stage chorus rhythm concert drum vinyl",
    "cooking": "kitchen recipe spice oven harvest bakery feast broth",
}
FILLER = [
    "the",
    "last",
    "night",
    "of",
    "a",
    "new",
    "house",
    "and",
    "one",
    "long",
    "way",
    "home",
    "under",
    "every",
    "old",
    "sky",
]
YEAR = 365 * 86400
BEGIN = 1704067200  # 2024-01-01
FOLLOW = 0.5
"""How often a user takes the item that follows the one before, rather than one to their general taste."""


@dataclass(frozen=True)
class Synthetic:
    """Users with tastes, items in clusters, and habits of what comes after what; no file, no network.

    Each user likes a few of eight clusters: P(cluster | user) ~ Dirichlet(0.25). Half of the time the next item is
    the follower of the last one on a ring through its cluster; else P(item | cluster) ~ 1 / rank of popularity.
    So factors learn the clusters, sequence models the rings, popularity the skew. Titles, texts, categories, tags and
    prices go with the cluster; gender and age of a user with their favourite one; ratings (1-5) with affinity.

    Args:
        num_users, num_items: before anything is filtered [count].
        num_events: per user, on average; from two thirds to four thirds of it [events].
        seed: of the world, not of the run: runs of different seeds see the same data.
        label: `rating` learns the stars, null learns that an item was chosen.
    """

    num_users: int
    num_items: int
    num_events: int
    seed: int
    label: str | None
    filters: Filters

    def __post_init__(self) -> None:
        if self.num_users < 2 or self.num_events < 3:
            raise RecexpError("data=synthetic needs data.num_users of 2 or more and data.num_events of 3 or more.")
        if self.num_items < max(2 * self.num_events, 2 * len(WORDS)):
            least = max(2 * self.num_events, 2 * len(WORDS))
            raise RecexpError(
                f"data.num_items={self.num_items} is too few for data.num_events={self.num_events}; "
                f"expected {least} or more."
            )

    def load(self) -> Dataset:
        """Make the world anew; the same one for the same arguments."""
        rng = np.random.default_rng(self.seed)
        cluster_I = rng.integers(len(WORDS), size=self.num_items)
        cluster_I[: len(WORDS)] = np.arange(len(WORDS))
        taste_UK = rng.dirichlet(np.full(len(WORDS), 0.25), size=self.num_users)
        items_UT = _walk(rng, taste_UK, cluster_I, self.num_events * 4 // 3)
        affinity_UT = np.take_along_axis(taste_UK, cluster_I[items_UT], 1)
        events = pl.DataFrame(
            {
                "user": np.repeat(np.arange(self.num_users), items_UT.shape[1]),
                "item": items_UT.ravel(),
                "time": _times(rng, *items_UT.shape).ravel(),
                "rating": _ratings(rng, affinity_UT).ravel(),
            }
        )
        users, items = _users(rng, taste_UK), _items(rng, cluster_I)
        events = events.filter(_kept(rng, items_UT, self.num_events * 2 // 3).ravel())
        return prepare("synthetic", events, self.label, self.filters, users, items)


def _walk(rng: np.random.Generator, taste_UK: np.ndarray, cluster_I: np.ndarray, steps: int) -> np.ndarray:
    """What each user takes, step by step, [U, T]; a second look where they took it before."""
    ring_I = _rings(rng, cluster_I)
    taken_UT = np.empty((len(taste_UK), steps), np.int64)
    taken_UT[:, 0] = _choose(rng, taste_UK, cluster_I)
    for t in range(1, steps):
        follows = rng.random(len(taste_UK)) < FOLLOW
        taken_UT[:, t] = np.where(follows, ring_I[taken_UT[:, t - 1]], _choose(rng, taste_UK, cluster_I))
        for _ in range(4):
            again = (taken_UT[:, :t] == taken_UT[:, t, None]).any(1)
            taken_UT[again, t] = _choose(rng, taste_UK[again], cluster_I)
    return taken_UT


def _rings(rng: np.random.Generator, cluster_I: np.ndarray) -> np.ndarray:
    """The item that follows each item, on one random ring per cluster, [I]."""
    ring_I = np.empty_like(cluster_I)
    for cluster in range(len(WORDS)):
        members = rng.permutation(np.flatnonzero(cluster_I == cluster))
        ring_I[members] = np.roll(members, -1)
    return ring_I


def _choose(rng: np.random.Generator, taste_UK: np.ndarray, cluster_I: np.ndarray) -> np.ndarray:
    """One item per user to their taste; within a cluster, the first are the popular ones, [U]."""
    cluster_U = (taste_UK.cumsum(1) < rng.random((len(taste_UK), 1))).sum(1).clip(max=len(WORDS) - 1)
    by_cluster = np.argsort(cluster_I, kind="stable")
    size_K = np.bincount(cluster_I, minlength=len(WORDS))
    begin_U, size_U = (np.cumsum(size_K) - size_K)[cluster_U], size_K[cluster_U]
    # The inverse of P(rank <= r) = log(1 + r) / log(1 + size): Zipf's law without a table.
    rank_U = np.floor(np.exp(rng.random(len(taste_UK)) * np.log1p(size_U)) - 1).astype(np.int64)
    return by_cluster[begin_U + np.minimum(rank_U, size_U - 1)]


def _times(rng: np.random.Generator, num_users: int, steps: int) -> np.ndarray:
    """Sessions and long breaks within one year, [U, T] seconds."""
    gaps_UT = rng.lognormal(0, 2.5, (num_users, steps)).cumsum(1)
    span_U1 = rng.uniform(0.1, 0.9, (num_users, 1))
    start_U1 = rng.uniform(0, 1 - span_U1)
    return (BEGIN + YEAR * (start_U1 + span_U1 * gaps_UT / gaps_UT[:, -1:])).astype(np.int64)


def _ratings(rng: np.random.Generator, affinity_UT: np.ndarray) -> np.ndarray:
    noisy_UT = affinity_UT + rng.normal(0, 0.25, affinity_UT.shape)
    return 1 + np.searchsorted(np.quantile(noisy_UT, [0.06, 0.17, 0.43, 0.78]), noisy_UT)


def _kept(rng: np.random.Generator, items_UT: np.ndarray, least: int) -> np.ndarray:
    """True up to a random length per user, [U, T] bool."""
    num_users, steps = items_UT.shape
    return np.arange(steps) < rng.integers(least, steps + 1, (num_users, 1))


def _users(rng: np.random.Generator, taste_UK: np.ndarray) -> pl.DataFrame:
    favourite_U = taste_UK.argmax(1)
    female_U = rng.random(len(taste_UK)) < np.linspace(0.15, 0.85, len(WORDS))[favourite_U]
    age_U = (20 + 5 * favourite_U + rng.normal(0, 6, len(taste_UK))).clip(14, 90).astype(np.int64)
    return pl.DataFrame({"user": np.arange(len(taste_UK)), "gender": np.where(female_U, "F", "M"), "age": age_U})


def _items(rng: np.random.Generator, cluster_I: np.ndarray) -> pl.DataFrame:
    words_KW = np.array([words.split() for words in WORDS.values()])
    picked_IW = rng.permuted(words_KW[cluster_I], axis=1)
    filler_IW = rng.choice(FILLER, (len(cluster_I), 5))
    return pl.DataFrame(
        {
            "item": np.arange(len(cluster_I)),
            "title": [f"{a} {b} {i}".title() for i, (a, b) in enumerate(picked_IW[:, :2])],
            "text": [" ".join(rng.permutation([*a, *b])) for a, b in zip(picked_IW[:, :5], filler_IW, strict=True)],
            "category": np.array(list(WORDS))[cluster_I],
            "tags": [list(a[:n]) for a, n in zip(picked_IW, rng.integers(1, 4, len(cluster_I)), strict=True)],
            "price": (5 + 4 * cluster_I + rng.lognormal(0, 0.8, len(cluster_I))).round(2),
        }
    )
