"""The files of the NCF paper: a fixed leave-one-out split with fixed negatives."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import polars as pl

from recexp.data.base import assemble
from recexp.data.cache import cached
from recexp.data.filters import Filters
from recexp.data.lines import RATING, SECONDS, Field, complaint, read_lines
from recexp.data.raw import RawFile, find
from recexp.types import PAD, Dataset

USER = Field("user", pl.Int64, "an id from 0", 0, 2**31 - 2)
ITEM = Field("item", pl.Int64, "an id from 0", 0, 2**31 - 2)
PAIR = Field("test pair", pl.String, "(user,item) as in the test file", 1)
HINT = (
    "it has no published checksum, so it is not downloaded: fetch it from the folder Data of "
    "https://github.com/hexiangnan/neural_collaborative_filtering"
)


@dataclass(frozen=True)
class NCF:
    """Leave-one-out train and test files, and the test's given negatives, for `split=given`.

    He et al., "Neural Collaborative Filtering", WWW 2017.
    Differs from the paper: a test item that stands among its own negatives is taken out of them (156 of 6,040
    users of MovieLens 1M). Ids keep their numbers, whether or not training has them.

    Args:
        train, test: `user item rating timestamp` per line, tab separated, ids from 0; newest first within a user.
        negatives: `(user,item) negative negative …` per line, tab separated; null where there are none.
        label: `rating` learns the stars, null learns that an item was chosen.
    """

    name: str
    train: str
    test: str
    negatives: str | None
    label: str | None
    filters: Filters

    def load(self) -> Dataset:
        """Read the files."""
        files = [find(name, hint=HINT) for name in (self.train, self.test, self.negatives) if name is not None]
        return cached(files, asdict(self), lambda: self._prepare(*files))

    def _prepare(self, train: RawFile, test: RawFile, negatives: RawFile | None = None) -> Dataset:
        asked = _events(test, 2)
        events = pl.concat([_events(train, 0), asked])
        num_users, num_items = (int(events[side].to_numpy().max()) + 1 for side in ("user", "item"))
        given = None if negatives is None else _negatives(negatives, asked, num_users)
        num_items = num_items if given is None else max(num_items, int(given.max()) + 1)
        users, items = (pl.DataFrame({side: np.arange(n)}) for side, n in (("user", num_users), ("item", num_items)))
        return assemble(self.name, self.filters(events), self.label, users, items, given)


def _events(file: RawFile, part: int) -> pl.DataFrame:
    """Oldest first, so that events of one second keep the order that the file means."""
    events = read_lines(file, "\t", (USER, ITEM, RATING, SECONDS)).rename({"timestamp": "time"})
    return events.reverse().with_columns(weight=pl.lit(1.0), part=pl.lit(part, pl.Int8))


def _negatives(file: RawFile, asked: pl.DataFrame, num_users: int) -> np.ndarray:
    """The given negatives of each user, PAD where it is the test item itself, [U, n] int32."""
    count = file.content().split(b"\n", 1)[0].count(b"\t")
    fields = [Field(f"negative {i + 1}", pl.Int64, ITEM.expected, ITEM.minimum, ITEM.maximum) for i in range(count)]
    given = read_lines(file, "\t", (PAIR, *fields))
    pairs = asked.select("user", "item", pair=pl.format("({},{})", "user", "item"))
    found = given.select(pair=PAIR.name).join(pairs, on="pair", how="left", maintain_order="left")
    if found["user"].has_nulls():
        row = int(found["user"].is_null().arg_max() or 0)
        raise complaint(file, f"line {row + 1}", PAIR, found["pair"][row])
    negatives_Rn = given.drop(PAIR.name).to_numpy()
    table_Un = np.full((num_users, count), PAD, np.int32)
    table_Un[found["user"]] = np.where(negatives_Rn == found["item"].to_numpy()[:, None], PAD, negatives_Rn)
    return table_Un
