"""Mixed: the items of the other rows' positives, and a few items that nobody may have met."""

from __future__ import annotations

import torch
from torch import Tensor

from recexp.negatives.base import Negatives, certain, frequencies, log_absence, log_presence, refuse_none
from recexp.types import Candidates, Interactions, Query


class Mixed(Negatives):
    """Mixed: the distinct items among the positives of the batch and n uniform items are the candidates of all rows.

        q(i) = 1 - (1 - count(i) / N)^Q (1 - 1 / |I|)^n,   the probability that Q rows of train or n items drawn have it
        q(i) = 1                                           for what the row's own history asks for

    Yang et al., "Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations", WWW 2020
    (Companion), section 3.
    Differs from the paper: an item met several times is one column, so that a row's own item is never among its
    negatives (accidental hits); q is counted in train.

    Args:
        num_negatives: n, uniform items drawn for the whole batch, with replacement [count].
    Shape:
        positive [Q] -> items [C], C <= Q + n, shared by all rows, target the column of the row's item, log_q [Q, C].
    Raises:
        RecexpError: num_negatives below 1.
    """

    frequency: Tensor

    def __init__(self, num_negatives: int) -> None:
        super().__init__()
        refuse_none(num_negatives)
        self.num_negatives = num_negatives
        self.register_buffer("frequency", torch.empty(0), persistent=False)

    def prepare(self, interactions: Interactions, num_items: int) -> None:
        super().prepare(interactions, num_items)
        self.frequency = frequencies(interactions, num_items).to(self.frequency.device)

    def forward(self, positive: Tensor, query: Query, generator: torch.Generator) -> Candidates:
        rows, n = len(positive), self.num_negatives
        drawn_N = torch.randint(self.num_items, (n,), generator=generator, device=positive.device)
        items_C, column = torch.cat([positive, drawn_N]).unique(return_inverse=True)
        uniform = torch.tensor(1 / self.num_items)
        absence_C = log_absence(self.frequency[items_C], rows) + log_absence(uniform, n)
        own_QC = certain(column[:rows], query, len(items_C))
        return Candidates(items_C, column[:rows], log_q=log_presence(absence_C).masked_fill(own_QC, 0.0))
