"""Popularity: what everybody takes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from recexp.model.base import Recommender
from recexp.types import Interactions, Query

BLOCK = 1 << 20


class Popularity(Recommender):
    """Popularity: the (weighted) number of training events of an item, the same for every user.

        R(u, i) = sum_v w_vi

    Differs from plain counting: events count by their weight, so `data.filters.half_life` makes it recent popularity.

    Args:
        num_epochs: passes over the data; one is all there is to do [count].
    Shape:
        query of B, items [C] or [B, C] -> scores [B, C].
    """

    anytime = False
    counts: Tensor

    def __init__(self, num_epochs: int, num_users: int, num_items: int) -> None:
        super().__init__()
        self.num_epochs = num_epochs
        self._sums = np.zeros(num_items)  # summed in float64, kept in float32
        self.register_buffer("counts", torch.zeros(num_items))

    def prepare(self, interactions: Interactions) -> None:
        self._item, self._weight = interactions.item, interactions.weight

    def steps(self, epoch: int) -> Iterable[Tensor]:
        self._sums[:] = 0
        return torch.arange(len(self._item)).split(BLOCK)

    def solve(self, block: Tensor) -> None:
        self._sums += np.bincount(self._item[block], self._weight[block], minlength=len(self._sums))
        self.counts.copy_(torch.from_numpy(self._sums))

    def score(self, query: Query, items: Tensor | None = None) -> Tensor:
        counts = self.counts if items is None else self.counts[items.clamp(min=0)]
        return counts.expand(len(query), -1)
