"""Whole histories: one row per user, several questions each."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recexp.examples.base import EventLog
from recexp.types import Batch, Interactions, Query


class Histories:
    """The newest events of each user with enough of them; what is asked of a history is up to the owner.

    Args:
        max_length: events of a history at most [count].
        min_length: users with fewer events are left out [count].
    """

    def __init__(self, max_length: int, min_length: int) -> None:
        self.max_length, self.min_length = max_length, min_length

    def users(self, train: Interactions) -> np.ndarray:
        """The users with a row, ascending, [R]."""
        users, counts = np.unique(train.user, return_counts=True)
        return users[counts >= self.min_length].astype(np.int64)

    def prepare(self, train: Interactions, num_users: int, device: torch.device) -> None:
        offsets, users = train.offsets(num_users), self.users(train)
        self.events = EventLog.of(train, device)
        self.user, self.start, self.stop = (
            torch.from_numpy(column).to(device) for column in (users, offsets[users], offsets[users + 1])
        )

    def __call__(self, rows: Tensor) -> Query:
        """The histories of some rows, cut to length."""
        whole = Query(self.user[rows], self.events.log, self.start[rows], self.stop[rows])
        return whole.last(self.max_length)

    def asking(self, query: Query, asked_BL: Tensor) -> Batch:
        """The batch whose positives are the items at these places of the histories."""
        row_Q, place_Q = asked_BL.nonzero(as_tuple=True)
        return self.events.batch(query.asking(asked_BL), query.start[row_Q] + place_Q)
