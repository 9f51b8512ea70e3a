"""Pairwise: the positive above each negative (BPR)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from recexp.loss.base import Comparison, mean_over_pairs, positive_score
from recexp.types import Candidates


class Pairwise(Comparison):
    """Pairwise: Bayesian personalised ranking, the mean over pairs of a positive and a valid negative.

        L = -sum log sigma(R(u, i1) - R(u, i2)),   i1 the positive, i2 a negative

    Rendle, Freudenthaler, Gantner, Schmidt-Thieme, "BPR: Bayesian Personalized Ranking from Implicit Feedback",
    UAI 2009, section 4.1.
    Differs from the paper: a mean instead of a sum; regularization belongs to the optimizer.

    Shape:
        scores [Q, C] -> []; rows with label <= 0 have no positive and do not count.
    """

    def forward(self, scores: Tensor, candidates: Candidates) -> Tensor:
        return mean_over_pairs(F.softplus(scores - positive_score(scores, candidates)), candidates)
