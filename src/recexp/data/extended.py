"""A source and what happened since."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from recexp.data.aligned import numbers
from recexp.data.base import digest
from recexp.data.filters import Filters
from recexp.data.module import Source
from recexp.data.table import Table
from recexp.errors import RecexpError
from recexp.types import PAD, Dataset, Interactions

TRAIN = 0
"""Of `split=given`: the part of whatever came later."""


@dataclass(frozen=True)
class Extended:
    """A source with newer events: dense ids of before stay, new users and items follow in order of appearance.

    Users and items that came with features, with or without events, stand before those that events alone brought.

    Of a pair's several events, old and new, `new.filters.duplicates` keeps what it would have kept had all come at
    once. Nothing else is filtered again: a k-core stays what it was, and old weights decay no further.
    The circumstances of new events are unknown.

    Args:
        source: the data before. new: events since, in the order in which they became known, and features of who came.
    """

    source: Source
    new: Table

    def load(self) -> Dataset:
        """Read both."""
        return self.on(self.source.load(), self.new.rows())[0]

    def on(self, dataset: Dataset, rows: pl.DataFrame) -> tuple[Dataset, np.ndarray]:
        """As `extend`, with its own features of those who came."""
        return self.extend(dataset, rows, *self.new.features.tables(None, None))

    def extend(
        self, dataset: Dataset, rows: pl.DataFrame, users: pl.DataFrame | None = None, items: pl.DataFrame | None = None
    ) -> tuple[Dataset, np.ndarray]:
        """The dataset with more events, and which of these each event is, PAD for those of before, [N] int64.

        Args:
            users, items: rows of those who came, columns as in the dataset.
        Raises:
            RecexpError: the dataset has times, and the events have not.
        """
        if dataset.timed and "time" not in rows.columns:
            raise RecexpError(f"{self.new.path}: the events of {dataset.name} have times; new ones need them too.")
        every_user, every_item = (
            _behind(dataset.users, rows["user"], users),
            _behind(dataset.items, rows["item"], items),
        )
        numbered = _numbered(rows, every_user, every_item)
        more = numbered if dataset.timed else _placed(numbered, dataset)
        return _joined(dataset, more, every_user, every_item, self.new.filters)


def _behind(table: pl.DataFrame, raw: pl.Series, came: pl.DataFrame | None) -> pl.DataFrame:
    """The table with a row for each id that it has not: those that came with features, then those of events."""
    known = table.to_series(0)
    rows = pl.DataFrame(schema={known.name: raw.dtype}) if came is None else came
    ids = pl.concat([rows.to_series(0).cast(pl.String), raw.cast(pl.String)]).alias(known.name)
    kind = known.dtype if {rows.to_series(0).dtype, raw.dtype} == {known.dtype} else pl.String
    new = ids.filter(pl.Series(numbers(ids, known) == PAD)).unique(maintain_order=True).cast(kind).to_frame()
    more = new.join(rows.with_columns(pl.col(known.name).cast(kind)), on=known.name, how="left", maintain_order="left")
    return pl.concat([table.with_columns(known.cast(kind)), more], how="diagonal_relaxed")


def _numbered(rows: pl.DataFrame, users: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """The events in dense ids, `row` telling which one each is."""
    ones = np.ones(rows.height, np.float32)
    return pl.DataFrame(
        {
            "user": numbers(rows["user"], users["user"]).astype(np.int32),
            "item": numbers(rows["item"], items["item"]).astype(np.int32),
            "time": rows["time"] if "time" in rows.columns else np.zeros(rows.height, np.int64),
            "weight": rows["weight"] if "weight" in rows.columns else ones,
            "label": rows["label"] if "label" in rows.columns else ones,
            "row": np.arange(rows.height),
        }
    )


def _placed(more: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    """Data without times count places within a user: those of new events go on."""
    count = np.bincount(dataset.interactions.user, minlength=dataset.num_users)
    known = pl.DataFrame({"user": np.arange(len(count), dtype=np.int32), "known": count})
    place = pl.int_range(pl.len(), dtype=pl.Int64).over("user") + pl.col("known").fill_null(0)
    return more.join(known, on="user", how="left", maintain_order="left").with_columns(time=place).drop("known")


def _joined(
    dataset: Dataset, more: pl.DataFrame, users: pl.DataFrame, items: pl.DataFrame, filters: Filters
) -> tuple[Dataset, np.ndarray]:
    known, named = dataset.interactions, [name for name in vars(dataset.interactions) if name != "context"]
    before = pl.DataFrame({name: getattr(known, name) for name in named}).with_columns(
        row=pl.lit(PAD, pl.Int64), place=pl.int_range(len(known))
    )
    more = more.with_columns(place=pl.lit(PAD, pl.Int64))
    if dataset.part is not None:
        before, more = before.with_columns(part=pl.Series(dataset.part)), more.with_columns(part=pl.lit(TRAIN, pl.Int8))
    events = pl.concat([before, more]).sort(["user", "time"], maintain_order=True)
    events = filters.distinct(events)
    context_NF = np.pad(known.context, ((0, 1), (0, 0)), constant_values=PAD)[events["place"]]  # PAD: the last
    interactions = Interactions(**{name: np.array(events[name]) for name in named}, context=context_NF)
    part = None if dataset.part is None else np.array(events["part"])
    negatives = None if dataset.negatives is None else _longer(dataset.negatives, users.height)
    sha256 = digest(interactions, users, items, part, negatives)
    whole = replace(
        dataset, interactions=interactions, users=users, items=items, part=part, negatives=negatives, sha256=sha256
    )
    return whole, np.array(events["row"])


def _longer(negatives: np.ndarray, num_users: int) -> np.ndarray:
    return np.pad(negatives, ((0, num_users - len(negatives)), (0, 0)), constant_values=PAD)
