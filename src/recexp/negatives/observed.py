"""Observed: no negatives, the data says itself what was liked."""

from __future__ import annotations

import torch
from torch import Tensor

from recexp.negatives.base import Negatives
from recexp.types import Candidates, Query


class Observed(Negatives):
    """Observed: the interaction alone, for data with labels (ratings, or an explicit yes and no).

    Losses that compare items (pairwise, triplet, softmax) are refused beside it: use ce or squared.

    Shape:
        positive [Q] -> items [Q, 1], target 0; valid and log_q None.
    """

    gives_negatives = False

    def forward(self, positive: Tensor, query: Query, generator: torch.Generator) -> Candidates:
        return Candidates(positive[:, None], torch.zeros_like(positive))
