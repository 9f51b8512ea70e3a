"""Whole histories: one row per user, several questions each."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recexp.examples.base import EventLog
from recexp.types import Batch, Interactions, Query

SHORTEST = 2
"""Users with fewer events have nothing to be asked after something else."""


class Histories:
    """The newest events of each user with enough of them; which of them are asked for is up to the kind.

    Args:
        max_length: events of a history at most [count].
    """

    asks_many, asks_all = True, False

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length

    def asked(self, query: Query, generator: torch.Generator) -> Tensor:
        """The places that are asked for, [B, L] bool."""
        raise TypeError(f"{type(self).__name__} does not say what it asks for")

    def count(self, train: Interactions) -> int:
        """Rows of an epoch."""
        return len(self.users(train))

    def users(self, train: Interactions) -> np.ndarray:
        """The users with a row, ascending, [R]."""
        users, counts = np.unique(train.user, return_counts=True)
        return users[counts >= SHORTEST].astype(np.int64)

    def prepare(self, train: Interactions, num_users: int, device: torch.device) -> None:
        offsets, users = train.offsets(num_users), self.users(train)
        self.events = EventLog.of(train, device)
        self.user, self.start, self.stop = (
            torch.from_numpy(column).to(device) for column in (users, offsets[users], offsets[users + 1])
        )

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Batch:
        """The histories of some rows, cut to length, and the items at the places asked for as positives."""
        whole = Query(self.user[rows], self.events.log, self.start[rows], self.stop[rows])
        query = whole.last(self.max_length)
        asked_BL = self.asked(query, generator)
        row_Q, place_Q = asked_BL.nonzero(as_tuple=True)
        return self.events.batch(query.asking(asked_BL), query.start[row_Q] + place_Q)
