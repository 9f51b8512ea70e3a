"""InBatch: the items of the other rows' positives."""

from __future__ import annotations

import torch
from torch import Tensor

from recexp.negatives.base import Negatives, frequencies, log_absence, log_presence
from recexp.types import Candidates, Interactions, Query


class InBatch(Negatives):
    """InBatch: the distinct items among the positives of the batch are the candidates of all its rows.

        q(i) = 1 - (1 - count(i) / N)^Q,   the probability that one of Q rows of train has the item

    Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019, section 3.
    Differs from the paper: an item that several rows have is one column and is encoded once, so that a row's own item
    is never among its negatives (accidental hits) and a batch of many rows costs no more than its items; q is counted,
    not estimated, and where count(i) Q << N it is the paper's but for a constant; an item without a count stands as if
    it had one.

    Shape:
        positive [Q] -> items [C], C <= Q, log_q [C] shared by all rows, target the column of the row's item.
    """

    frequency: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequency", torch.empty(0), persistent=False)

    def prepare(self, interactions: Interactions, num_items: int) -> None:
        frequency = frequencies(interactions, num_items).clamp(min=1 / max(len(interactions), 1))
        self.frequency = frequency.to(self.frequency.device)

    def forward(self, positive: Tensor, query: Query, generator: torch.Generator) -> Candidates:
        items_C, target = positive.unique(return_inverse=True)
        return Candidates(items_C, target, log_q=log_presence(log_absence(self.frequency[items_C], len(positive))))
