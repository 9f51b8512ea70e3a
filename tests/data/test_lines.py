"""Malformed lines: the file, the line, the value and the expectation."""

import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recexp.data import lines
from recexp.data.lines import RATING, SECONDS, Field, read_lines
from recexp.data.raw import RawFile, find
from recexp.errors import RecexpError

FIELDS = (Field("user", pl.Int64, "a whole number"), Field("item", pl.Int64, "a whole number"), RATING, SECONDS)
GOOD = ["1::7::5::978300760", "2::8::3.5::978300761"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("1::7::5::-4", "timestamp -4; expected seconds since 1970."),
        ("1::7::5::978300760000", "timestamp 978300760000; expected seconds since 1970."),
        ("1::7::5::12.5", "timestamp 12.5; expected seconds since 1970."),
        ("1::7::nan::4", "rating nan; expected a finite number."),
        ("1::7::-inf::4", "rating -inf; expected a finite number."),
        ("1::7::good::4", "rating good; expected a finite number."),
        ("1::::5::4", "item is missing; expected a whole number."),
        ("1::99999999999999999999::5::4", "item 99999999999999999999; expected a whole number."),
        ("1::7::5", "3 fields; expected 4 (user, item, rating, timestamp) separated by '::'."),
        ("1::7::5::4::6", "5 fields; expected 4 (user, item, rating, timestamp) separated by '::'."),
        ("1:x:7:x:5:x:4", "1 fields; expected 4 (user, item, rating, timestamp) separated by '::'."),
        ("\xff", "1 fields; expected 4 (user, item, rating, timestamp) separated by '::'."),
    ],
)
def test_malformed_line(write, line: str, complaint: str) -> None:
    write("toy.dat", "\n".join([*GOOD, line]))
    with pytest.raises(RecexpError, match="^" + re.escape(f"toy.dat line 3: {complaint}") + "$"):
        read_lines(find("toy.dat"), "::", FIELDS)


def test_the_first_bad_line_is_named(write) -> None:
    write("toy.dat", "\n".join([*GOOD, "1::2::3::-4", "x::2::3::4", "1::2"]))
    with pytest.raises(RecexpError, match="line 3: timestamp -4"):
        read_lines(find("toy.dat"), "::", FIELDS)
    write("toy.dat", "\n".join([*GOOD, "1::2", "1::2::3::-4"]))
    with pytest.raises(RecexpError, match="line 3: 2 fields"):
        read_lines(find("toy.dat"), "::", FIELDS)


def test_bytes_that_are_no_text(write) -> None:
    write("toy.dat", b"1::2::3::4\n\x93\x00\x01")
    with pytest.raises(RecexpError, match=r"^toy\.dat line 2: byte 0x93; expected UTF-8 text\.$"):
        read_lines(find("toy.dat"), "::", FIELDS)


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_empty_file(write, content: str) -> None:
    write("toy.dat", content)
    with pytest.raises(RecexpError, match=r"toy\.dat is empty; expected one 'user::item::rating::timestamp' per line"):
        read_lines(find("toy.dat"), "::", FIELDS)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\n\n\n"])
def test_line_ends_and_blank_lines(write, end: str) -> None:
    write("toy.dat", end.join([*GOOD, ""]))
    assert read_lines(find("toy.dat"), "::", FIELDS).rows() == [(1, 7, 5.0, 978300760), (2, 8, 3.5, 978300761)]


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n\n"])
def test_blank_lines_at_the_end_stay_fast(end: str) -> None:
    frame = lines._read_fast(("\n".join(GOOD) + end).encode(), "::", FIELDS)
    assert frame is not None
    assert frame.height == 2


def test_nothing_is_read_after_the_first_bad_block(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK", 2)
    write("toy.dat", "\n\n".join(GOOD * 3))
    assert read_lines(find("toy.dat"), "::", FIELDS).height == 6
    seen, typed = [], lines._typed
    monkeypatch.setattr(lines, "_typed", lambda file, block, *rest: (seen.append(block), typed(file, block, *rest))[1])
    write("toy.dat", "\n".join([*GOOD, "1::2::3", *GOOD * 9]))
    with pytest.raises(RecexpError, match="line 3: 3 fields"):
        read_lines(find("toy.dat"), "::", FIELDS)
    assert len(seen) == 2


events = st.lists(
    st.tuples(st.integers(-9, 9), st.integers(), st.floats(-9, 9, width=32), st.integers(-1, 9)), min_size=1
)


@given(events)
def test_fast_and_careful_ways_agree(rows: list[tuple]) -> None:
    text = "\n".join("::".join(map(str, row)) for row in rows)
    careful = _or_complaint(lambda: lines._read_careful(RawFile("toy", Path()), text, "::", FIELDS))
    fast = lines._read_fast(text.encode(), "::", FIELDS)
    assert (fast is None) == isinstance(careful, RecexpError)
    assert fast is None or fast.equals(careful)


def _or_complaint(read) -> pl.DataFrame | RecexpError:
    try:
        return read()
    except RecexpError as error:
        return error
