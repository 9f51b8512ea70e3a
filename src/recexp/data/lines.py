"""Text files, one event (or thing) per line: read fast, and when something is wrong, say in which line."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf

import polars as pl
from polars.exceptions import PolarsError

from recexp.data.raw import RawFile
from recexp.errors import RecexpError

BLOCK = 10_000  # lines that the careful way looks at before it reads on


@dataclass(frozen=True)
class Field:
    """What a column must hold.

    Args:
        expected: the words that end a complaint, as in "expected seconds since 1970".
        minimum, maximum: inclusive; for text, of its length [characters].
    """

    name: str
    dtype: type[pl.DataType]
    expected: str
    minimum: float = -inf
    maximum: float = inf

    def wrong(self, values: pl.Series) -> pl.Series:
        """True where a value of this type is missing, not finite or out of bounds, [N] bool."""
        size = values.str.len_chars() if self.dtype == pl.String else values
        good = (size >= self.minimum) & (size <= self.maximum)
        if self.dtype.is_float():
            good &= size.is_finite()
        return ~good.fill_null(value=False)


RATING = Field("rating", pl.Float32, "a finite number")
WEIGHT = Field("weight", pl.Float32, "a finite number, 0 or more", 0)
SECONDS = Field("timestamp", pl.Int64, "seconds since 1970", 0, 253402300799)  # up to the year 9999


def complaint(file: RawFile, where: str, field: Field, value: object) -> RecexpError:
    """`ml-1m/ratings.dat line 17: timestamp -4; expected seconds since 1970.`"""
    shown = "is missing" if value is None or value == "" else str(value)[:40]
    return RecexpError(f"{file.name} {where}: {field.name} {shown}; expected {field.expected}.")


def first_wrong(frame: pl.DataFrame, fields: Sequence[Field]) -> tuple[int, Field] | None:
    """The first row that holds a wrong value, and the first field that is wrong there."""
    found = [(int(wrong.arg_max() or 0), field) for field in fields if (wrong := field.wrong(frame[field.name])).any()]
    return min(found, key=lambda pair: pair[0], default=None)


def decode(file: RawFile, content: bytes, encoding: str = "utf-8") -> str:
    """The text of a file.

    Raises:
        RecexpError: it is not text in this encoding.
    """
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte {content[error.start]:#04x}"
        raise RecexpError(f"{file.name} line {line}: {found}; expected {encoding.upper()} text.") from error


def read_lines(file: RawFile, separator: str, fields: Sequence[Field], encoding: str = "utf-8") -> pl.DataFrame:
    """A text file without a header: one column per field.

    Raises:
        RecexpError: an empty file, a line with too many or too few fields, or a value that is not as expected.
    """
    content = file.content()
    if not content.strip():
        raise RecexpError(f"{file.name} is empty; expected one {separator.join(_names(fields))!r} per line.")
    frame = _read_fast(content, separator, fields) if encoding == "utf-8" else None
    return _read_careful(file, decode(file, content, encoding), separator, fields) if frame is None else frame


def _read_fast(content: bytes, separator: str, fields: Sequence[Field]) -> pl.DataFrame | None:
    """None where the careful way must look. A separator of two bytes leaves an empty column before each field."""
    gaps = {f"gap {f.name}": pl.String for f in fields[1:]} if len(separator) == 2 else {}
    names = [name for f in fields for name in (f"gap {f.name}", f.name) if name in gaps or name == f.name]
    schema = {name: gaps.get(name) or next(f.dtype for f in fields if f.name == name) for name in names}
    content = content.rstrip(b"\r\n")  # Polars takes blank lines for rows without values
    try:
        frame = pl.read_csv(content, separator=separator[0], has_header=False, schema=schema, quote_char=None)
    except (PolarsError, OSError):
        return None
    if any(frame[gap].null_count() < frame.height for gap in gaps):
        return None
    frame = frame.drop(gaps)
    return None if first_wrong(frame, fields) else frame


def _read_careful(file: RawFile, text: str, separator: str, fields: Sequence[Field]) -> pl.DataFrame:
    """Line by line up to the block with a bad one; blank lines count but hold nothing."""
    numbered = enumerate(io.StringIO(text, newline="\n"), 1)
    lines = ((n, line.rstrip("\r\n").split(separator)) for n, line in numbered if line.strip())
    frames = [pl.DataFrame(schema={f.name: f.dtype for f in fields})]
    while block := list(islice(lines, BLOCK)):
        frames.append(_typed(file, block, separator, fields))
    return pl.concat(frames)


def _typed(file: RawFile, lines: list[tuple[int, list[str]]], separator: str, fields: Sequence[Field]) -> pl.DataFrame:
    whole = next((i for i, (_, values) in enumerate(lines) if len(values) != len(fields)), len(lines))
    names = _names(fields)
    texts = pl.DataFrame([values for _, values in lines[:whole]], dict.fromkeys(names, pl.String), orient="row")
    frame = texts.with_columns(pl.col(f.name).cast(f.dtype, strict=False) for f in fields)
    if wrong := first_wrong(frame, fields):
        row, field = wrong
        raise complaint(file, f"line {lines[row][0]}", field, texts[field.name][row])
    if whole < len(lines):
        line, values = lines[whole]
        allowed = f"{len(fields)} ({', '.join(names)}) separated by {separator!r}"
        raise RecexpError(f"{file.name} line {line}: {len(values)} fields; expected {allowed}.")
    return frame


def _names(fields: Sequence[Field]) -> list[str]:
    return [field.name for field in fields]
