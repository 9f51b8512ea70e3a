"""What the losses share: the positive's score, and means over what counts."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recexp.types import Candidates


class Comparison(nn.Module):
    """A loss that sets a positive against negatives; without any it has nothing to say."""


def positive_score(scores_QC: Tensor, candidates: Candidates) -> Tensor:
    """The score of each row's positive, [Q, 1]."""
    return scores_QC.gather(1, candidates.target[:, None])


def positive_label(candidates: Candidates, dtype: torch.dtype) -> Tensor:
    """The label of each row's positive, 1 where the data has none, [Q, 1]."""
    label_Q = torch.ones_like(candidates.target) if candidates.label is None else candidates.label
    return label_Q[:, None].to(dtype)


def positive_weight(candidates: Candidates) -> Tensor:
    """The weight of each row, 0 where it has no positive (label <= 0, or its column does not count), [Q]."""
    weight_Q = candidates.row_weight()
    if candidates.label is not None:
        weight_Q = weight_Q * (candidates.label > 0)
    if candidates.valid is not None:
        weight_Q = weight_Q * candidates.valid.gather(1, candidates.target[:, None])[:, 0]
    return weight_Q


def ratio(total: Tensor, weight: Tensor) -> Tensor:
    """total / weight, and 0 with gradient 0 where nothing weighs anything."""
    return total / torch.where(weight > 0, weight, 1.0)


def mean_over_entries(loss_QC: Tensor, candidates: Candidates) -> Tensor:
    """sum_qc w_q v_qc l_qc / sum_qc w_q v_qc, v = 1 where a column counts for its row."""
    loss_Q, count_Q = _sum_over_columns(loss_QC, candidates)
    weight_Q = candidates.row_weight()
    return ratio((weight_Q * loss_Q).sum(), (weight_Q * count_Q).sum())


def mean_over_pairs(loss_QC: Tensor, candidates: Candidates) -> Tensor:
    """sum_qc w_q n_qc l_qc / sum_qc w_q n_qc over rows with a positive, n = 1 at their valid negatives."""
    loss_Q, count_Q = _sum_over_columns(loss_QC.scatter(1, candidates.target[:, None], 0.0), candidates)
    weight_Q = positive_weight(candidates)
    return ratio((weight_Q * loss_Q).sum(), (weight_Q * (count_Q - 1)).sum())


def _sum_over_columns(loss_QC: Tensor, candidates: Candidates) -> tuple[Tensor, Tensor]:
    """The sum over the columns that count, [Q], and how many they are, [Q]; no mask is made where all count."""
    if candidates.valid is None:
        return loss_QC.sum(1), torch.full_like(candidates.target, candidates.num_columns)
    return torch.where(candidates.valid, loss_QC, 0.0).sum(1), candidates.valid.sum(1)


def softmax_of_positive(logits_QC: Tensor, candidates: Candidates) -> Tensor:
    """-log softmax at the positive over the columns that count: weighted mean over rows with a positive."""
    if candidates.valid is not None:
        logits_QC = logits_QC.masked_fill(~candidates.valid, -torch.inf)
    weight_Q = positive_weight(candidates)
    loss_Q = Surprise.apply(logits_QC, candidates.target)
    # chosen, not multiplied: a row whose positive does not count may be infinite
    loss_Q = torch.where(weight_Q > 0, loss_Q, 0.0)
    return ratio((weight_Q * loss_Q).sum(), weight_Q.sum())


class Surprise(torch.autograd.Function):
    """-log softmax at the target, [Q]; its gradient is softmax - 1 at the target.

    F.cross_entropy does the same with two more buffers of [Q, C], one of them full of zeros: for a catalogue of
    thousands they, not the arithmetic, are what a step waits for.
    """

    @staticmethod
    def forward(ctx: Any, logits_QC: Tensor, target: Tensor) -> Tensor:
        log_p_QC = F.log_softmax(logits_QC, dim=1)
        ctx.save_for_backward(log_p_QC, target)
        return -log_p_QC.gather(1, target[:, None])[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_Q: Tensor) -> tuple[Tensor, None]:
        log_p_QC, target = ctx.saved_tensors
        slope_Q1 = slope_Q[:, None]
        slope_QC = log_p_QC.exp().mul_(slope_Q1)
        return slope_QC.scatter_add_(1, target[:, None], -slope_Q1), None
