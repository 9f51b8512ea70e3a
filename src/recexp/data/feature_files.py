"""Feature tables of your own, for any data: who the users are and what the items are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from recexp.data.base import ids
from recexp.data.lines import decode
from recexp.data.raw import RawFile, find
from recexp.errors import RecexpError, nearest

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = ".parquet"


@dataclass(frozen=True)
class FeatureFiles:
    """Tables with a column `user` (`item`), the id, and a column for each feature.

    Texts are categories (a model may take some for text), lists of texts (jsonl, parquet) several of them, numbers
    are numbers, lists of numbers vectors learned elsewhere.

    Args:
        users, items: `.csv`, `.tsv`, `.jsonl`, `.ndjson` or `.parquet`, also with `.gz`; null: none.
    Raises:
        RecexpError: a file that is missing, damaged, without ids, or with two rows for one id.
    """

    users: str | None
    items: str | None

    def files(self) -> list[RawFile]:
        """The files, found."""
        return [find(path) for path in asdict(self).values() if path is not None]

    def tables(self, own_users: pl.DataFrame | None, own_items: pl.DataFrame | None) -> Iterator[pl.DataFrame | None]:
        """The tables of users and of items, with those that the data brings itself beside them."""
        for side, path, own in (("user", self.users, own_users), ("item", self.items, own_items)):
            given = None if path is None else _table(find(path), side, schema_overrides={side: pl.String})
            yield given if own is None else own if given is None else _beside(own, given, side, str(path))

    def texts(self) -> Iterator[pl.DataFrame | None]:
        """The tables alone, those of csv and tsv with every value as the text that stands there."""
        for side, path in (("user", self.users), ("item", self.items)):
            yield None if path is None else _table(find(path), side, infer_schema=False)


def _beside(own: pl.DataFrame, given: pl.DataFrame, side: str, path: str) -> pl.DataFrame:
    if twice := [column for column in given.columns if column != side and column in own.columns]:
        raise RecexpError(
            f"{path}: the data has a column {twice[0]!r} of {side}s itself. Give that of the file another name."
        )
    key = given[side].cast(own[side].dtype, strict=False)
    return own.join(given.with_columns(key).drop_nulls(side), on=side, how="full", coalesce=True)


def _table(file: RawFile, side: str, **of_csv: Any) -> pl.DataFrame:
    table = _read(file, of_csv)
    if side not in table.columns:
        raise RecexpError(
            f"{file.name} has no column {side!r} with the ids of {side}s; it has: "
            f"{', '.join(nearest(side, table.columns))}. Name that column {side}."
        )
    table = table.select(ids(table[side]), pl.exclude(side)).drop_nulls(side)
    if table.is_empty():
        raise RecexpError(f"{file.name} has no rows; expected one for each {side}.")
    if table[side].is_duplicated().any():
        one = table[side].filter(table[side].is_duplicated())[0]
        raise RecexpError(f"{file.name}: {side} {one} has more than one row; expected one row for each {side}.")
    return table


def _read(file: RawFile, of_csv: dict[str, Any]) -> pl.DataFrame:
    kind = Path(file.name.removesuffix(".gz")).suffix.lower()
    allowed = [*SEPARATORS, *JSON_LINES, PARQUET]
    if kind not in allowed:
        raise RecexpError(
            f"data.features: {file.name} has the unknown ending {kind!r}; "
            f"allowed: {', '.join(nearest(kind, allowed))}, each also with .gz."
        )
    content = file.content()
    if not content.strip():
        raise RecexpError(f"{file.name} is empty; expected a table of features.")
    try:
        if kind == PARQUET:
            return pl.read_parquet(content)
        decode(file, content)
        if kind in JSON_LINES:
            return pl.read_ndjson(content, infer_schema_length=None)
        return pl.read_csv(content, separator=SEPARATORS[kind], infer_schema_length=None, **of_csv)
    except (PolarsError, OSError) as error:
        raise RecexpError(f"{file.name} cannot be read as {kind[1:]}: {str(error).splitlines()[0]}") from error
