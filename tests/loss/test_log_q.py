"""The log Q correction makes a skewed batch say what the whole catalogue says; with the sign flipped it does not."""

import torch

from recexp.loss.in_batch_softmax import InBatchSoftmax
from recexp.loss.softmax import Softmax
from recexp.types import Candidates

COUNTS = torch.tensor([1, 2, 4, 9])


def gradient(loss, scores_BI, columns, candidates):
    scores_BI = scores_BI.clone().requires_grad_()
    loss(scores_BI[:, columns], candidates).backward()
    return scores_BI.grad


def test_a_batch_in_proportion_to_q_has_the_gradient_of_the_full_softmax():
    """With count(i) = Q q(i) columns of item i, sum_j exp(S_j - log q_j) = Q sum_i exp(S_i), exactly."""
    scores_BI = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    positive = torch.tensor([0, 3, 2])
    batch = torch.repeat_interleave(torch.arange(4), COUNTS)
    target = torch.searchsorted(batch, positive)
    log_q = (COUNTS / COUNTS.sum()).double().log()[batch]

    full = gradient(Softmax(gamma=1.0), scores_BI, torch.arange(4), Candidates(torch.arange(4), positive))
    corrected = gradient(InBatchSoftmax(1.0, 0.0, "correct"), scores_BI, batch, Candidates(batch, target, log_q=log_q))
    torch.testing.assert_close(corrected, full)

    flipped = gradient(InBatchSoftmax(1.0, 0.0, "correct"), scores_BI, batch, Candidates(batch, target, log_q=-log_q))
    biased = gradient(InBatchSoftmax(1.0, 0.0, "none"), scores_BI, batch, Candidates(batch, target, log_q=log_q))
    assert (flipped - full).abs().max() > 0.05
    assert (biased - full).abs().max() > 0.05


def test_a_drawn_batch_has_it_in_expectation():
    generator = torch.Generator().manual_seed(1)
    scores_BI = torch.tensor([[0.3, -0.2, 0.5, 0.1]], dtype=torch.float64)
    frequency = COUNTS / COUNTS.sum()
    drawn = torch.multinomial(frequency, 40_000, replacement=True, generator=generator)
    target = (drawn == 1).nonzero()[0]
    candidates = Candidates(drawn, target, log_q=frequency.log()[drawn])

    full = gradient(Softmax(1.0), scores_BI, torch.arange(4), Candidates(torch.arange(4), torch.tensor([1])))
    corrected = gradient(InBatchSoftmax(1.0, 0.0, "correct"), scores_BI, drawn, candidates)
    torch.testing.assert_close(corrected, full, atol=0.01, rtol=0)
