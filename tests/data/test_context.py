"""Circumstances of an event: read, coded, kept through split and cache, and learned from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import recexp
from recexp.data.feature_files import FeatureFiles
from recexp.data.filters import Filters
from recexp.data.table import Table
from recexp.errors import RecexpError
from recexp.split.leave_one_out import LeaveOneOut
from recexp.task.run import Run
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


@pytest.mark.parametrize("model", ["two_tower", "dssm"])
def test_what_is_taken_may_depend_on_the_circumstances_alone(
    model: str, run: Callable[..., Run], tmp_path: Path
) -> None:
    """Items 0-19 on tv, 20-39 on phone; nothing else tells what comes next."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(60):
        halves = [list(rng.permutation(20)), list(20 + rng.permutation(20))]
        for time in range(12):
            device = int(rng.integers(2))
            rows.append({"user": user, "item": int(halves[device].pop()), "time": 60 * time,
                         "device": ["tv", "phone"][device]})  # fmt: skip
    pl.DataFrame(rows).write_csv(tmp_path / "e.csv")
    data = ["data=table", f"data.path={tmp_path / 'e.csv'}", "data.time=time", "eval.k=[14]", "trainer.max_epochs=12"]
    small = [f"model={model}", "model.embedding_dim=8", "model.hidden_dims=[16]", "optimizer.lr=0.01"]
    seeing = run(*data, *small, "data.context=[device]", "fit.batch_size=64")
    blind = run(*data, *small, "fit.batch_size=64")
    assert seeing.metrics["test/hr@14"] > 0.8
    assert blind.metrics["test/hr@14"] < 0.7
    listed = seeing.recommend([1, 2], k=3)  # nobody says in what circumstances
    assert_frame_equal(listed, recexp.load_run(seeing.path).recommend([1, 2], k=3))
