"""From raw events to a `Dataset`: dense ids, sorted rows, feature tables and a checksum of it all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from recexp.data.filters import Filters
from recexp.errors import RecexpError, nearest
from recexp.types import PAD, Dataset, Interactions

CONTEXT = "context "
"""How the columns of circumstances begin."""


def prepare(
    name: str,
    events: pl.DataFrame,
    label: str | None,
    filters: Filters,
    users: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
) -> Dataset:
    """Filter raw events and number users and items by ascending raw id.

    Args:
        events: `user`, `item`: raw ids; `time` [seconds], `weight`, `rating`, `label`, and `context NAME` texts, where
            the data has them.
        label: the column, `rating` or `label`, that is each event's label, null makes it 1.
        users, items: raw id (`user`, `item`), then features; ids without an event are left out.
    """
    events = filters(events if "weight" in events.columns else events.with_columns(weight=pl.lit(1.0)))
    return assemble(name, events, label, _side(name, events, "user", users), _side(name, events, "item", items))


def _side(name: str, events: pl.DataFrame, side: str, features: pl.DataFrame | None) -> pl.DataFrame:
    ids = events.select(pl.col(side).unique().sort())
    if features is None:
        return ids
    features = features.with_columns(pl.col(side).cast(ids[side].dtype, strict=False)).drop_nulls(side)
    joined = ids.join(features, on=side, how="left", maintain_order="left")
    if features.join(ids, on=side, how="semi").is_empty():
        raise RecexpError(
            f"{name}: none of the {ids.height:,} {side}s of the events is in the table of {side}s; their ids look "
            f"like {_some(ids[side])}, those of the table like {_some(features[side])}."
        )
    return joined


def _some(ids: pl.Series) -> str:
    return ", ".join(str(one) for one in ids.head(3))


def assemble(
    name: str,
    events: pl.DataFrame,
    label: str | None,
    users: pl.DataFrame,
    items: pl.DataFrame,
    negatives: np.ndarray | None = None,
) -> Dataset:
    """The dataset of filtered events, where row i of a table is the user (item) of dense id i.

    Data without times gets each event's place within its user instead, so that order survives [events].

    Raises:
        RecexpError: nothing to learn from is left, or the label is unknown.
    """
    _check_size(name, events)
    context = {column.removeprefix(CONTEXT): _values(events[column]) for column in events.columns if CONTEXT in column}
    labels = [column for column in ("rating", "label") if column in events.columns]
    if label is not None and label not in labels:
        raise RecexpError(f"data.label={label}; allowed: {', '.join(nearest(label, [*labels, 'null']))}.")
    user = _codes(events, users, "user")
    ones = np.ones(len(user), np.float32)
    timed = "time" in events.columns
    interactions = Interactions(
        user=user,
        item=_codes(events, items, "item"),
        time=_array(events, "time", np.int64) if timed else _places(user),
        weight=_weights(name, events),
        label=ones if label is None else _array(events, label, np.float32),
        context=_context(events, context),
    )
    part = _array(events, "part", np.int8) if "part" in events.columns else None
    sha256 = digest(interactions, users, items, part, negatives)
    return Dataset(name, interactions, users, items, part, negatives, sha256, timed, context)


def _values(column: pl.Series) -> list[str]:
    return column.drop_nulls().unique().sort().to_list()


def _context(events: pl.DataFrame, context: Mapping[str, Sequence[str]]) -> np.ndarray:
    """Codes of the circumstances of each event, PAD where unknown, [N, F] int32."""
    codes = [pl.Series(np.full(events.height, PAD)).to_numpy()[:, None][:, :0]]
    for name, values in context.items():
        column = events[CONTEXT + name].replace_strict(list(values), range(len(values)), default=PAD)
        codes.append(column.fill_null(PAD).to_numpy()[:, None])
    return np.concatenate(codes, axis=1).astype(np.int32)


def _check_size(name: str, events: pl.DataFrame) -> None:
    found = {"interactions": events.height, "users": events["user"].n_unique(), "items": events["item"].n_unique()}
    for what, count in found.items():
        if count < 2:
            raise RecexpError(
                f"{name} has {count} {what} after data.filters; at least 2 are needed. "
                "Lower data.filters.min_rating, min_user or min_item, or give more data."
            )


def _weights(name: str, events: pl.DataFrame) -> np.ndarray:
    weight = _array(events, "weight", np.float32)
    if not (weight > 0).any():
        raise RecexpError(
            f"{name}: no event weighs more than 0 after data.filters; raise data.filters.half_life, "
            "or look at the column of data.weight."
        )
    return weight


def _codes(events: pl.DataFrame, table: pl.DataFrame, side: str) -> np.ndarray:
    numbered = table.select(side, code=pl.int_range(pl.len(), dtype=pl.Int32))
    return _array(events.select(side).join(numbered, on=side, how="left", maintain_order="left"), "code", np.int32)


def _array(events: pl.DataFrame, column: str, dtype: type[np.generic]) -> np.ndarray:
    return np.array(events[column], dtype=dtype)


def _places(user: np.ndarray) -> np.ndarray:
    return (np.arange(len(user)) - np.searchsorted(user, user)).astype(np.int64)


def ids(values: pl.Series) -> pl.Series:
    """Raw ids in one form whatever file they came from: whole numbers as Int64, all else as text; NaN, inf as null."""
    if values.dtype.is_float():
        values = pl.select(pl.when(values.is_finite()).then(values)).to_series()
        # From 2**53 on a float may have been another number before it was rounded.
        if ((values == values.floor()) & (values.abs() < 2**53)).all():
            values = values.cast(pl.Int64)
    texts = values.cast(pl.String)
    numbers = texts.cast(pl.Int64, strict=False)
    # "007" and "7" may be two people: only texts that survive the way there and back are numbers.
    return numbers if (numbers.cast(pl.String) == texts).fill_null(value=False).all() else texts


def digest(
    interactions: Interactions,
    users: pl.DataFrame,
    items: pl.DataFrame,
    part: np.ndarray | None,
    negatives: np.ndarray | None,
) -> str:
    """SHA-256 of prepared content."""
    sha256 = hashlib.sha256()
    for block in _blocks(interactions, users, items, part, negatives):
        sha256.update(f"{len(block)}\n".encode())
        sha256.update(block)
    return sha256.hexdigest()


def _blocks(interactions: Interactions, *others: pl.DataFrame | np.ndarray | None) -> Iterator[bytes | memoryview[int]]:
    arrays = [interactions.user, interactions.item, interactions.time, interactions.weight, interactions.label]
    arrays += [interactions.context] if interactions.context.size else []
    for value in (*arrays, *others):
        if isinstance(value, pl.DataFrame):
            yield value.write_ndjson().encode()
        else:
            yield b"" if value is None else np.ascontiguousarray(value).view(np.uint8).reshape(-1).data
