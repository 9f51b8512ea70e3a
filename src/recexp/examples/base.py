"""What the ways of cutting the training part into rows have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from recexp.types import Batch, Interactions, Log, Query


class Examples(Protocol):
    """What one row of training is.

    Attributes:
        asks_many: whether a row may ask several questions (`query.asked`); not every model can answer that.
        asks_all: whether it asks for every item of a history that something stands before.
    """

    asks_many: bool
    asks_all: bool

    def count(self, train: Interactions) -> int:
        """Rows of an epoch."""
        ...

    def prepare(self, train: Interactions, num_users: int, device: torch.device) -> None:
        """Take in the training part, once, before the first batch."""
        ...

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Batch:
        """The batch of some rows [B]; the generator, on the device, draws what is random about it."""
        ...


@dataclass(frozen=True)
class EventLog:
    """Training events on the model's device.

    Shape:
        user [N] int64 · label [N] float32, None if all are 1 · weight [N] float32 · context [N, F] int64; the items are
        the log's.
    """

    log: Log
    user: Tensor
    label: Tensor | None
    weight: Tensor
    context: Tensor

    @staticmethod
    def of(train: Interactions, device: torch.device) -> EventLog:
        """The events of the training part."""
        user_N, label_N, weight_N = (
            torch.from_numpy(column).to(device) for column in (train.user.astype(np.int64), train.label, train.weight)
        )
        implicit = bool((train.label == 1).all())
        context_NF = torch.from_numpy(train.context.astype(np.int64)).to(device)
        return EventLog(Log.of(train).to(device), user_N, None if implicit else label_N, weight_N, context_NF)

    def batch(self, query: Query, places: Tensor) -> Batch:
        """The batch whose positives are the events [Q] at these places of the log."""
        label = None if self.label is None else self.label[places]
        query = replace(query, context=self.context[places])
        return Batch(query, self.log.item[places], label, self.weight[places])
