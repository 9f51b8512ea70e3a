"""What the users that somebody names as their neighbours met in training."""

from __future__ import annotations

import numpy as np
import polars as pl

from recexp.data.base import ids
from recexp.data.columns import CATEGORIES, Tokens, check_kind, plain
from recexp.errors import RecexpError
from recexp.types import Bags, Dataset, Interactions

NEIGHBOURS = "neighbours"


def neighbours(dataset: Dataset, train: Interactions, num_items: int) -> Bags:
    """The items in train of each user's neighbours, one that n of them have with weight n, of length 1 together.

    A user is no neighbour of their own: what they are trained to answer would be what they are asked with.

    Args:
        num_items: of whose items the rest is left out [count].
    Raises:
        RecexpError: no neighbour is a user of the data.
    """
    met = pl.DataFrame({"them": train.user.astype(np.int64), "item": train.item.astype(np.int64)}).unique()
    rows = _pairs(dataset.users).join(met, on="them").select(row="user", token=pl.col("item").cast(pl.String))
    lists = pl.DataFrame({"row": np.arange(dataset.num_users)}).join(
        rows.group_by("row", maintain_order=True).agg("token"), on="row", how="left", maintain_order="left"
    )["token"]
    every = pl.DataFrame({"token": [str(i) for i in range(num_items)], "idf": np.ones(num_items)})
    return Tokens(lambda lists: lists, CATEGORIES, every).encode(lists)


def _pairs(users: pl.DataFrame) -> pl.DataFrame:
    """user, them: dense ids of each user and each of their neighbours."""
    named, texts = _named(users), users["user"].cast(pl.String)
    known = named.join(pl.DataFrame({"neighbour": texts, "them": np.arange(len(texts))}), on="neighbour")
    if known.is_empty() and not named.is_empty():
        raise RecexpError(
            f"none of the {named.height:,} {NEIGHBOURS} that the table of users names is a user of the data; "
            f"{NEIGHBOURS} look like {', '.join(named['neighbour'].head(3))}, users like {', '.join(texts.head(3))}. "
            f"Give each user a list of users (jsonl, parquet), or leave {NEIGHBOURS} out of model.features.users."
        )
    return known.filter(pl.col("user") != pl.col("them"))


def _named(users: pl.DataFrame) -> pl.DataFrame:
    """user, neighbour: whom the column of neighbours, of ids or lists of ids, names, read as the data's ids are."""
    values = plain(users[NEIGHBOURS])
    check_kind(values, "user")
    pairs = pl.DataFrame({"user": np.arange(len(values)), "neighbour": values})
    pairs = pairs.explode("neighbour") if isinstance(values.dtype, pl.List) else pairs
    return pairs.with_columns(ids(pairs["neighbour"]).cast(pl.String)).drop_nulls()
