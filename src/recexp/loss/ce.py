"""CE: binary cross-entropy of each candidate on its own."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from recexp.errors import RecexpError
from recexp.loss.base import mean_over_entries, positive_label, positive_score
from recexp.types import Candidates


class CE(nn.Module):
    """CE: pointwise logistic loss, the mean over valid entries.

        L = -sum r log sigma(alpha R) + (1 - r) log(1 - sigma(alpha R)),   r the label of the positive, 0 for a negative

    He et al., "Neural Collaborative Filtering", WWW 2017, eq. 7.
    Differs from the paper: a mean instead of a sum; r may lie between 0 and 1; scores are scaled, for cosines, which
    end at 1, could not tell how sure they are.

    Args:
        alpha: scale of the scores, one over the temperature [1 / score].
    Shape:
        scores [Q, C] -> [].
    Raises:
        RecexpError: a label below 0 or above 1.
    """

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, scores: Tensor, candidates: Candidates) -> Tensor:
        if candidates.label is not None:
            _check(candidates.label)
        logits_QC = self.alpha * scores
        loss_QC = F.softplus(logits_QC)
        # -log(1 - sigma(R)) = softplus(R) in every column, and -r R more at the positive's: no [Q, C] of labels
        yes_Q1 = positive_label(candidates, loss_QC.dtype) * positive_score(logits_QC, candidates)
        return mean_over_entries(loss_QC.scatter_add(1, candidates.target[:, None], -yes_Q1), candidates)


def _check(label_Q: Tensor) -> None:
    outside = label_Q[~((label_Q >= 0) & (label_Q <= 1))]
    if len(outside):
        raise RecexpError(
            f"loss=ce was asked to learn the label {outside[0].item():g}; it takes labels from 0 to 1. "
            "Type data.label=null (every interaction is a yes) or loss=squared (ratings)."
        )
