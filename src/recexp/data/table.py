"""Your own table of events: csv, tsv, json lines or parquet, plain or gzip'd."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from recexp.data.base import CONTEXT, ids, prepare
from recexp.data.cache import cached
from recexp.data.feature_files import FeatureFiles
from recexp.data.filters import Filters
from recexp.data.lines import RATING, SECONDS, WEIGHT, Field, complaint, decode, first_wrong
from recexp.data.raw import RawFile, find
from recexp.errors import RecexpError, nearest
from recexp.types import Dataset

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = ".parquet"
YMD = (19000101, 21001231)
CLOCK: dict[str, Callable[[pl.Series], pl.Series]] = {
    "hour": lambda time: time.cast(pl.Datetime("us")).dt.hour(),
    "weekday": lambda time: time.cast(pl.Datetime("us")).dt.weekday(),
}


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
        rating: what `filters.min_rating` looks at, without being learned; null for the label.
        label: what is learned of an event, such as stars; null for 1.
        context: columns with the circumstances of an event, known when somebody asks, such as device; `hour` of the day
            and `weekday` (1 is Monday) come from the time, UTC, where no columns are called so.
        features: tables of the users and the items.
    """

    path: str
    user: str
    item: str
    time: str | None
    weight: str | None
    rating: str | None
    label: str | None
    context: Sequence[str]
    filters: Filters
    features: FeatureFiles

    def load(self) -> Dataset:
        """Read the table.

        Raises:
            RecexpError: a missing file or column, an unknown ending, or a value that is not as expected.
        """
        file = find(self.path)
        return cached([file, *self.features.files()], asdict(self), lambda: self._prepare(file))

    def _roles(self) -> dict[str, str]:
        columns = {role: getattr(self, role) for role in ("user", "item", "time", "weight", "rating", "label")}
        return {role: column for role, column in columns.items() if column is not None}

    def columns(self) -> list[str]:
        """The names of all columns of the file."""
        file = find(self.path)
        with _explaining(file):
            return _opened(file).collect_schema().names()

    def rows(self) -> pl.DataFrame:
        """A column per role and circumstance, nothing filtered, in the order of the file."""
        return self._checked(find(self.path))[0]

    def events(self) -> pl.DataFrame:
        """The same in order of time."""
        return self._in_order(find(self.path))

    def _circumstances(self, file: RawFile) -> dict[str, str]:
        """Those that the file has."""
        from_time = [] if self.time is None else [name for name in CLOCK if name in self.context]
        if not self.context:
            return {}
        there = _columns(file)
        return {CONTEXT + name: name for name in self.context if name in there or name not in from_time}

    def _checked(self, file: RawFile) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Typed, and as they were read."""
        roles, circumstances = self._roles(), self._circumstances(file)
        raw = _read(file, roles | circumstances)
        events = raw.with_columns(_typed(role, raw[role]) for role in [*roles, *circumstances])
        _check(file, raw, events, roles)
        clock = [name for name in self.context if CONTEXT + name not in circumstances]
        events = events.with_columns(_of_clock(name, events["time"]) for name in clock)
        if "time" in roles:
            _check_days(file, roles["time"], moments(raw["time"]))
        return events, raw

    def _in_order(self, file: RawFile) -> pl.DataFrame:
        events, raw = self._checked(file)
        return events if self.time is None else events.sort(moments(raw["time"]), maintain_order=True)

    def _prepare(self, file: RawFile) -> Dataset:
        name = Path(self.path.removesuffix(".gz")).stem
        label = None if self.label is None else "label"
        return prepare(name, self._in_order(file), label, self.filters, *self.features.tables(None, None))


def _typed(role: str, values: pl.Series) -> pl.Series:
    if role in ("user", "item"):
        return ids(values)
    if role.startswith(CONTEXT):
        return values.cast(pl.String)
    return seconds(values) if role == "time" else values.cast(pl.Float32, strict=False)


def _of_clock(name: str, time: pl.Series) -> pl.Series:
    return CLOCK[name](time.cast(pl.Int64) * 1_000_000).cast(pl.String).alias(CONTEXT + name)


def moments(values: pl.Series) -> pl.Series:
    """Times as numbers or dates, as finely as they are given, null where there is no reading one."""
    if values.dtype != pl.String:
        return values
    numbers = values.cast(pl.Float64, strict=False)
    # ISO text holds no value that is a number, so one number makes it a column of seconds.
    return numbers if numbers.is_finite().any() else values.str.to_datetime(time_zone="UTC", strict=False)


def seconds(values: pl.Series) -> pl.Series:
    """Times as whole seconds since 1970, null where there is no reading one."""
    values = moments(values)
    if isinstance(values.dtype, pl.Date | pl.Datetime):
        return values.cast(pl.Datetime("us")).dt.epoch("s")
    return values.cast(pl.Int64, strict=False)


def _check_days(file: RawFile, column: str, times: pl.Series) -> None:
    """Times that are all like 20240101 would be seconds of one month of 1970."""
    if len(times) and times.dtype.is_numeric() and times.is_between(*YMD).all():
        day = str(int(times[0]))
        raise RecexpError(
            f"{file.name}: {column} {day} looks like YYYYMMDD, and so do all others; expected seconds since 1970 "
            f"or an ISO date. Write {day[:4]}-{day[4:6]}-{day[6:]}."
        )


def _check(file: RawFile, raw: pl.DataFrame, events: pl.DataFrame, roles: dict[str, str]) -> None:
    fields = [_field(role, raw[role].dtype, events[role].dtype) for role in roles]
    if wrong := first_wrong(events, fields):
        row, field = wrong
        named = Field(roles[field.name], field.dtype, field.expected)
        raise complaint(file, _where(file, row), named, raw[field.name][row])


def _field(role: str, given: pl.DataType, dtype: pl.DataType) -> Field:
    if role in ("user", "item"):
        words = "an id, a finite number or text; correct it, or drop the row" if given.is_float() else "an id"
        return Field(role, pl.String, words, 1) if dtype == pl.String else Field(role, pl.Int64, words)
    known = {"time": SECONDS, "weight": WEIGHT, "rating": RATING, "label": RATING}[role]
    words = known.expected + (" or an ISO date" if role == "time" else "")
    return Field(role, known.dtype, words, known.minimum, known.maximum)


def _kind(file: RawFile) -> str:
    return Path(file.name.removesuffix(".gz")).suffix.lower()


def _read(file: RawFile, roles: dict[str, str]) -> pl.DataFrame:
    """A column per role; those of csv and tsv as text."""
    with _explaining(file):
        table = _opened(file)
        _check_columns(file, table.collect_schema(), roles)
        return table.select(pl.col(column).alias(role) for role, column in roles.items()).collect()


def _opened(file: RawFile) -> pl.LazyFrame:
    kind = _kind(file)
    if kind not in (*SEPARATORS, *JSON_LINES, PARQUET):
        allowed = ", ".join(nearest(kind, [*SEPARATORS, *JSON_LINES, PARQUET]))
        raise RecexpError(f"{file.name}: the ending {kind!r} is unknown; allowed: {allowed}, each also with .gz.")
    return _scan_parquet(file) if kind == PARQUET else _read_text(file)


@contextmanager
def _explaining(file: RawFile) -> Iterator[None]:
    try:
        yield
    except (PolarsError, OSError) as error:
        _explain(file)
        raise RecexpError(f"{file.name} cannot be read as {_kind(file)[1:]}: {str(error).splitlines()[0]}") from error


def _columns(file: RawFile) -> list[str]:
    """The names in the file; what cannot be read is complained of when it is read."""
    try:
        return _opened(file).collect_schema().names()
    except (PolarsError, OSError, RecexpError):
        return []


def _scan_parquet(file: RawFile) -> pl.LazyFrame:
    """A plain file is read where it lies, and of it only what is asked for."""
    if not file.path.stat().st_size:
        raise _empty(file)
    source = file.path if file.path.suffix != ".gz" else io.BytesIO(file.content())
    return pl.scan_parquet(source, glob=False, hive_partitioning=False)


def _read_text(file: RawFile) -> pl.LazyFrame:
    """All columns: a csv parser that skips some does not see that a line has too many fields."""
    content = file.content()
    if not content.strip():
        raise _empty(file)
    _check_text(file, content.split(b"\n", 1)[0])
    if _kind(file) in JSON_LINES:
        return pl.read_ndjson(content, infer_schema_length=None).lazy()
    content = content.rstrip(b"\r\n")  # Polars takes blank lines for rows without values
    return pl.read_csv(content, separator=SEPARATORS[_kind(file)], infer_schema=False).lazy()


def _empty(file: RawFile) -> RecexpError:
    return RecexpError(f"{file.name} is empty; expected a table of events.")


def _check_columns(file: RawFile, found: pl.Schema, roles: dict[str, str]) -> None:
    for role, column in roles.items():
        if column not in found:
            columns = ", ".join(nearest(column, list(found)))
            raise RecexpError(f"{file.name} has no column {column!r} (data.{role}={column}); it has: {columns}.")
        if found[column].is_nested() or found[column] in (pl.Binary, pl.Object):
            raise RecexpError(
                f"{file.name}: column {column!r} holds {found[column]} from row 1 on; expected one value per row. "
                f"Write it as numbers or text, or name another column (data.{role}=...)."
            )


def _check_text(file: RawFile, line: bytes) -> None:
    """Polars reads whatever bytes a csv holds, and finds a strange header in them."""
    if "\0" in decode(file, line):
        raise RecexpError(f"{file.name} line 1: byte 0x00; expected UTF-8 text, not a binary file.")


def _explain(file: RawFile) -> None:
    """Name the line that Polars stumbled over."""
    text = "" if _kind(file) == PARQUET else decode(file, file.content())
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
