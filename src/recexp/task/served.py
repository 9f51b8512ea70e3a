"""A fitted model that answers anybody, and the lists it answers with."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import torch
from omegaconf import DictConfig
from torch import Tensor

from recexp.eval.rank import hide_seen, top_items
from recexp.model.base import Recommender
from recexp.types import PAD, Query


def place(config: DictConfig) -> str:
    """The device of the config where there is one."""
    return "cuda" if torch.cuda.is_available() and config.trainer.accelerator != "cpu" else "cpu"


class Served(Recommender):
    """A model for which users that its training never saw are unknown, whatever their number.

    Args:
        model: fitted. trained: whether training saw the user, [U] bool.
    """

    trained: Tensor

    def __init__(self, model: Recommender, trained: Tensor) -> None:
        super().__init__()
        self.model = model
        nobody = torch.zeros(1, dtype=torch.bool)  # where PAD, as index -1, and all numbers too large end up
        self.register_buffer("trained", torch.cat([trained, nobody]))

    def score(self, query: Query, items: Tensor | None = None) -> Tensor:
        return self.model.score(known(query, self.trained), items)


def known(query: Query, trained: Tensor) -> Query:
    """The query with users as what they are to a model: unknown where training never saw them.

    Args:
        trained: whether it did, [U + 1] bool, False for the last, who is nobody.
    """
    nobody = len(trained) - 1
    users = query.users.where(trained[query.users.clamp(max=nobody)], PAD)
    return replace(query, users=users, profiles=query.profiles.where(query.profiles < nobody, PAD))


@torch.no_grad()
def best(model: Recommender, query: Query, rows: slice, k: int) -> pl.DataFrame:
    """The k best items that are not in the history of each of these rows, fewer where fewer are left.

    Returns:
        columns `row` of the query, dense `item`, `rank` from 1, `score`; ties in order of the item.
    """
    asked = query.rows(rows)
    scores_BI = model.score(asked).float().clone()
    hide_seen(scores_BI, asked)
    items_BK = top_items(scores_BI, k)
    row_N, place_N = torch.nonzero(items_BK != PAD, as_tuple=True)
    item_N = items_BK[row_N, place_N]
    columns = {"row": row_N + rows.start, "item": item_N, "rank": place_N + 1, "score": scores_BI[row_N, item_N]}
    return pl.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})
