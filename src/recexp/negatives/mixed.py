"""Mixed: the other rows' positives, and a few items that nobody may have met."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recexp.negatives.base import Negatives
from recexp.types import Candidates, Interactions, Query


class Mixed(Negatives):
    """Mixed: the positives of the batch and n uniform items are the candidates of all its rows.

        q(i) = (Q count(i) / N + n / |I|) / (Q + n),   Q rows in the batch

    Yang et al., "Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations", WWW 2020
    (Companion), section 3.
    Differs from the paper: other columns with a row's own item are masked (accidental hits); q is counted in train.

    Args:
        num_negatives: n, uniform items drawn for the whole batch, with replacement [count].
    Shape:
        positive [Q] -> items, log_q [Q + n] shared by all rows, target the diagonal, valid [Q, Q + n].
    """

    frequency: Tensor

    def __init__(self, num_negatives: int) -> None:
        super().__init__()
        self.num_negatives = num_negatives
        self.register_buffer("frequency", torch.empty(0), persistent=False)

    def prepare(self, interactions: Interactions, num_items: int) -> None:
        super().prepare(interactions, num_items)
        counts = np.bincount(interactions.item, minlength=num_items)
        frequency = (counts / max(len(interactions), 1)).astype(np.float32)
        self.frequency = torch.from_numpy(frequency).to(self.frequency.device)

    def forward(self, positive: Tensor, query: Query, generator: torch.Generator) -> Candidates:
        rows, n = len(positive), self.num_negatives
        drawn_N = torch.randint(self.num_items, (n,), generator=generator, device=positive.device)
        items_C = torch.cat([positive, drawn_N])
        target = torch.arange(rows, device=positive.device)
        valid_QC = (positive[:, None] != items_C) | (target[:, None] == torch.arange(rows + n, device=positive.device))
        expected_C = rows * self.frequency[items_C] + n / self.num_items
        return Candidates(items_C, target, valid_QC, (expected_C / (rows + n)).log())
