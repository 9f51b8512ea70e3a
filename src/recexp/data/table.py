"""Your own table of events: csv, tsv, json lines or parquet, plain or gzip'd."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from recexp.data.base import ids, prepare
from recexp.data.cache import cached
from recexp.data.filters import Filters
from recexp.data.lines import RATING, SECONDS, WEIGHT, Field, complaint, decode, first_wrong
from recexp.data.raw import RawFile, find
from recexp.errors import RecexpError, nearest
from recexp.types import Dataset

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = ".parquet"


@dataclass(frozen=True)
class Table:
    """Events in a table of yours, one row each; the other arguments name its columns.

    Args:
        path: `.csv`, `.tsv`, `.jsonl`, `.ndjson` or `.parquet`, also with `.gz`; from the working directory,
            else from `$RECEXP_DATA`.
        user, item: ids, whole numbers or text.
        time: whole numbers (seconds since 1970), dates, or ISO text, UTC where no zone is said;
            null if there are none, and the order of the rows is taken.
        weight: how much an event counts, 0 or more; null for 1.
        rating: what `filters.min_rating` looks at, without being learned; null for none.
        label: what is learned of an event, such as stars, and then also its rating; null for 1.
    """

    path: str
    user: str
    item: str
    time: str | None
    weight: str | None
    rating: str | None
    label: str | None
    filters: Filters

    def load(self) -> Dataset:
        """Read the table.

        Raises:
            RecexpError: a missing file or column, an unknown ending, or a value that is not as expected.
        """
        file = find(self.path)
        return cached([file], asdict(self), lambda: self._prepare(file))

    def _roles(self) -> dict[str, str]:
        rating = self.rating if self.label is None else self.label
        roles = {"user": self.user, "item": self.item, "time": self.time, "weight": self.weight, "rating": rating}
        return {role: column for role, column in roles.items() if column is not None}

    def _prepare(self, file: RawFile) -> Dataset:
        roles = self._roles()
        found = _read(file)
        for role, column in roles.items():
            if column not in found.columns:
                columns = ", ".join(nearest(column, found.columns))
                raise RecexpError(f"{file.name} has no column {column!r} (data.{role}={column}); it has: {columns}.")
            if found[column].dtype.is_nested():
                raise RecexpError(
                    f"{file.name}: column {column!r} holds {found[column].dtype}; expected one value per row."
                )
        raw = found.select(pl.col(column).alias(role) for role, column in roles.items())
        events = raw.with_columns(_typed(role, raw[role]) for role in roles)
        _check(file, raw, events, roles)
        name = Path(self.path.removesuffix(".gz")).stem
        return prepare(name, events, None if self.label is None else "rating", self.filters)


def _typed(role: str, values: pl.Series) -> pl.Series:
    if role in ("user", "item"):
        return ids(values)
    return seconds(values) if role == "time" else values.cast(pl.Float32, strict=False)


def seconds(values: pl.Series) -> pl.Series:
    """Times as whole seconds since 1970, null where there is no reading one."""
    if values.dtype == pl.String:
        numbers = values.cast(pl.Int64, strict=False).fill_null(
            values.cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)
        )
        # ISO text holds no value that is a number, so one number makes it a column of seconds.
        values = numbers if numbers.count() else values.str.to_datetime(time_zone="UTC", strict=False)
    if isinstance(values.dtype, pl.Date | pl.Datetime):
        return values.cast(pl.Datetime("us")).dt.epoch("s")
    return values.cast(pl.Int64, strict=False)


def _check(file: RawFile, raw: pl.DataFrame, events: pl.DataFrame, roles: dict[str, str]) -> None:
    fields = [_field(role, events[role].dtype) for role in roles]
    if wrong := first_wrong(events, fields):
        row, field = wrong
        named = Field(roles[field.name], field.dtype, field.expected)
        raise complaint(file, _where(file, row), named, raw[field.name][row])


def _field(role: str, dtype: pl.DataType) -> Field:
    if role in ("user", "item"):
        return Field(role, pl.String, "an id", 1) if dtype == pl.String else Field(role, pl.Int64, "an id")
    known = {"time": SECONDS, "weight": WEIGHT, "rating": RATING}[role]
    words = known.expected + (" or an ISO date" if role == "time" else "")
    return Field(role, known.dtype, words, known.minimum, known.maximum)


def _kind(file: RawFile) -> str:
    return Path(file.name.removesuffix(".gz")).suffix.lower()


def _read(file: RawFile) -> pl.DataFrame:
    """All columns; those of csv and tsv as text."""
    kind, content = _kind(file), file.content()
    if kind not in (*SEPARATORS, *JSON_LINES, PARQUET):
        allowed = ", ".join(nearest(kind, [*SEPARATORS, *JSON_LINES, PARQUET]))
        raise RecexpError(
            f"data.path={file.name}: the ending {kind!r} is unknown; allowed: {allowed}, each also with .gz."
        )
    if not content.strip():
        raise RecexpError(f"{file.name} is empty; expected a table of events.")
    if kind != PARQUET:
        _check_text(file, content.split(b"\n", 1)[0])
    try:
        if kind == PARQUET:
            return pl.read_parquet(io.BytesIO(content))
        if kind in JSON_LINES:
            return pl.read_ndjson(content, infer_schema_length=None)
        content = content.rstrip(b"\r\n")  # Polars takes blank lines for rows without values
        return pl.read_csv(content, separator=SEPARATORS[kind], infer_schema=False)
    except (PolarsError, OSError) as error:
        _explain(file, decode(file, content) if kind != PARQUET else "")
        raise RecexpError(f"{file.name} cannot be read as {kind[1:]}: {str(error).splitlines()[0]}") from error


def _check_text(file: RawFile, line: bytes) -> None:
    """Polars reads whatever bytes a csv holds, and finds a strange header in them."""
    if "\0" in decode(file, line):
        raise RecexpError(f"{file.name} line 1: byte 0x00; expected UTF-8 text, not a binary file.")


def _explain(file: RawFile, text: str) -> None:
    """Name the line that Polars stumbled over."""
    if _kind(file) in JSON_LINES:
        for number, line in enumerate(text.split("\n"), 1):
            try:
                json.loads(line.strip() or "{}")
            except ValueError as error:
                raise RecexpError(f"{file.name} line {number}: {line[:40]!r}; expected a JSON object.") from error
    elif _kind(file) in SEPARATORS:
        _explain_csv(file, csv.reader(io.StringIO(text), delimiter=SEPARATORS[_kind(file)], strict=True))


def _explain_csv(file: RawFile, reader: Any) -> None:
    begin = 1
    try:
        header = next(reader)
        for row in reader:
            if len(row) > len(header):
                names = f"{len(header)} ({', '.join(header)})"
                raise RecexpError(f"{file.name} line {reader.line_num}: {len(row)} fields; expected {names}.")
            begin = reader.line_num + 1
    except csv.Error as error:
        raise RecexpError(
            f'{file.name} line {begin}: {error}; expected each " to be closed, or doubled inside.'
        ) from error


def _where(file: RawFile, row: int) -> str:
    """`line 17`, for the row-th event of the table."""
    if _kind(file) == PARQUET:
        return f"row {row + 1}"
    text = decode(file, file.content())
    if _kind(file) in JSON_LINES:
        filled = [number for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        return f"line {filled[row]}"
    return f"line {_csv_line(text, SEPARATORS[_kind(file)], row)}"


def _csv_line(text: str, separator: str, row: int) -> int:
    """Where a row begins; a quoted value may span lines."""
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    for _ in range(row + 1):
        next(reader)
    return reader.line_num + 1
