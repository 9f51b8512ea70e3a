"""Events: every event is a question of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from recexp.examples.base import EventLog
from recexp.types import Batch, Interactions, Query


class Events:
    """Events: row n asks the user of event n, with what they did before, for its item.

    Shape:
        rows [B] -> query of B, its history the events before in time order; positive [B].
    """

    asks_many, asks_all = False, False

    def count(self, train: Interactions) -> int:
        return len(train)

    def prepare(self, train: Interactions, num_users: int, device: torch.device) -> None:
        self.events = EventLog.of(train, device)
        self.start = torch.from_numpy(train.offsets(num_users)).to(device)[self.events.user]

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Batch:
        query = Query(self.events.user[rows], self.events.log, self.start[rows], stop=rows)
        return self.events.batch(query, rows)
