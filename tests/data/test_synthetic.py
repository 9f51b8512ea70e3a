"""The made-up world holds what it promises."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recexp.data.filters import Filters
from recexp.data.synthetic import WORDS, Synthetic
from recexp.errors import RecexpError
from recexp.types import Dataset

WORLD = Synthetic(800, 400, 30, 0, None, Filters(None, None, "first", 0, 0))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return WORLD.load()


def test_same_world_for_the_same_seed(dataset: Dataset) -> None:
    assert WORLD.load().sha256 == dataset.sha256
    assert replace(WORLD, seed=1).load().sha256 != dataset.sha256


def test_size_and_times(dataset: Dataset) -> None:
    log = dataset.interactions
    per_user = np.bincount(log.user)
    assert (dataset.num_users, dataset.num_items) == (800, 400)
    assert per_user.min() >= 15
    assert 25 <= per_user.mean() <= 35
    assert log.time.min() >= 1704067200
    assert log.time.max() <= 1704067200 + 365 * 86400
    assert np.median(np.diff(np.unique(log.time))) > 0


def test_popularity_is_skewed(dataset: Dataset) -> None:
    counts = np.sort(np.bincount(dataset.interactions.item))[::-1]
    assert counts[:40].sum() > 2 * counts.sum() * 40 / 400


def test_users_have_tastes(dataset: Dataset) -> None:
    category = dataset.items["category"].to_physical() if False else dataset.items["category"].to_numpy()
    of_event = np.searchsorted(sorted(WORDS), category)[dataset.interactions.item]
    counts_UK = np.zeros((dataset.num_users, len(WORDS)))
    np.add.at(counts_UK, (dataset.interactions.user, of_event), 1)
    favourite = counts_UK.max(1).sum() / counts_UK.sum()
    assert favourite > 0.5  # by chance about 1/8


def test_what_comes_next_depends_on_the_last(dataset: Dataset) -> None:
    log = dataset.interactions
    same = log.user[1:] == log.user[:-1]
    follows = np.zeros((400, 400))
    np.add.at(follows, (log.item[:-1][same], log.item[1:][same]), 1)
    assert follows.max(1).sum() / follows.sum() > 0.35  # each item's favourite follower


def test_features_go_with_the_cluster(dataset: Dataset) -> None:
    for title, text, category, tags in dataset.items.select("title", "text", "category", "tags").iter_rows():
        words = set(WORDS[category].split())
        assert set(title.lower().split()[:2]) <= words
        assert set(tags) <= words
        assert 1 <= len(tags) <= 3
        assert len(set(text.split()) & words) == 5
    price = dataset.items.group_by("category").agg(pl.col("price").median())["price"]
    assert price.max() > 3 * price.min()


def test_ratings_go_with_affinity() -> None:
    log = replace(WORLD, label="rating").load().interactions
    assert set(log.label) == {1, 2, 3, 4, 5}
    assert 3 < log.label.mean() < 4


@pytest.mark.parametrize("change", [{"num_items": 50}, {"num_users": 1}, {"num_events": 2}])
def test_impossible_worlds(change: dict[str, int]) -> None:
    with pytest.raises(RecexpError, match=r"data\.num_"):
        replace(WORLD, **change)


def test_smallest_world() -> None:
    assert replace(WORLD, num_users=20, num_items=16, num_events=6).load().num_users == 20
