"""Triplet: the positive above each negative by a margin."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from recexp.loss.base import Comparison, mean_over_pairs, positive_score
from recexp.types import Candidates


class Triplet(Comparison):
    """Triplet: hinge loss, the mean over all pairs of a positive and a valid negative, zero ones included.

        L = sum max(0, margin - R(u, i1) + R(u, i2)),   i1 the positive, i2 a negative

    Schroff, Kalenichenko, Philbin, "FaceNet: A Unified Embedding for Face Recognition and Clustering",
    CVPR 2015, eq. 3.
    Differs from the paper: R is the model's score instead of minus a squared distance; a mean instead of a sum.

    Args:
        margin: how far the positive must lead before a pair costs nothing [score].
    Shape:
        scores [Q, C] -> []; rows with label <= 0 have no positive and do not count.
    """

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, scores: Tensor, candidates: Candidates) -> Tensor:
        return mean_over_pairs(F.relu(scores + (self.margin - positive_score(scores, candidates))), candidates)
