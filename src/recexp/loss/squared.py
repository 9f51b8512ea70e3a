"""Squared: the squared error of each candidate on its own."""

from __future__ import annotations

from torch import Tensor, nn

from recexp.loss.base import mean_over_entries, positive_label
from recexp.types import Candidates


class Squared(nn.Module):
    """Squared: regression on labels, the mean over valid entries.

        L = sum (r - R)^2,   r the label of the positive (1, or a rating), 0 for a negative

    Koren, Bell, Volinsky, "Matrix Factorization Techniques for Recommender Systems", IEEE Computer 2009, eq. 2.
    Differs from the paper: a mean instead of a sum; regularization belongs to the optimizer.

    Shape:
        scores [Q, C] -> [].
    """

    def forward(self, scores: Tensor, candidates: Candidates) -> Tensor:
        label_Q1 = positive_label(candidates, scores.dtype)
        # R - r with one touch per row: the labels of all other columns are 0
        error_QC = scores.scatter_add(1, candidates.target[:, None], -label_Q1)
        return mean_over_entries(error_QC.square(), candidates)
