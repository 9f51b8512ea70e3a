"""One column of a feature table as a model takes it: learned from the rows of train, applied to all rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import polars as pl
import torch

from recexp.errors import RecexpError
from recexp.types import Bags, Numbers

Lists = Callable[[pl.Series], pl.Series]
TEXT, CATEGORY, CATEGORIES = "text", "category", "categories"
"""Kinds of columns whose values are tokens."""


class Column(Protocol):
    """A fitted column.

    Attributes:
        kind: what its values are.
    """

    @property
    def kind(self) -> str: ...

    def learned(self) -> pl.DataFrame:
        """token, value: all that was learned of train."""
        ...

    def encode(self, values: pl.Series) -> Bags | Numbers:
        """Each value as a model takes it; nothing for what train has not."""
        ...


@dataclass(frozen=True)
class Tokens:
    """Bag of tokens: weight count * idf, of length 1 together; unknown tokens are left out.

    Args:
        lists: cuts values of this kind into lists of texts.
        known: token, idf; the row is the token's number.
    """

    lists: Lists
    kind: str
    known: pl.DataFrame

    @staticmethod
    def learn(values: pl.Series, in_train: np.ndarray, lists: Lists, kind: str, min_count: int, size: int) -> Tokens:
        """The tokens in at least `min_count` rows of train, the most frequent `size` of them.

        idf is log((1 + n) / (1 + n_t)) + 1 of text, or 1.
        """
        rows = _exploded(lists(values.filter(pl.Series(in_train, dtype=pl.Boolean))))
        counts = rows.group_by("token").agg(count=pl.col("row").n_unique())
        counts = counts.filter(pl.col("count") >= min_count).sort("count", "token", descending=[True, False])
        weight = ((1 + int(in_train.sum())) / (1 + pl.col("count"))).log() + 1 if kind == TEXT else pl.lit(1.0)
        return Tokens(lists, kind, counts.head(size).select("token", idf=weight.cast(pl.Float32)))

    def learned(self) -> pl.DataFrame:
        return self.known.select("token", value=pl.col("idf").cast(pl.Float64))

    def encode(self, values: pl.Series) -> Bags:
        numbered = self.known.with_row_index("code")
        rows = _exploded(self.lists(values)).group_by("row", "token").len()
        rows = rows.join(numbered, on="token").sort("row", "code")
        rows = rows.with_columns(weight=pl.col("len") * pl.col("idf"))
        weight = rows["weight"] / (rows["weight"] ** 2).sum() if rows.is_empty() else _unit(rows)
        offsets = np.searchsorted(rows["row"].to_numpy(), np.arange(len(values) + 1)).astype(np.int64)
        codes = rows["code"].cast(pl.Int64).to_numpy(writable=True)
        weights = weight.cast(pl.Float32).to_numpy(writable=True)
        return Bags(torch.from_numpy(offsets), torch.from_numpy(codes), torch.from_numpy(weights), self.known.height)


def _exploded(lists: pl.Series) -> pl.DataFrame:
    """row, token: one row for each token of each list."""
    frame = lists.alias("token").to_frame().with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    return frame.explode("token").drop_nulls().with_columns(pl.col("token").cast(pl.String))


def _unit(rows: pl.DataFrame) -> pl.Series:
    return rows.select(pl.col("weight") / (pl.col("weight") ** 2).sum().sqrt().over("row")).to_series()


@dataclass(frozen=True)
class Scaled:
    """A number as (x - mean) / std over the rows of train; 0 where it is missing."""

    kind: ClassVar[str] = "number"
    mean: float
    std: float

    @staticmethod
    def learn(values: pl.Series, in_train: np.ndarray) -> Scaled:
        known = _floats(values).filter(pl.Series(in_train, dtype=pl.Boolean)).drop_nulls()
        mean, std = (known.mean(), known.std(ddof=0)) if len(known) else (0.0, 1.0)
        return Scaled(float(mean), float(std) or 1.0)  # type: ignore[arg-type]

    def learned(self) -> pl.DataFrame:
        return pl.DataFrame({"token": ["mean", "std"], "value": [self.mean, self.std]})

    def encode(self, values: pl.Series) -> Numbers:
        scaled = ((_floats(values) - self.mean) / self.std).fill_null(0.0).cast(pl.Float32)
        return Numbers(torch.from_numpy(scaled.to_numpy(writable=True))[:, None])


def _floats(values: pl.Series) -> pl.Series:
    days = isinstance(values.dtype, pl.Date | pl.Datetime)
    floats = (values.cast(pl.Datetime("us")).dt.epoch("s") if days else values).cast(pl.Float64)
    return pl.select(pl.when(floats.is_finite()).then(floats)).to_series()


@dataclass(frozen=True)
class Vector:
    """A vector learned elsewhere, as it is; zeros where it is missing."""

    kind: ClassVar[str] = "vector"
    width: int

    @staticmethod
    def learn(values: pl.Series, ids: pl.Series) -> Vector:
        """As wide as most are.

        Raises:
            RecexpError: see `check`.
        """
        widths = values.list.len()
        vector = Vector(int(widths.filter(widths > 0).mode().max() or 0))  # type: ignore[arg-type]
        vector.check(values, ids)
        return vector

    def check(self, values: pl.Series, ids: pl.Series) -> None:
        """Refuse what is no such vector.

        Args:
            ids: whose vectors they are, for messages.
        Raises:
            RecexpError: one has another width, or a number is missing, NaN or infinite.
        """
        widths = values.list.len()
        for place in (widths != self.width).arg_true().head(1):
            _refuse(values, ids, place, f"has length {widths[place]}; expected {self.width}, as of most others")
        for place in np.flatnonzero(~np.isfinite(_table(values, self.width)).all(1))[:1]:
            _refuse(values, ids, int(place), "has a number that is missing, NaN or too large for float32")

    def learned(self) -> pl.DataFrame:
        return pl.DataFrame({"token": ["width"], "value": [float(self.width)]})

    def encode(self, values: pl.Series) -> Numbers:
        return Numbers(torch.from_numpy(_table(values, self.width)))


def _table(vectors: pl.Series, width: int) -> np.ndarray:
    """[R, width] float32, zeros where there is no vector, NaN where one has no number."""
    there = vectors.is_not_null().to_numpy()
    table = np.zeros((len(vectors), width), np.float32)
    table[there] = vectors.drop_nulls().list.explode().cast(pl.Float32).to_numpy().reshape(int(there.sum()), width)
    return table


def _refuse(vectors: pl.Series, ids: pl.Series, place: int, found: str) -> None:
    raise RecexpError(
        f"column {vectors.name!r}: the vector of {ids.name} {ids[place]} {found}. Mend it, or give null for no vector."
    )


def check_kind(values: pl.Series, side: str) -> None:
    """Refuses what is neither a text, a number, a time nor a list of such."""
    kind = values.dtype.inner if isinstance(values.dtype, pl.List | pl.Array) else values.dtype
    if kind.is_nested() or kind in (pl.Binary, pl.Object):
        raise RecexpError(
            f"column {values.name!r} of {side}s holds {values.dtype}; allowed: texts, numbers, times, lists of texts "
            f"and lists of numbers. Give it another form, or list the other columns in model.features.{side}s."
        )


def plain(values: pl.Series) -> pl.Series:
    """Arrays as lists, all else as it is."""
    return values.arr.to_list() if isinstance(values.dtype, pl.Array) else values
