"""Every loss against numbers worked out by hand."""

from math import exp, log

import pytest
import torch

from recexp.errors import RecexpError
from recexp.loss.ce import CE
from recexp.loss.gbce import GBCE
from recexp.loss.in_batch_softmax import InBatchSoftmax
from recexp.loss.pairwise import Pairwise
from recexp.loss.softmax import Softmax
from recexp.loss.squared import Squared
from recexp.loss.triplet import Triplet
from recexp.types import Candidates

# row 0: positive 2 at column 0, negatives 1 and (not valid) 3; row 1: positive -1 at column 2, negatives 0 and 4
SCORES_QC = torch.tensor([[2.0, 1.0, 3.0], [0.0, 4.0, -1.0]])
TARGET = torch.tensor([0, 2])
VALID_QC = torch.tensor([[True, True, False], [True, True, True]])


def candidates(**more):
    return Candidates(torch.arange(3), TARGET, **{"valid": VALID_QC, **more})


def softplus(x):
    return log(1 + exp(x))


def test_ce_is_the_mean_over_valid_entries():
    entries = [softplus(-2), softplus(1), softplus(0), softplus(4), softplus(1)]
    assert CE(alpha=1.0)(SCORES_QC, candidates()).item() == pytest.approx(sum(entries) / 5)


def test_ce_weighs_the_two_answers_by_a_label_between_them():
    row_0 = 0.25 * softplus(-2) + 0.75 * softplus(2) + softplus(1)
    row_1 = softplus(0) + softplus(4) + softplus(-1)  # an observed no: three negatives
    loss = CE(alpha=1.0)(SCORES_QC, candidates(label=torch.tensor([0.25, 0.0])))
    assert loss.item() == pytest.approx((row_0 + row_1) / 5)


@pytest.mark.parametrize("label", [4.0, -1.0, float("nan")])
def test_ce_refuses_ratings_and_names_the_remedy(label):
    with pytest.raises(RecexpError, match=r"data\.label=null.*loss=squared"):
        CE(alpha=1.0)(SCORES_QC, candidates(label=torch.tensor([1.0, label])))


@pytest.mark.parametrize(("calibration", "beta"), [(0.0, 1.0), (1.0, 0.2), (0.75, 0.4)])
def test_gbce_weakens_the_positive_of_a_sample(calibration, beta):
    """2 negatives of 10 possible ones: alpha = 0.2."""
    entries = [beta * softplus(-2), softplus(1), softplus(0), softplus(4), beta * softplus(1)]
    loss = GBCE(1.0, calibration)
    assert loss(SCORES_QC, candidates(catalogue=11)).item() == pytest.approx(sum(entries) / 5)
    assert loss(SCORES_QC, candidates()).item() == pytest.approx(CE(alpha=1.0)(SCORES_QC, candidates()).item())


def test_gbce_refuses_what_is_no_share():
    with pytest.raises(RecexpError, match=r"loss\.calibration=0\.75"):
        GBCE(1.0, 1.5)


def test_squared_is_the_mean_over_valid_entries():
    loss = Squared()(SCORES_QC, candidates(label=torch.tensor([5.0, -2.0])))
    assert loss.item() == pytest.approx(((5 - 2) ** 2 + 1 + 0 + 16 + (-2 + 1) ** 2) / 5)


def test_squared_takes_an_interaction_without_a_label_for_one():
    assert Squared()(SCORES_QC, candidates()).item() == pytest.approx((1 + 1 + 0 + 16 + 4) / 5)


def test_pairwise_is_the_mean_over_valid_pairs():
    assert Pairwise()(SCORES_QC, candidates()).item() == pytest.approx((softplus(-1) + softplus(1) + softplus(5)) / 3)


def test_triplet_is_the_mean_over_valid_pairs_not_over_those_above_zero():
    assert Triplet(margin=0.5)(SCORES_QC, candidates()).item() == pytest.approx((0 + 1.5 + 5.5) / 3)


