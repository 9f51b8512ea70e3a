"""InBatchSoftmax: the positive against the other rows' positives, corrected for how often they appear."""

from __future__ import annotations

import torch
from torch import Tensor

from recexp.errors import RecexpError, nearest
from recexp.loss.base import Comparison, softmax_of_positive
from recexp.types import Candidates

CORRECTIONS = ("correct", "none")


class InBatchSoftmax(Comparison):
    """InBatchSoftmax: softmax over the batch (or over any other candidates), with log Q correction.

        L = -(r > 0)^T log diag softmax(alpha S + beta - log q) / |r > 0|

    log q_j is the log-probability that item j is in the batch: popular items are drawn more often than they should be,
    so what is subtracted is larger (less negative) for them, and their logits end lower than those of rare items.

    Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019,
    section 3.
    Differs from the paper: r counts only as r > 0; q is what the negatives say it is, and not a running estimate.

    Args:
        alpha: scale of the scores, one over the temperature [1 / score].
        beta: shift of all logits; it cancels in the softmax [1].
        log_q: `correct` subtracts log q from the scaled logits, `none` does not.
    Shape:
        scores [Q, C] -> []; rows with label <= 0 do not count, their items still serve as negatives.
    Raises:
        RecexpError: log_q is neither `correct` nor `none`.
    """

    def __init__(self, alpha: float, beta: float, log_q: str) -> None:
        super().__init__()
        if log_q not in CORRECTIONS:
            allowed = nearest(log_q, CORRECTIONS)
            raise RecexpError(
                f"loss.log_q={log_q} is unknown; allowed: {', '.join(allowed)}. Type loss.log_q={allowed[0]}"
            )
        self.alpha = alpha
        self.beta = beta
        self.log_q = log_q

    def forward(self, scores: Tensor, candidates: Candidates) -> Tensor:
        return softmax_of_positive(self.logits(scores, candidates), candidates)

    def logits(self, scores: Tensor, candidates: Candidates) -> Tensor:
        """alpha S + beta - log q, [Q, C]."""
        shift = torch.tensor(self.beta)
        if self.log_q == "correct" and candidates.log_q is not None:
            shift = self.beta - candidates.log_q
        return torch.add(shift, scores, alpha=self.alpha)
