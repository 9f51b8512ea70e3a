"""Circumstances of an event: read, coded and kept through split and cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recexp.data.feature_files import FeatureFiles
from recexp.data.filters import Filters
from recexp.data.table import Table
from recexp.errors import RecexpError
from recexp.split.leave_one_out import LeaveOneOut
from recexp.types import PAD, Dataset

LINES = "user,item,t,device\n1,8,7200,tv\n2,7,3600,\n1,7,90000,phone\n1,9,93600,tv\n1,6,97200,pad\n"


def load(filters: Filters, context: list[str]) -> Dataset:
    return Table("e.csv", "user", "item", "t", None, None, None, context, filters, FeatureFiles(None, None)).load()


def test_columns_and_the_clock(write: Callable[..., Path], everything: Filters) -> None:
    write("e.csv", LINES)
    for _ in range(2):  # the second time from the cache
        dataset = load(everything, ["device", "hour", "weekday"])
        assert dataset.context == {"device": ["pad", "phone", "tv"], "hour": ["1", "2", "3"], "weekday": ["4", "5"]}
        assert dataset.interactions.context.tolist() == [[2, 1, 0], [1, 0, 1], [2, 1, 1], [0, 2, 1], [PAD, 0, 0]]
    split = LeaveOneOut("next_to_last")(dataset, 0)
    assert split.test.target.context.tolist() == [[0, 2, 1]]
    assert load(everything, []).interactions.context.shape == (5, 0)
    assert load(everything, []).sha256 != dataset.sha256


def test_a_circumstance_that_is_not_there(write: Callable[..., Path], everything: Filters) -> None:
    write("e.csv", LINES)
    with pytest.raises(RecexpError, match=r"has no column 'devise'.*device"):
        load(everything, ["devise"])
