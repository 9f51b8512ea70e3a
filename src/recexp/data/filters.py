"""Which events count, and how much: the same keys for every dataset."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import polars as pl

from recexp.errors import RecexpError, nearest

log = logging.getLogger("recexp")

DAY = 86400
FIRST, LAST, KEEP, SUM = DUPLICATES = ("first", "last", "keep", "sum")


@dataclass(frozen=True)
class Filters:
    """What is kept of the events, in this order: ratings, age decay, duplicates, k-core.

        weight <- weight * 2^(-(t_max - t) / half_life)

    Args:
        min_rating: drop events rated below (null: keep all) [stars].
        half_life: how fast an event's weight halves with age, counted back from the newest event (null: never) [days].
        duplicates: of one user's several events with one item keep the `first`, the `last`, all (`keep`),
            or the last with the weights summed (`sum`).
        min_user, min_item: drop users (items) with fewer events, again and again until none is left:
            the k-core where both are k (0: keep all) [events].
    """

    min_rating: float | None
    half_life: float | None
    duplicates: str
    min_user: int
    min_item: int

    def __post_init__(self) -> None:
        if self.duplicates not in DUPLICATES:
            allowed = ", ".join(nearest(str(self.duplicates), DUPLICATES))
            raise RecexpError(f"data.filters.duplicates={self.duplicates}; allowed: {allowed}.")
        if self.half_life is not None and self.half_life <= 0:
            raise RecexpError(f"data.filters.half_life={self.half_life}; expected days above 0, or null for no decay.")

    def __call__(self, events: pl.DataFrame) -> pl.DataFrame:
        """The events kept, in order of user, time and place in the file.

        Args:
            events: `user`, `item` and `weight`; `time`, `rating` and `label` where the data has them.
        Raises:
            RecexpError: a filter needs times or ratings, and there are none.
        """
        by = ["user", "time"] if "time" in events.columns else ["user"]
        events = self._decayed(self.rated(events)).sort(by, maintain_order=True)
        return self._core(self.distinct(events))

    def rated(self, events: pl.DataFrame) -> pl.DataFrame:
        """Those rated high enough."""
        if self.min_rating is None:
            return events
        rating = next((column for column in ("rating", "label") if column in events.columns), None)
        if rating is None:
            raise RecexpError(
                f"data.filters.min_rating={self.min_rating}: the data has no ratings; drop it, or name their column "
                "(data.rating=… for data=table)."
            )
        return events.filter(pl.col(rating) >= self.min_rating)

    def _decayed(self, events: pl.DataFrame) -> pl.DataFrame:
        if self.half_life is None:
            return events
        if "time" not in events.columns:
            raise RecexpError(
                f"data.filters.half_life={self.half_life}: the data has no times; drop it, or name their column "
                "(data.time=… for data=table)."
            )
        age = (pl.col("time").max() - pl.col("time")) / DAY
        decayed = events.with_columns(weight=pl.col("weight") * 2 ** (-age / self.half_life))
        lost = (events["weight"] > 0) & (decayed["weight"].cast(pl.Float32) == 0)
        if lost.any():
            message = "data.filters.half_life=%s: %.1f%% of the events are so old that their weight is 0; raise it?"
            log.warning(message, self.half_life, 100 * lost.sum() / len(lost))
        return decayed

    def distinct(self, events: pl.DataFrame) -> pl.DataFrame:
        """Of each pair of user and item, what `duplicates` says; they are in order of user and time."""
        if self.duplicates == KEEP:
            return events
        if self.duplicates == SUM:
            events = events.with_columns(pl.col("weight").sum().over("user", "item"))
        keep: Literal["first", "last"] = "first" if self.duplicates == FIRST else "last"
        return events.unique(["user", "item"], keep=keep, maintain_order=True)

    def _core(self, events: pl.DataFrame) -> pl.DataFrame:
        before = -1
        while max(self.min_user, self.min_item) > 1 and before != events.height:
            before = events.height
            for side, least in (("user", self.min_user), ("item", self.min_item)):
                events = events.filter(pl.len().over(side) >= least)
        return events
