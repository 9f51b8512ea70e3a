"""InBatch: the items of the other rows' positives."""

from __future__ import annotations

import torch
from torch import Tensor

from recexp.negatives.base import Negatives, certain, frequencies, log_absence, log_presence
from recexp.types import Candidates, Interactions, Query


class InBatch(Negatives):
    """InBatch: the distinct items among the positives of the batch are the candidates of all its rows.

        q(i) = 1 - (1 - count(i) / N)^Q,   the probability that one of Q rows of train has the item
        q(i) = 1                           for what the row's own history asks for: it is there for certain

    Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019, section 3;
    Khrylchenko et al., "Correcting the LogQ Correction", RecSys 2025, for the row's own.
    Differs from the papers: an item that several rows have is one column and is encoded once, so that a row's own item
    is never among its negatives (accidental hits) and a batch of many rows costs no more than its items; q is counted,
    not estimated, and where count(i) Q << N it is Yi's but for a constant; an item without a count stands as if it had
    one.

    Shape:
        positive [Q] -> items [C], C <= Q, shared by all rows, target the column of the row's item, log_q [Q, C].
    """

    frequency: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequency", torch.empty(0), persistent=False)

    def prepare(self, interactions: Interactions, num_items: int) -> None:
        super().prepare(interactions, num_items)
        frequency = frequencies(interactions, num_items).clamp(min=1 / max(len(interactions), 1))
        self.frequency = frequency.to(self.frequency.device)

    def forward(self, positive: Tensor, query: Query, generator: torch.Generator) -> Candidates:
        items_C, target = positive.unique(return_inverse=True)
        log_q_C = log_presence(log_absence(self.frequency[items_C], len(positive)))
        own_QC = certain(target, query, len(items_C))
        return Candidates(items_C, target, log_q=log_q_C.masked_fill(own_QC, 0.0))
