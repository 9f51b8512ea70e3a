"""Dense ids, order, and the checksum."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recexp.data.base import ids, prepare
from recexp.data.filters import Filters

NOTHING = Filters(min_rating=None, half_life=None, duplicates="keep", min_user=0, min_item=0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["10", "9"], [10, 9]),
        (["10", "09"], ["10", "09"]),
        (["a", "1"], ["a", "1"]),
        ([3.0, 4.0], [3, 4]),
        ([1.5, 2.0], ["1.5", "2.0"]),
        ([2.0**53, 1.0], ["9007199254740992.0", "1.0"]),
        ([1e300, 1.0], ["1e+300", "1.0"]),
        ([float("nan"), float("inf"), 1.0], [None, None, "1"]),
        ([2**64 - 1, 1], ["18446744073709551615", "1"]),
    ],
)
def test_ids_have_one_form(values: list, expected: list) -> None:
    dtype = pl.UInt64 if values[0] == 2**64 - 1 else None
    assert ids(pl.Series(values, dtype=dtype)).to_list() == expected


rows = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 3)), min_size=1)


@given(rows)
def test_rows_survive_in_order_of_user_time_and_file(drawn: list[tuple[int, int, int]]) -> None:
    events = [*drawn, (-7, -3, 1), (1000, 2000, 2)]
    frame = pl.DataFrame(events, ["user", "item", "time"], orient="row").with_columns(rating=pl.int_range(pl.len()))
    dataset = prepare("toy", frame, "rating", NOTHING)
    log = dataset.interactions
    found = zip(
        dataset.users["user"].to_numpy()[log.user],
        dataset.items["item"].to_numpy()[log.item],
        log.time,
        log.label,
        strict=True,
    )
    expected = sorted(((u, i, t, n) for n, (u, i, t) in enumerate(events)), key=lambda row: (row[0], row[2], row[3]))
    assert [tuple(map(int, row)) for row in found] == expected
    assert dataset.users["user"].is_sorted()
    assert dataset.items["item"].is_sorted()
    assert [a.dtype for a in (log.user, log.item, log.time, log.weight, log.label)] == ["i4", "i4", "i8", "f4", "f4"]


def test_without_times_the_place_within_the_user_is_the_time() -> None:
    events = pl.DataFrame({"user": ["b", "a", "b", "b"], "item": [4, 3, 2, 1]})
    log = prepare("toy", events, None, NOTHING).interactions
    assert log.time.tolist() == [0, 0, 1, 2]
    assert not prepare("toy", events, None, NOTHING).timed
    assert prepare("toy", events.with_columns(time=pl.lit(1)), None, NOTHING).timed
    assert log.item.tolist() == [2, 3, 1, 0]


def test_features_follow_their_ids() -> None:
    events = pl.DataFrame({"user": [5, 3], "item": [1, 2]})
    people = pl.DataFrame({"user": [3, 4, 5], "age": [30, 40, 50]})
    dataset = prepare("toy", events, None, NOTHING, people)
    assert dataset.users.rows() == [(3, 30), (5, 50)]
    assert prepare("toy", events, None, NOTHING, people.head(1)).users.rows() == [(3, 30), (5, None)]


def test_checksum_covers_everything_but_the_name() -> None:
    events = pl.DataFrame({"user": [5, 3], "item": [1, 2], "time": [7, 8], "rating": [2.0, 3.0], "weight": [1.0, 1.0]})
    people = pl.DataFrame({"user": [3, 5], "age": [30, 50]})
    first = prepare("toy", events, "rating", NOTHING, people)
    assert prepare("other", events, "rating", NOTHING, people).sha256 == first.sha256
    changed = [events.with_columns(pl.col(c) + (pl.col(c) == pl.col(c).max())) for c in events.columns]
    others = [prepare("toy", frame, "rating", NOTHING, people) for frame in changed]
    others.append(prepare("toy", events, "rating", NOTHING, people.with_columns(pl.col("age") + 1)))
    assert len({first.sha256, *(other.sha256 for other in others)}) == len(changed) + 2


def test_arrays_are_writable_for_torch() -> None:
    log = prepare("toy", pl.DataFrame({"user": [5, 3], "item": [1, 2]}), None, NOTHING).interactions
    assert all(array.flags.writeable for array in vars(log).values() if isinstance(array, np.ndarray))
