"""GBCE: binary cross-entropy with the overconfidence of sampling taken out."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F

from recexp.errors import RecexpError
from recexp.loss.base import mean_over_entries, positive_score, positive_weight
from recexp.types import Candidates


class GBCE(nn.Module):
    """GBCE: generalized binary cross-entropy, for negatives that are a small uniform sample of the catalogue.

        L = -1/(k + 1) (log sigma(s+)^beta + sum over i- of log(1 - sigma(s-)))
        beta = alpha (t (1 - 1/alpha) + 1/alpha),   alpha = k / (|I| - 1)

    t = 0 is plain binary cross-entropy; t = 1 makes sigma(s) the probability that sampling distorts. With the whole
    catalogue (negatives=full) there is nothing to take out: beta = 1 whatever t. The paper draws 256 negatives.
    Petrov & Macdonald, "gSASRec: Reducing Overconfidence in Sequential Recommendation Trained with Negative Sampling",
    RecSys 2023, eq. 6-8.
    Differs from the paper: a mean over valid entries; rows with label <= 0 have no positive and do not count.

    Args:
        alpha: scale of the scores, one over the temperature [1 / score].
        calibration: t [0..1].
    Shape:
        scores [Q, 1 + k] -> [].
    Raises:
        RecexpError: calibration below 0 or above 1.
    """

    def __init__(self, alpha: float, calibration: float) -> None:
        super().__init__()
        if not 0 <= calibration <= 1:
            raise RecexpError(f"loss.calibration={calibration:g}; allowed: 0 to 1. Type loss.calibration=0.75")
        self.alpha, self.calibration = alpha, calibration

    def forward(self, scores: Tensor, candidates: Candidates) -> Tensor:
        scores = self.alpha * scores
        # -log(1 - sigma(s)) in every column; at the positive's, beta log(1 + e^-s) = beta (softplus(s) - s) instead
        s_Q1 = positive_score(scores, candidates)
        beta = self.beta(candidates)
        swap_Q1 = beta * F.softplus(-s_Q1) - F.softplus(s_Q1)
        loss_QC = F.softplus(scores).scatter_add(1, candidates.target[:, None], swap_Q1)
        return mean_over_entries(loss_QC, replace(candidates, weight=positive_weight(candidates)))

    def beta(self, candidates: Candidates) -> float:
        """The power of the positive's sigma."""
        drawn = max(candidates.num_columns - 1, 1)
        share = min(1.0, drawn / max((candidates.catalogue or candidates.num_columns) - 1, 1))
        return share * (self.calibration * (1 - 1 / share) + 1 / share)
