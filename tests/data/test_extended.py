"""Newer events on top of a source: ids stay, duplicates obey the rule, nothing else is filtered again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recexp.data.extended import Extended
from recexp.data.feature_files import FeatureFiles
from recexp.data.filters import Filters
from recexp.data.table import Table
from recexp.errors import RecexpError
from recexp.types import PAD, Dataset

OLD = "user,item,time,weight\n5,b,10,1\n5,a,20,1\n7,b,5,2\n7,c,6,1\n"
NEW = "user,item,time,weight\n9,z,30,1\n5,a,40,3\n7,a,50,1\n5,y,15,1\n"


def table(path: str, filters: Filters, time: str | None = "time") -> Table:
    return Table(path, "user", "item", time, "weight", None, None, [], filters, FeatureFiles(None, None))


@pytest.fixture
def extended(raw: Path, everything: Filters) -> Extended:
    """Old and new events; everything is kept."""
    (raw / "old.csv").write_text(OLD)
    (raw / "new.csv").write_text(NEW)
    return Extended(table("old.csv", everything), table("new.csv", everything))


def under(extended: Extended, **filters: object) -> Extended:
    filtered = replace(extended.new.filters, **filters)  # type: ignore[arg-type]
    return Extended(replace(extended.source, filters=filtered), replace(extended.new, filters=filtered))


def events(dataset: Dataset) -> list[tuple[object, ...]]:
    """(raw user, raw item, time, weight), in the order of the dataset."""
    users, items = dataset.users["user"], dataset.items["item"]
    columns = (dataset.interactions.user, dataset.interactions.item, dataset.interactions.time)
    rows = zip(*(column.tolist() for column in columns), dataset.interactions.weight.tolist(), strict=True)
    return [(users[user], items[item], time, weight) for user, item, time, weight in rows]


def test_ids_of_before_stay_and_new_ones_follow_as_they_appear(extended: Extended) -> None:
    dataset = extended.load()
    assert dataset.users["user"].to_list() == [5, 7, 9]
    assert dataset.items["item"].to_list() == ["a", "b", "c", "z", "y"]
    assert events(dataset) == [
        (5, "b", 10, 1), (5, "y", 15, 1), (5, "a", 20, 1), (5, "a", 40, 3),
        (7, "b", 5, 2), (7, "c", 6, 1), (7, "a", 50, 1), (9, "z", 30, 1),
    ]  # fmt: skip
    assert [column.dtype for column in vars(dataset.interactions).values()] == [
        np.int32, np.int32, np.int64, np.float32, np.float32, np.int32,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("first", [(5, "a", 20, 1)]),
        ("last", [(5, "a", 40, 3)]),
        ("keep", [(5, "a", 20, 1), (5, "a", 40, 3)]),
        ("sum", [(5, "a", 40, 4)]),
    ],
)
def test_duplicates_obey_the_rule_of_the_data(rule: str, kept: list[object], extended: Extended) -> None:
    dataset = under(extended, duplicates=rule).load()
    assert [event for event in events(dataset) if event[:2] == (5, "a")] == kept


def test_the_same_as_if_all_had_come_at_once(extended: Extended, raw: Path) -> None:
    (raw / "whole.csv").write_text(OLD + NEW.split("\n", 1)[1])
    for rule in ("first", "last", "keep", "sum"):
        filtered = under(extended, duplicates=rule)
        whole = table("whole.csv", filtered.new.filters).load()
        assert sorted(events(filtered.load())) == sorted(events(whole)), rule


def test_a_core_is_not_cut_again(extended: Extended) -> None:
    dataset = under(extended, min_user=2).load()
    assert 9 in dataset.users["user"]


def test_each_event_tells_which_new_one_it_is(extended: Extended) -> None:
    source = extended.source.load()
    _, row_N = extended.extend(source, extended.new.rows())
    assert row_N.tolist() == [PAD, 3, PAD, 1, PAD, PAD, 2, 0]
    _, row_N = under(extended, duplicates="first").extend(source, extended.new.rows())
    assert row_N.tolist() == [PAD, 3, PAD, PAD, PAD, 2, 0]


def test_more_and_more_events_number_nobody_anew(extended: Extended, raw: Path) -> None:
    first = extended.load()
    (raw / "new.csv").write_text(NEW + "1,0,60,1\n")
    second = extended.load()
    assert second.users["user"].to_list() == [5, 7, 9, 1]
    assert second.items["item"].to_list() == [*first.items["item"], "0"]
    assert first.sha256 != second.sha256
    assert second.sha256 == extended.load().sha256


def test_whole_numbers_become_texts_where_texts_join_them(extended: Extended, raw: Path) -> None:
    (raw / "new.csv").write_text("user,item,time,weight\nann,a,30,1\n7,b,40,1\n")
    dataset = under(extended, duplicates="first").load()
    assert dataset.users["user"].to_list() == ["5", "7", "ann"]
    assert len(dataset.interactions) == 5


def test_places_go_on_where_there_are_no_times(extended: Extended) -> None:
    untimed = Extended(*(replace(part, time=None) for part in (extended.source, extended.new)))  # type: ignore[misc]
    dataset = untimed.load()
    assert [(u, i, t) for u, i, t, _ in events(dataset)] == [
        (5, "b", 0), (5, "a", 1), (5, "a", 2), (5, "y", 3), (7, "b", 0), (7, "c", 1), (7, "a", 2), (9, "z", 0),
    ]  # fmt: skip


def test_times_are_needed_where_the_source_has_them(extended: Extended) -> None:
    untimed = Extended(extended.source, replace(extended.new, time=None))
    with pytest.raises(RecexpError, match=r"new\.csv: the events of old have times; new ones need them too"):
        untimed.load()


def test_parts_negatives_and_features_of_the_source_stay(extended: Extended) -> None:
    given = extended.source.load()
    given = replace(
        given,
        part=np.array([0, 2, 0, 2], np.int8),
        negatives=np.array([[1, PAD], [2, 0]], np.int32),
        items=given.items.with_columns(title=pl.lit("film")),
    )
    dataset, row_N = extended.extend(given, extended.new.rows())
    assert dataset.part is not None
    assert dataset.part[row_N == PAD].tolist() == [0, 2, 0, 2]
    assert not dataset.part[row_N != PAD].any()
    assert dataset.negatives is not None
    assert dataset.negatives.tolist() == [[1, PAD], [2, 0], [PAD, PAD]]
    assert dataset.items["title"].to_list() == ["film"] * 3 + [None] * 2


def test_those_who_come_with_features_stand_before_those_of_events(extended: Extended) -> None:
    source, rows = extended.source.load(), extended.new.rows()
    items = pl.DataFrame({"item": ["x", "y"], "price": [1.5, 2.5]})
    described = replace(source, items=source.items.with_columns(price=pl.Series([1, None, 3])))
    dataset, _ = extended.extend(described, rows, None, items)
    assert dataset.items["item"].to_list() == ["a", "b", "c", "x", "y", "z"]
    assert dataset.items["price"].to_list() == [1, None, 3, 1.5, 2.5, None]
    assert dataset.users["user"].to_list() == [5, 7, 9]
