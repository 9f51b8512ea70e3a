"""Files of bare sequences, as SASRec, BERT4Rec and S3-Rec publish them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from recexp.data.base import ids, prepare
from recexp.data.cache import cached
from recexp.data.filters import Filters
from recexp.data.lines import Field, complaint, decode, read_lines
from recexp.data.raw import RawFile, find
from recexp.types import Dataset

PAIR = (Field("user", pl.String, "an id", 1), Field("item", pl.String, "an id", 1))
LOOK = 100  # lines that tell the two forms apart


@dataclass(frozen=True)
class SequenceFile:
    """`user item` per line, or `user item item …` once per user; oldest first, separated by one space.

    Such files hold no times: an event's time is its place within the user.

    Args:
        path: plain or `.gz`; from the working directory, else from `$RECEXP_DATA`.
    """

    path: str
    filters: Filters

    def load(self) -> Dataset:
        """Read the file, in whichever of the two forms it is."""
        file = find(self.path)
        return cached([file], asdict(self), lambda: self._prepare(file))

    def _prepare(self, file: RawFile) -> Dataset:
        head = file.content().split(b"\n", LOOK)[:LOOK]
        pairs = all(len(line.split()) == 2 for line in head if line.strip())
        events = read_lines(file, " ", PAIR) if pairs else _read_sequences(file)
        return prepare(
            Path(self.path).stem, events.with_columns(ids(events[s]) for s in events.columns), None, self.filters
        )


def _read_sequences(file: RawFile) -> pl.DataFrame:
    lines = [line.split() for line in decode(file, file.content()).split("\n")]
    for number, line in enumerate(lines, 1):
        if len(line) == 1:
            raise complaint(file, f"line {number}", PAIR[1], None)
    events = pl.DataFrame({"user": [line[0] for line in lines if line], "item": [line[1:] for line in lines if line]})
    return events.explode("item")
