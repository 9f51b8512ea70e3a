"""Popularity: what everybody takes."""

from __future__ import annotations

from collections.abc import Iterable

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

    counts: Tensor

    def __init__(self, num_epochs: int, num_users: int, num_items: int) -> None:
        super().__init__()
        self.num_epochs = num_epochs
        self.register_buffer("counts", torch.zeros(num_items, dtype=torch.float64))

    def prepare(self, interactions: Interactions) -> None:
        self._item = torch.from_numpy(interactions.item).long()
        self._weight = torch.from_numpy(interactions.weight).double()

    def steps(self, epoch: int) -> Iterable[Tensor]:
        self.counts.zero_()
        return torch.arange(len(self._item)).split(BLOCK)

    def solve(self, block: Tensor) -> None:
        counted = torch.bincount(self._item[block], self._weight[block], minlength=len(self.counts))
        self.counts += counted.to(self.counts.device)

    def score(self, query: Query, items: Tensor | None = None) -> Tensor:
        counts = self.counts if items is None else self.counts[items.clamp(min=0)]
        return counts.float().expand(len(query), -1) if counts.dim() == 1 else counts.float()
