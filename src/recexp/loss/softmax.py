"""Softmax: the positive against its negatives, sampled or the whole catalogue."""

from __future__ import annotations

from torch import Tensor

from recexp.loss.base import Comparison, softmax_of_positive
from recexp.types import Candidates


class Softmax(Comparison):
    """Softmax: negative log-likelihood of the positive among its candidates, the mean over rows.

        L = -sum log exp(gamma R(u, i+)) / (exp(gamma R(u, i+)) + sum over i- in D- of exp(gamma R(u, i-)))

    Huang et al., "Learning Deep Structured Semantic Models for Web Search using Clickthrough Data", CIKM 2013, eq. 4-6.
    Differs from the paper: D- is what `negatives=` gives; a mean instead of a sum; how likely the sampler was to draw
    an item is not corrected for (loss=in_batch_softmax does that).

    Args:
        gamma: smoothing factor, one over the temperature [1 / score].
    Shape:
        scores [Q, C] -> []; rows with label <= 0 have no positive and do not count.
    """

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, scores: Tensor, candidates: Candidates) -> Tensor:
        logits_QC = scores if self.gamma == 1 else self.gamma * scores  # at 1, a copy of all scores is saved
        return softmax_of_positive(logits_QC, candidates)
