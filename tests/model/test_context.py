"""Circumstances of an event are learned from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import recexp
from recexp.task.run import Run


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
    on_phones = seeing.recommend([1, 2], k=3, context={"device": "phone"})
    assert (on_phones["item"] >= 20).all()
    strangers = seeing.recommend_for([[], [3, 25]], k=3, context={"device": "tv"})
    assert (strangers["item"] < 20).all()
    listing = recexp.run("task=recommend", f"run={seeing.path}", "context={device: phone}", "users=[1,2]", "k=3")
    assert_frame_equal(pl.read_parquet(listing.path / "recommendations.parquet"), on_phones)
    assert_frame_equal(seeing.recommend([1, 2], k=3, context={"device": None}), listed)
    for wrong, complaint in (
        ({"devise": "tv"}, "no such .* allowed: device"),
        ({"device": "radio"}, "phone, tv"),
        ("phone", "expected '{COLUMN: VALUE}', of device"),
    ):
        with pytest.raises(recexp.RecexpError, match=complaint):
            seeing.recommend([1], k=3, context=wrong)  # type: ignore[arg-type]
    with pytest.raises(recexp.RecexpError, match="allowed: none"):
        blind.recommend([1], k=3, context={"device": "tv"})
    deaf = run(*data, "model=mf", "data.context=[device]")
    with pytest.raises(recexp.RecexpError, match="MF heeds no circumstances"):
        deaf.recommend([1], k=3, context={"device": "tv"})


def test_values_of_circumstances_are_written_as_the_data_writes_them(run: Callable[..., Run], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"user": user, "item": int(item), "time": time, "weekend": bool(time % 2), "rooms": float(time % 3)}
        for user in range(30)
        for time, item in enumerate(rng.permutation(20)[:6])
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "e.parquet")
    data = ["data=table", f"data.path={tmp_path / 'e.parquet'}", "data.time=time", "eval.k=[5]"]
    done = run(*data, "data.context=[weekend,rooms]", "model=two_tower", "trainer.max_epochs=1")
    asked = [done.recommend([1], k=3, context={"weekend": True, "rooms": rooms}) for rooms in (2, 2.0)]
    assert_frame_equal(*asked)
    with pytest.raises(recexp.RecexpError, match=r"context\.rooms=7: .* allowed: .*2\.0"):
        done.recommend([1], k=3, context={"rooms": 7})
