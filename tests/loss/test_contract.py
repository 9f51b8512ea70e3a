"""What holds for every loss, and for every loss with every negatives."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from recexp.loss.ce import CE
from recexp.loss.gbce import GBCE
from recexp.loss.in_batch_softmax import InBatchSoftmax
from recexp.loss.pairwise import Pairwise
from recexp.loss.softmax import Softmax
from recexp.loss.squared import Squared
from recexp.loss.triplet import Triplet
from recexp.types import Candidates, Interactions, Query

CONF = Path(__file__).parents[2] / "conf"
LOSSES = {
    "ce": CE(alpha=1.0),
    "squared": Squared(),
    "gbce": GBCE(alpha=1.0, calibration=0.75),
    "pairwise": Pairwise(),
    "triplet": Triplet(margin=0.7),
    "softmax": Softmax(gamma=1.5),
    "in_batch_softmax": InBatchSoftmax(alpha=1.5, beta=0.3, log_q="correct"),
}
OF_PAIRS = ["pairwise", "triplet", "softmax", "in_batch_softmax"]
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
every_loss_of_pairs = pytest.mark.parametrize("loss", [LOSSES[name] for name in OF_PAIRS], ids=OF_PAIRS)


def problem(seed=0, shared=False, dtype=torch.float64):
    """Scores [6, 5] and candidates with masks, log q, labels, weights; row 4 is a no, row 5 has no negative."""
    generator = torch.Generator().manual_seed(seed)
    scores_QC = torch.randn(6, 5, generator=generator, dtype=dtype, requires_grad=True)
    target = torch.tensor([0, 4, 2, 1, 3, 0])
    valid_QC = torch.rand(6, 5, generator=generator) < 0.7
    valid_QC[5] = False
    valid_QC[torch.arange(6), target] = True
    shape = (5,) if shared else (6, 5)
    candidates = Candidates(
        torch.randint(9, shape, generator=generator),
        target,
        valid_QC,
        torch.rand(shape, generator=generator).log(),
        torch.tensor([1.0, 0.5, 1.0, 1.0, 0.0, 1.0]),
        torch.tensor([1.0, 2.0, 0.5, 1.0, 1.0, 1.0]),
    )
    return scores_QC, candidates


def gradient(loss, scores_QC, candidates):
    scores_QC = scores_QC.detach().clone().requires_grad_()
    value = loss(scores_QC, candidates)
    value.backward()
    return value.item(), scores_QC.grad


@every_loss
@pytest.mark.parametrize("shared", [True, False])
def test_gradcheck(loss, shared):
    scores_QC, candidates = problem(shared=shared)
    assert torch.autograd.gradcheck(lambda scores: loss(scores, candidates), scores_QC)
    assert torch.autograd.gradcheck(
        lambda scores: loss(scores, Candidates(candidates.items, candidates.target)), scores_QC
    )


@every_loss
def test_no_mask_is_the_same_as_a_mask_of_ones(loss):
    scores_QC, candidates = problem()
    without = gradient(loss, scores_QC, replace(candidates, valid=None))
    ones = gradient(loss, scores_QC, replace(candidates, valid=torch.ones(6, 5, dtype=torch.bool)))
    assert without[0] == pytest.approx(ones[0])
    torch.testing.assert_close(without[1], ones[1])


@every_loss
def test_what_does_not_count_changes_nothing(loss):
    scores_QC, candidates = problem()
    value, slope_QC = gradient(loss, scores_QC, candidates)
    other = gradient(loss, scores_QC.masked_fill(~candidates.valid, 77.0), candidates)
    assert value == other[0]
    assert not slope_QC[~candidates.valid].any()
    assert slope_QC[candidates.valid].any()


@every_loss_of_pairs
def test_a_no_has_no_positive_and_is_left_out(loss):
    scores_QC, candidates = problem()
    yes = candidates.label > 0
    rows = {name: getattr(candidates, name)[yes] for name in ("items", "target", "valid", "log_q", "label", "weight")}
    value, slope_QC = gradient(loss, scores_QC, candidates)
    assert value == pytest.approx(gradient(loss, scores_QC[yes], Candidates(**rows))[0])
    assert not slope_QC[~yes].any()
    as_yes = replace(candidates, label=torch.ones(6))
    assert value != pytest.approx(gradient(loss, scores_QC, as_yes)[0])


@every_loss_of_pairs
@pytest.mark.parametrize(
    "case", ["only noes", "no valid negative", "nothing counts", "one column", "no row", "no weight"]
)
def test_nothing_to_learn_is_zero_with_a_finite_gradient(loss, case):
    scores_QC, candidates = problem()
    only_target_QC = candidates.is_target()
    empty = torch.empty(0, dtype=torch.int64)
    nothing = {
        "only noes": replace(candidates, label=torch.zeros(6)),
        "no valid negative": replace(candidates, valid=only_target_QC),
        "nothing counts": replace(candidates, valid=torch.zeros_like(only_target_QC)),
        "one column": Candidates(torch.zeros(6, 1, dtype=torch.int64), torch.zeros(6, dtype=torch.int64)),
        "no row": Candidates(torch.arange(5), empty),
        "no weight": replace(candidates, weight=torch.zeros(6)),
    }[case]
    value, slope_QC = gradient(loss, scores_QC[: len(nothing.target), : nothing.num_columns], nothing)
    assert value == 0
    assert not slope_QC.any()


@every_loss
def test_nothing_that_counts_is_zero_with_a_finite_gradient(loss):
    scores_QC, candidates = problem()
    value, slope_QC = gradient(loss, scores_QC, replace(candidates, valid=torch.zeros(6, 5, dtype=torch.bool)))
    assert value == 0
    assert not slope_QC.any()


@every_loss
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_finite_at_perfect_and_at_hopeless_scores(loss, size):
    _, candidates = problem(dtype=torch.float32)
    scores_QC = torch.where(candidates.is_target(), size, -size)
    value, slope_QC = gradient(loss, scores_QC, candidates)
    assert np.isfinite(value)
    assert value >= 0
    assert slope_QC.isfinite().all()


@pytest.mark.parametrize("name", ["ce", "pairwise", "triplet", "softmax", "in_batch_softmax"])
def test_a_perfect_batch_costs_nothing(name):
    scores_QC, candidates = problem(dtype=torch.float32)
    perfect = replace(candidates, label=None)
    scores_QC = torch.where(perfect.is_target(), 1e4, -1e4)
    value, slope_QC = gradient(LOSSES[name], scores_QC, perfect)
    assert value == pytest.approx(0, abs=1e-6)
    assert slope_QC.abs().max() < 1e-6


@every_loss
def test_the_scores_of_a_trainer_in_16_bits_are_welcome(loss):
    scores_QC, candidates = problem(dtype=torch.float32)
    exact = loss(scores_QC, candidates).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = loss(scores_QC.to(torch.bfloat16), candidates)
    rough.backward()
    assert rough.item() == pytest.approx(exact, rel=0.03)


def toy():
    """40 events of 8 users with 12 items, the first items more often; item 11 is never met."""
    rng = np.random.default_rng(0)
    user = np.sort(rng.integers(0, 8, 40)).astype(np.int32)
    item = np.minimum(rng.geometric(0.25, 40) - 1, 10).astype(np.int32)
    one = np.ones(40, np.float32)
    return Interactions(user, item, np.arange(40), one, one)


def options(group):
    return [pytest.param(path, id=path.stem) for path in sorted((CONF / group).glob("*.yaml"))]


@pytest.mark.parametrize("loss_yaml", options("loss"))
@pytest.mark.parametrize("negatives_yaml", options("negatives"))
def test_every_loss_learns_with_every_negatives(loss_yaml, negatives_yaml):
    events = toy()
    loss = instantiate(OmegaConf.load(loss_yaml))
    negatives = instantiate(OmegaConf.load(negatives_yaml))
    negatives.prepare(events, 12)
    users, positive = torch.from_numpy(events.user).long(), torch.from_numpy(events.item).long()
    candidates = negatives(positive, Query.from_histories([[]] * 40, users.tolist()), torch.Generator().manual_seed(0))
    candidates = replace(candidates, label=(positive != 2).float(), weight=torch.linspace(0.5, 2, 40))

    table_UI = torch.zeros(8, 12, requires_grad=True)
    before = loss(table_UI[users].gather(1, candidates.items.expand(40, -1)), candidates)
    before.backward()
    after = loss((table_UI - 0.02 * table_UI.grad)[users].gather(1, candidates.items.expand(40, -1)), candidates)
    assert after.isfinite()
    if candidates.num_columns > 1 or loss_yaml.stem in ("ce", "squared", "gbce"):
        assert after.item() < before.item()
    else:
        assert after.item() == before.item() == 0
