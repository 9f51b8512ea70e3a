"""Full: the whole catalogue."""

from __future__ import annotations

import torch
from torch import Tensor

from recexp.negatives.base import Negatives
from recexp.types import Candidates, Query


class Full(Negatives):
    """Full: every item is a candidate of every row; nothing is drawn, so nothing is corrected.

    Shape:
        positive [Q] -> items [I] shared by all rows, target = positive; valid and log_q None.
    """

    def forward(self, positive: Tensor, query: Query, generator: torch.Generator) -> Candidates:
        return Candidates(torch.arange(self.num_items, device=positive.device), positive)
