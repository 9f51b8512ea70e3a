"""InBatch: the other rows' positives."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recexp.negatives.base import Negatives
from recexp.types import Candidates, Interactions, Query


class InBatch(Negatives):
    """InBatch: the positives of the batch are the candidates of all its rows; nothing more is encoded.

        q(i) = count(i) / N,   the frequency of the item in train

    Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019, section 3.
    Differs from the paper: other rows with the same item are masked (accidental hits); q is counted, not estimated;
    an item without a count stands as if it had one.

    Shape:
        positive [Q] -> items, log_q [Q] shared by all rows, target the diagonal, valid [Q, Q].
    """

    log_q: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("log_q", torch.empty(0), persistent=False)

    def prepare(self, interactions: Interactions, num_items: int) -> None:
        counts = np.bincount(interactions.item, minlength=num_items)
        log_q = np.log(np.maximum(counts, 1) / max(len(interactions), 1)).astype(np.float32)
        self.log_q = torch.from_numpy(log_q).to(self.log_q.device)

    def forward(self, positive: Tensor, query: Query, generator: torch.Generator) -> Candidates:
        target = torch.arange(len(positive), device=positive.device)
        valid_QQ = (positive[:, None] != positive).fill_diagonal_(True)
        return Candidates(positive, target, valid_QQ, self.log_q[positive])
