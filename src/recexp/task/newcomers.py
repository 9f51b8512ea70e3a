"""Users and items that come after the fit with features of their own: their files as rows of the run's tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from omegaconf import DictConfig
from polars.exceptions import PolarsError

from recexp.checks import FOLD_IN
from recexp.data.aligned import numbers
from recexp.errors import RecexpError, nearest
from recexp.task.assemble import make
from recexp.task.run import Run
from recexp.types import PAD, Dataset, Features

FILES = "recexp.data.feature_files.FeatureFiles"
SIDES = ("users", "items")
OWN = ("id", "popularity")
"""What features hold that no table says."""


@dataclass(frozen=True)
class Newcomers:
    """Who came since the run was fitted.

    Attributes:
        tables: of each side for which `features` are given, now or earlier, their rows in order of their dense ids.
        filled: dense ids of those who came with events alone, and of whom `features` now say what they are.
        notes: what a person would want to know of it.
    """

    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    filled: dict[str, np.ndarray] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def ids(self, side: str) -> pl.Series:
        """Raw ids."""
        return self.tables[side].to_series(0) if side in self.tables else pl.Series(dtype=pl.String)


def read(config: DictConfig, run: Run, base: Dataset, before: Dataset, earlier: Mapping[str, Any]) -> Newcomers:
    """Read `features`.

    Args:
        base, before: the data of the fit, and all that was known before this update.
        earlier: the files of the version before, by side.
    Raises:
        RecexpError: a file is not as the run's table, or the model looks at no such features.
    """
    found = Newcomers()
    given = make(config.features, _target_=FILES).texts()
    for side, table in zip(SIDES, given, strict=True):
        known: pl.DataFrame = getattr(before, side)
        start = getattr(base, side).height
        if table is not None:
            refuse_unheeded(run, side)
            _add(found, side, known, start, conformed(table, known))
            if config.mode == FOLD_IN:  # a refit learns, and looks, for itself
                run.vocabulary.check(side, found.tables[side])
        elif earlier.get(side) is not None:
            found.tables[side] = known[start:]
    return found


def _add(found: Newcomers, side: str, known: pl.DataFrame, start: int, table: pl.DataFrame) -> None:
    row_R = numbers(table.to_series(0), known.to_series(0))
    blank = known.select(pl.all_horizontal(pl.exclude(known.columns[0]).is_null())).to_series().to_numpy()
    fills_R = (row_R >= start) & blank[row_R]
    new = table.filter(pl.Series(row_R == PAD))
    if left := int((~fills_R & (row_R != PAD)).sum()):
        found.notes.append(f"features.{side}: {left:,} of {table.height:,} are known already, and stay as they are")
    if missing := [column for column in known.columns if column not in table.columns]:
        found.notes.append(f"features.{side}: without {', '.join(missing)}, which stay unknown of them")
    found.filled[side] = np.sort(row_R[fills_R])
    found.tables[side] = _below(known[start:], table.filter(pl.Series(fills_R)), new)


def _below(came: pl.DataFrame, filled: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Those who came, some of them as they are described now, and those who come; ids as text where some are."""
    name = came.columns[0]
    kind = came.schema[name] if came.schema[name] == new.schema[name] else pl.String
    came, filled, new = (one.with_columns(pl.col(name).cast(kind)) for one in (came, filled, new))
    rows = pl.concat([came.join(filled, on=name, how="anti"), filled, new], how="diagonal_relaxed")
    order = pl.concat([came.select(name), new.select(name)])
    return order.join(rows, on=name, how="left", maintain_order="left")


def conformed(features: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    """Features with the columns of the table as the table has them.

    Raises:
        RecexpError: one is no column of the table, or its values are of another kind.
    """
    side, *columns = features.columns
    for column in columns:
        if column not in table.columns:
            like = ", ".join(nearest(column, table.columns[1:])) or "none"
            raise RecexpError(
                f"features.{side}s: column {column!r} is none that the data has of {side}s; it has: {like}. "
                "Name it as there, or leave it out."
            )
    return features.with_columns(_conformed(features[column], table.schema[column], side) for column in columns)


def _conformed(values: pl.Series, kind: pl.DataType, side: str) -> pl.Series:
    """A fraction where the table has whole numbers stays one."""
    try:
        cast = _cast(values, kind)
    except PolarsError as error:
        how = (
            "Give a list for each row, in jsonl or parquet" if isinstance(kind, pl.List) else f"{error}".splitlines()[0]
        )
        raise RecexpError(
            f"features.{side}s: column {values.name!r} holds {values.dtype}; expected {kind}, as the data has. {how}."
        ) from error
    rounded = kind.is_integer() and values.dtype.is_float() and not (cast == values).all()
    return values if rounded else cast


def _cast(values: pl.Series, kind: pl.DataType) -> pl.Series:
    """Texts are read as what they say; a category that an Enum has not is unknown."""
    if isinstance(kind, pl.Enum):
        return values.cast(pl.String).cast(kind, strict=False)
    if values.dtype == pl.String and isinstance(kind, pl.Boolean):
        return values.str.to_lowercase().replace_strict({"true": True, "false": False}, return_dtype=pl.Boolean)
    if values.dtype == pl.String and isinstance(kind, pl.Date):
        return values.str.to_date()
    if values.dtype == pl.String and isinstance(kind, pl.Datetime):
        return values.str.to_datetime(time_unit=kind.time_unit, time_zone=kind.time_zone)
    if values.dtype == pl.String and kind.is_integer():
        floats = values.cast(pl.Float64)
        return values.cast(kind) if (floats == floats.floor()).all() else floats
    return values.cast(kind)


def refuse_unheeded(run: Run, side: str) -> None:
    """Raises: RecexpError where the model looks at no table of this side."""
    columns = {} if run.features is None else getattr(run.features, side)
    if not set(columns) - {*OWN}:
        but = f" but {', '.join(columns)}" if columns else ""
        looks = "looks at no features" if run.features is None else f"looks at nothing of {side}{but}"
        raise RecexpError(
            f"features.{side}: {type(run.model).__name__} of {run.path} {looks}. Drop it, or update a run of "
            f"model=two_tower or dssm whose data.features.{side} are given."
        )


def nameless(features: Features, before: Dataset, after: Dataset) -> Iterator[str]:
    """A note of the new items of which a model with these features can know nothing."""
    heeded = [one for one in features.items if one not in OWN]
    new = after.items[before.num_items :]
    blank = new.select(pl.all_horizontal(pl.col(heeded).is_null())).to_series().sum() if heeded else new.height
    if blank:
        yield f"{blank:,} of {new.height:,} new items have no features: all of these get one score until mode=refit"
