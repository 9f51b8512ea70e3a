"""What the filters keep, by hand and against a slow k-core."""

import logging
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recexp.data.base import prepare
from recexp.data.filters import DAY, Filters
from recexp.errors import RecexpError

NOTHING = Filters(min_rating=None, half_life=None, duplicates="keep", min_user=0, min_item=0)
EVENTS = pl.DataFrame(
    {
        "user": [1, 1, 1, 2, 2, 2],
        "item": [7, 7, 8, 7, 8, 9],
        "time": [3 * DAY, 1 * DAY, 2 * DAY, 3 * DAY, 3 * DAY, 3 * DAY],
        "rating": [5.0, 1.0, 4.0, 3.0, 4.0, 2.0],
        "weight": [1.0, 2.0, 1.0, 1.0, 1.0, 1.0],
    }
)


@pytest.mark.parametrize(
    ("duplicates", "expected"),
    [
        ("keep", [(1, 2.0), (4, 1.0), (5, 1.0)]),
        ("first", [(1, 2.0), (4, 1.0)]),
        ("last", [(4, 1.0), (5, 1.0)]),
        ("sum", [(4, 1.0), (5, 3.0)]),
    ],
)
def test_duplicates(duplicates: str, expected: list[tuple[float, float]]) -> None:
    kept = replace(NOTHING, duplicates=duplicates)(EVENTS).filter(pl.col("user") == 1)
    assert kept.select("rating", "weight").rows() == expected


def test_min_rating_keeps_the_bound() -> None:
    assert sorted(replace(NOTHING, min_rating=4)(EVENTS)["rating"]) == [4, 4, 5]


def test_half_life_halves_once_per_half_life() -> None:
    weight = replace(NOTHING, half_life=1)(EVENTS)["weight"].to_list()
    assert weight == [2 * 0.25, 0.5, 1, 1, 1, 1]


def test_weights_that_vanish(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "recexp"):
        prepare("toy", EVENTS, None, replace(NOTHING, half_life=1))
        assert not caplog.messages
        log = prepare("toy", EVENTS, None, replace(NOTHING, half_life=0.001)).interactions
    assert log.weight.tolist() == [0, 0, 1, 1, 1, 1]
    (message,) = caplog.messages
    assert message.startswith("data.filters.half_life=0.001: 33.3% of the events")
    lonely = pl.concat([EVENTS, EVENTS.head(1).with_columns(user=pl.lit(3, pl.Int64), time=pl.lit(99 * DAY, pl.Int64))])
    with pytest.raises(RecexpError, match=r"^toy: no event weighs more than 0 .* raise data\.filters\.half_life"):
        prepare("toy", lonely, None, replace(NOTHING, half_life=0.001, min_user=2))


pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40, unique=True)


@given(pairs, st.integers(0, 4), st.integers(0, 4))
def test_core_is_the_slow_one(events: list[tuple[int, int]], min_user: int, min_item: int) -> None:
    kept = set(events)
    for _ in events:
        kept = {e for e in kept if sum(o[0] == e[0] for o in kept) >= min_user}
        kept = {e for e in kept if sum(o[1] == e[1] for o in kept) >= min_item}
    frame = pl.DataFrame(events, ["user", "item"], orient="row").with_columns(weight=pl.lit(1.0))
    assert set(replace(NOTHING, min_user=min_user, min_item=min_item)(frame).select("user", "item").rows()) == kept


def test_impossible_wishes_are_refused() -> None:
    with pytest.raises(RecexpError, match=r"duplicates=lats; allowed: last"):
        replace(NOTHING, duplicates="lats")
    with pytest.raises(RecexpError, match="half_life=0"):
        replace(NOTHING, half_life=0)
    with pytest.raises(RecexpError, match=r"min_rating=4: the data has no ratings"):
        replace(NOTHING, min_rating=4)(EVENTS.drop("rating"))
    with pytest.raises(RecexpError, match=r"half_life=9: the data has no times"):
        replace(NOTHING, half_life=9)(EVENTS.drop("time"))
    with pytest.raises(RecexpError, match=r"^toy has 0 interactions after data\.filters"):
        prepare("toy", EVENTS, None, replace(NOTHING, min_user=10))
    with pytest.raises(RecexpError, match=r"^toy has 1 users"):
        prepare("toy", EVENTS.filter(pl.col("user") == 1), None, NOTHING)
    with pytest.raises(RecexpError, match=r"^toy has 1 items"):
        prepare("toy", EVENTS.filter(pl.col("item") == 7), None, NOTHING)
    with pytest.raises(RecexpError, match=r"label=ratings; allowed: rating"):
        prepare("toy", EVENTS, "ratings", NOTHING)