def test_softmax_scales_by_gamma():
    row_0 = log(1 + exp(2 * (1 - 2)))
    row_1 = log(1 + exp(2 * (0 + 1)) + exp(2 * (4 + 1)))
    assert Softmax(gamma=2.0)(SCORES_QC, candidates()).item() == pytest.approx((row_0 + row_1) / 2)


def test_in_batch_softmax_subtracts_log_q_from_the_scaled_scores():
    log_q = torch.tensor([0.5, 0.25, 0.125]).log()
    # exp(alpha S - log q) = exp(alpha S) / q
    row_0 = -log(exp(1) / 0.5 / (exp(1) / 0.5 + exp(0.5) / 0.25))
    row_1 = -log(exp(-0.5) / 0.125 / (exp(0) / 0.5 + exp(2) / 0.25 + exp(-0.5) / 0.125))
    loss = InBatchSoftmax(alpha=0.5, beta=3.0, log_q="correct")(SCORES_QC, candidates(log_q=log_q))
    assert loss.item() == pytest.approx((row_0 + row_1) / 2)


def test_in_batch_softmax_leaves_log_q_alone_when_told():
    loss = InBatchSoftmax(alpha=2.0, beta=0.0, log_q="none")
    told = loss(SCORES_QC, candidates(log_q=torch.tensor([0.5, 0.25, 0.125]).log()))
    assert told.item() == pytest.approx(Softmax(gamma=2.0)(SCORES_QC, candidates()).item())


def test_alpha_scales_and_beta_shifts_the_logits():
    logits_QC = InBatchSoftmax(alpha=3.0, beta=0.5, log_q="correct").logits(SCORES_QC, candidates())
    torch.testing.assert_close(logits_QC, 3 * SCORES_QC + 0.5)
    log_q_QC = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]])
    logits_QC = InBatchSoftmax(alpha=3.0, beta=0.5, log_q="correct").logits(SCORES_QC, candidates(log_q=log_q_QC))
    torch.testing.assert_close(logits_QC, 3 * SCORES_QC + 0.5 - log_q_QC)


def test_in_batch_softmax_names_what_log_q_may_be():
    with pytest.raises(RecexpError, match=r"loss\.log_q=corect is unknown; allowed: correct, none"):
        InBatchSoftmax(alpha=1.0, beta=0.0, log_q="corect")


@pytest.mark.parametrize("loss", [CE(alpha=1.0), Squared()], ids=["ce", "squared"])
def test_row_weight_counts_per_entry(loss):
    rows = [
        loss(SCORES_QC[q : q + 1], Candidates(torch.arange(3), TARGET[q : q + 1], VALID_QC[q : q + 1])) for q in (0, 1)
    ]
    weighed = loss(SCORES_QC, candidates(weight=torch.tensor([3.0, 1.0])))
    torch.testing.assert_close(weighed, (3 * 2 * rows[0] + 1 * 3 * rows[1]) / (3 * 2 + 1 * 3))


@pytest.mark.parametrize("loss", [Pairwise(), Triplet(margin=0.5)], ids=["pairwise", "triplet"])
def test_row_weight_counts_per_pair(loss):
    rows = [
        loss(SCORES_QC[q : q + 1], Candidates(torch.arange(3), TARGET[q : q + 1], VALID_QC[q : q + 1])) for q in (0, 1)
    ]
    weighed = loss(SCORES_QC, candidates(weight=torch.tensor([3.0, 1.0])))
    torch.testing.assert_close(weighed, (3 * 1 * rows[0] + 1 * 2 * rows[1]) / (3 * 1 + 1 * 2))


@pytest.mark.parametrize("loss", [Softmax(1.0), InBatchSoftmax(1.0, 0.0, "correct")], ids=["softmax", "in_batch"])
def test_row_weight_counts_per_row(loss):
    rows = [
        loss(SCORES_QC[q : q + 1], Candidates(torch.arange(3), TARGET[q : q + 1], VALID_QC[q : q + 1])) for q in (0, 1)
    ]
    torch.testing.assert_close(
        loss(SCORES_QC, candidates(weight=torch.tensor([3.0, 1.0]))), (3 * rows[0] + rows[1]) / 4
    )
