"""What was learned of feature tables, as a table of its own: with it, users and items of later are encoded too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from recexp.data.columns import Column, Lists, Scaled, Tokens, Vector, plain

SCHEMA = {"side": pl.String, "column": pl.String, "kind": pl.String, "token": pl.String, "value": pl.Float64}


@dataclass(frozen=True)
class Vocabulary:
    """Columns fitted on train, ready to encode these and other users and items."""

    users: Mapping[str, Column]
    items: Mapping[str, Column]

    def table(self) -> pl.DataFrame:
        """side, column, kind, token, value: the tokens of a column in order of their codes, with their idf; the mean
        and std of a number; the width of a vector."""
        sides = (("users", self.users), ("items", self.items))
        parts = [
            column.learned().select(
                pl.lit(side).alias("side"), pl.lit(name).alias("column"), pl.lit(column.kind).alias("kind"), "*"
            )
            for side, columns in sides
            for name, column in columns.items()
        ]
        return pl.concat([pl.DataFrame(schema=SCHEMA), *parts])

    def check(self, side: str, table: pl.DataFrame) -> None:
        """Raises: RecexpError where a row of a table of the side has a malformed vector."""
        for name, column in getattr(self, side).items():
            if isinstance(column, Vector):
                column.check(plain(table[name]), table.to_series(0))

    @staticmethod
    def of(table: pl.DataFrame, lists: Callable[[str], Lists]) -> Vocabulary:
        """The inverse of `table`, but for columns without a single token.

        Args:
            lists: how values of each kind are cut into tokens.
        """
        sides: dict[str, dict[str, Column]] = {"users": {}, "items": {}}
        for (side, name, kind), part in table.group_by("side", "column", "kind", maintain_order=True):
            sides[str(side)][str(name)] = _column(str(kind), part, lists)
        return Vocabulary(**sides)


def _column(kind: str, learned: pl.DataFrame, lists: Callable[[str], Lists]) -> Column:
    if kind == Scaled.kind:
        return Scaled(*learned["value"])
    if kind == Vector.kind:
        return Vector(int(learned["value"][0]))
    return Tokens(lists(kind), kind, learned.select("token", idf=pl.col("value").cast(pl.Float32)))
