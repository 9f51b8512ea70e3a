"""The published counts of the public datasets."""

import os
from pathlib import Path

import numpy as np
import pytest

from recexp.data.feature_files import FeatureFiles
from recexp.data.filters import Filters
from recexp.data.movielens import MovieLens1M, MovieLens100K
from recexp.data.ncf import NCF
from recexp.data.sequence_file import SequenceFile
from recexp.data.table import Table
from recexp.split.given import Given
from recexp.split.leave_one_out import LeaveOneOut
from recexp.types import PAD, Dataset

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not os.environ.get("RECEXP_DATA"), reason="RECEXP_DATA is not set"),
]
FIRST = Filters(min_rating=None, half_life=None, duplicates="first", min_user=0, min_item=0)
BARE = FeatureFiles(users=None, items=None)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEXP_CACHE", str(tmp_path))


def counts(dataset: Dataset) -> tuple[int, int, int]:
    return dataset.num_users, dataset.num_items, len(dataset.interactions)


def test_movielens_1m() -> None:
    dataset = MovieLens1M("rating", None, FIRST, BARE).load()
    assert counts(dataset) == (6040, 3706, 1000209)
    stars = np.bincount(dataset.interactions.label.astype(int))
    assert stars.tolist() == [0, 56174, 107557, 261197, 348971, 226310]
    assert dataset.items["year"].null_count() == 0
    assert dataset.items["genres"].list.len().min() == 1
    assert dataset.users["age"].unique().sort().to_list() == [1, 18, 25, 35, 45, 50, 56]
    split = LeaveOneOut("next_to_last")(dataset, 0)
    assert (len(split.train), len(split.test.target)) == (1000209 - 2 * 6040, 6040)


def test_movielens_100k() -> None:
    dataset = MovieLens100K(None, FIRST, BARE).load()
    assert counts(dataset) == (943, 1682, 100000)
    assert dataset.items["genres"].explode().n_unique() == 19
    assert dataset.users["occupation"].n_unique() == 21


def test_ncf_movielens_1m() -> None:
    names = ("ncf/ml-1m.train.rating", "ncf/ml-1m.test.rating", "ncf/ml-1m.test.negative")
    dataset = NCF("ncf", *names, None, FIRST).load()
    assert counts(dataset) == (6040, 3706, 994169 + 6040)
    assert dataset.negatives is not None
    assert dataset.negatives.shape == (6040, 99)
    assert ((dataset.negatives == PAD).sum(1) > 0).sum() == 156
    split = Given("next_to_last")(dataset, 0)
    assert split.validation is not None
    assert len(np.unique(split.test.target.item)) == 1921
    assert (len(split.train), len(split.validation.target), len(split.test.target)) == (994169 - 6040, 6040, 6040)
    seen = np.zeros((6040, 3706), bool)
    seen[split.test.history.user, split.test.history.item] = True
    given = np.where(dataset.negatives == PAD, dataset.negatives.max(1, keepdims=True), dataset.negatives)
    assert not np.take_along_axis(seen, given, 1).any()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("sequential/ml-1m.txt", (6040, 3416, 999611)),
        ("sequential/beauty.bert4rec.txt", (40226, 54542, 353962)),
        ("sequential/s3rec/Beauty.txt", (22363, 12101, 198502)),
        ("sequential/s3rec/LastFM.txt", (1090, 3646, 52551)),
    ],
)
def test_sequences(path: str, expected: tuple[int, int, int]) -> None:
    assert counts(SequenceFile(path, FIRST).load()) == expected


def test_tables() -> None:
    frappe = Table("fields/frappe-named.csv", "user", "item", None, "cnt", None, None, [], FIRST, BARE).load()
    assert counts(frappe) == (757, 2009, 7129)
    reviews = "text/amazon-musical-instruments-5core.reviews.jsonl"
    music = Table(reviews, "reviewerID", "asin", "unixReviewTime", None, None, "overall", [], FIRST, BARE).load()
    assert counts(music) == (1429, 900, 10261)
