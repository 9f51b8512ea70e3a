"""What all negatives are, and what those that draw items share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from recexp.errors import RecexpError, nearest
from recexp.types import PAD, Candidates, Interactions, Query

SEEN = ("keep", "mask")

Score = Callable[[Query, Tensor | None], Tensor]


class Negatives(nn.Module):
    """Which items each row of a training batch is scored against.

    A module so that its tables follow the model to its device; they are no weights and stay out of checkpoints.
    """

    gives_negatives = True
    num_items: int

    def prepare(self, interactions: Interactions, num_items: int) -> None:
        """Learn from the training part, once, before the first batch."""
        self.num_items = num_items

    def refresh(self, score: Score, epoch: int, generator: torch.Generator) -> None:
        """Look at the model, as it scores without dropout, at the start of an epoch; only hard negatives do."""

    def forward(self, positive: Tensor, query: Query, generator: torch.Generator) -> Candidates:
        """The candidates of each row. positive [Q] int64, query of Q rows, generator on their device."""
        raise NotImplementedError


class Draws(nn.Module):
    """Candidates [Q, 1 + n]: the positive, then what was drawn for it; a drawn positive does not count.

    Args:
        num_negatives: n, items drawn for each positive [count].
        seen: `keep` lets other items of the user's training history count as negatives, `mask` does not.
    Raises:
        RecexpError: num_negatives below 1, or an unknown `seen`.
    """

    keys: Tensor

    def __init__(self, num_negatives: int, seen: str) -> None:
        super().__init__()
        refuse_none(num_negatives)
        if seen not in SEEN:
            allowed = nearest(seen, SEEN)
            raise RecexpError(
                f"negatives.seen={seen} is unknown; allowed: {', '.join(allowed)}. Type negatives.seen={allowed[0]}"
            )
        self.num_negatives = num_negatives
        self.seen = seen
        self.register_buffer("keys", torch.empty(0, dtype=torch.int64), persistent=False)

    def prepare(self, interactions: Interactions, num_items: int) -> None:
        self.num_items = num_items
        if self.seen == "mask":
            keys = np.unique(interactions.user.astype(np.int64) * num_items + interactions.item)
            # a last key that nobody has, so that a search never ends behind the table
            self.keys = torch.from_numpy(np.append(keys, np.iinfo(np.int64).max)).to(self.keys.device)

    def forward(self, positive: Tensor, drawn_QN: Tensor, query: Query) -> Candidates:
        valid_QN = (drawn_QN != positive[:, None]) & (drawn_QN != PAD)
        if self.seen == "mask":
            valid_QN &= ~self.has_seen(row_users(query), drawn_QN)
        items_QC = torch.cat([positive[:, None], drawn_QN.clamp(min=0)], dim=1)
        valid_QC = torch.cat([torch.ones_like(valid_QN[:, :1]), valid_QN], dim=1)
        return Candidates(items_QC, torch.zeros_like(positive), valid_QC)

    def has_seen(self, users: Tensor, items_QN: Tensor) -> Tensor:
        """Which of its items the user of each row has in train, [Q, N] bool."""
        key_QN = users[:, None] * self.num_items + items_QN
        return self.keys[torch.searchsorted(self.keys, key_QN)] == key_QN


def refuse_none(num_negatives: int) -> None:
    """Raises: RecexpError where nothing is to be drawn."""
    if num_negatives < 1:
        raise RecexpError(
            f"negatives.num_negatives={num_negatives} draws nothing; allowed: 1 or more. "
            "Type negatives.num_negatives=4, or negatives=observed to learn from labels alone."
        )


def row_users(query: Query) -> Tensor:
    """The user of each of the query's Q rows of scores, [Q]."""
    return query.users[history_of_rows(query)]


def history_of_rows(query: Query) -> Tensor:
    """Which of the query's histories each of its Q rows of scores asks about, [Q]."""
    if query.asked is None:
        return torch.arange(len(query), device=query.users.device)
    return query.asked.nonzero()[:, 0]


def certain(target: Tensor, query: Query, num_columns: int) -> Tensor:
    """Which columns hold what the row's own history asks for, so that no chance brought them there, [Q, C] bool."""
    row_Q = history_of_rows(query)
    own_BC = torch.zeros(len(query), num_columns, dtype=torch.bool, device=target.device)
    own_BC[row_Q, target] = True
    return own_BC if query.asked is None else own_BC[row_Q]


def frequencies(interactions: Interactions, num_items: int) -> Tensor:
    """The share of each item in the events, [I] float32."""
    counts = np.bincount(interactions.item, minlength=num_items)
    return torch.from_numpy((counts / max(len(interactions), 1)).astype(np.float32))


def log_absence(probability_C: Tensor, draws: int) -> Tensor:
    """log (1 - p)^n, that none of n draws is what has probability p, [C] float32."""
    return draws * torch.log1p(-probability_C.float())


def log_presence(log_absence_C: Tensor) -> Tensor:
    """log (1 - e^a), of the opposite of what has log-probability a, [C]."""
    return (-torch.expm1(log_absence_C)).log()
