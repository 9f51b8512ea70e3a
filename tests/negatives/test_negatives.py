"""What each negatives gives: shapes, masks, statistics, log q."""

from math import log

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from recexp.errors import RecexpError
from recexp.negatives import popularity
from recexp.negatives.full import Full
from recexp.negatives.in_batch import InBatch
from recexp.negatives.mixed import Mixed
from recexp.negatives.observed import Observed
from recexp.negatives.popularity import Popularity
from recexp.negatives.uniform import Uniform
from recexp.types import PAD, Interactions, Query

ITEMS = 6
COUNTS = np.array([4, 2, 1, 1, 0, 0])


def events():
    """User 0 has items 1 0 0, user 1 has 2 0 1, user 2 has 3 0, in order of time: counts 4 2 1 1 0 0."""
    user = np.array([0, 0, 0, 1, 1, 1, 2, 2], np.int32)
    item = np.array([1, 0, 0, 2, 0, 1, 3, 0], np.int32)
    # neither weight nor label has a say in how often an item is drawn
    return Interactions(user, item, np.arange(8), np.full(8, 9.0, np.float32), np.zeros(8, np.float32))


def ask(negatives, positive, users, seed=0):
    negatives.prepare(events(), ITEMS)
    query = Query.from_histories([[] for _ in users], users)
    return negatives(torch.tensor(positive), query, torch.Generator().manual_seed(seed))


SAMPLERS = {
    "uniform": lambda seen="keep", n=50: Uniform(n, seen),
    "popularity": lambda seen="keep", n=50: Popularity(n, 0.5, seen),
}
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


@every_sampler
def test_positive_stands_in_column_0_and_its_copies_do_not_count(sampler):
    candidates = ask(sampler(), [0, 1, 3], [0, 1, 2])
    assert candidates.items.shape == candidates.valid.shape == (3, 51)
    assert candidates.items[:, 0].tolist() == [0, 1, 3]
    assert candidates.target.tolist() == [0, 0, 0]
    assert candidates.valid[:, 0].all()
    copies = candidates.items[:, 1:] == candidates.items[:, :1]
    assert copies.any(1).all()
    assert torch.equal(candidates.valid[:, 1:], ~copies)


@every_sampler
def test_seen_mask_leaves_out_what_the_user_has_in_train(sampler):
    candidates = ask(sampler("mask"), [0, 5, 3, 2], [0, 1, PAD, 0])
    has = [{0, 1}, {0, 1, 2, 5}, {3}, {0, 1, 2}]  # with the positive; a user unknown to training has nothing else
    expected = [[item not in has[q] for item in row[1:]] for q, row in enumerate(candidates.items.tolist())]
    assert candidates.valid[:, 1:].tolist() == expected
    assert candidates.valid[:, 0].all()
    assert all({True, False} == set(row) for row in expected)


@every_sampler
def test_seen_mask_finds_the_last_user_and_the_last_item(sampler):
    negatives = sampler("mask")
    one = np.ones(1, np.float32)
    last = Interactions(np.array([7], np.int32), np.array([5], np.int32), np.zeros(1, np.int64), one, one)
    negatives.prepare(last, ITEMS)
    query = Query.from_histories([[], [], []], [7, 8, PAD])
    candidates = negatives(torch.tensor([0, 0, 0]), query, torch.Generator().manual_seed(0))
    is_last = candidates.items == 5
    assert is_last.any(1).all()
    assert not candidates.valid[0][is_last[0]].any()
    assert candidates.valid[1:][is_last[1:]].all()


@every_sampler
def test_seen_mask_knows_whose_the_places_of_a_history_are(sampler):
    negatives = sampler("mask")
    negatives.prepare(events(), ITEMS)
    asked = torch.tensor([[True, False, True], [False, True, False]])
    query = Query.from_histories([[1, 0, 0], [3, 0]], [0, 2]).asking(asked)
    candidates = negatives(torch.tensor([4, 4, 4]), query, torch.Generator().manual_seed(0))
    for row, met in enumerate([{0, 1}, {0, 1}, {0, 3}]):
        items, valid = candidates.items[row, 1:], candidates.valid[row, 1:]
        assert valid.tolist() == [item not in met | {4} for item in items.tolist()]


@every_sampler
def test_same_seed_same_draws(sampler):
    first, again, other = (ask(sampler(), [0, 1, 3], [0, 1, 2], seed).items for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def drawn(negatives):
    """How often each item is drawn in 60,000 draws."""
    candidates = ask(negatives, [0] * 20, [PAD] * 20, seed=11)
    return np.bincount(candidates.items[:, 1:].flatten().numpy(), minlength=ITEMS)


def test_uniform_draws_every_item_as_often():
    assert chisquare(drawn(Uniform(3000, "keep"))).pvalue > 0.01


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_popularity_draws_by_a_power_of_the_count(exponent):
    times = drawn(Popularity(3000, exponent, "keep"))
    mass = COUNTS[:4] ** exponent
    assert times[4:].tolist() == [0, 0]
    assert chisquare(times[:4], mass / mass.sum() * times.sum()).pvalue > 0.01


def test_popularity_with_exponent_0_is_uniform():
    assert chisquare(drawn(Popularity(3000, 0.0, "keep"))).pvalue > 0.01


def test_popularity_log_q_is_the_log_probability_of_each_column():
    candidates = ask(Popularity(50, 0.5, "keep"), [0, 4], [0, 1])
    mass = 2 + 2**0.5 + 1 + 1
    log_q = [log(m / mass) for m in (2, 2**0.5, 1, 1, 1, 1)]  # items 4 and 5 as if somebody had them
    expected = [[log_q[item] for item in row] for row in candidates.items.tolist()]
    torch.testing.assert_close(candidates.log_q, torch.tensor(expected))
    assert candidates.log_q[0, 0] > candidates.log_q[1, 0]


def test_popularity_is_right_at_the_borders_of_its_intervals(monkeypatch):
    monkeypatch.setattr(popularity, "ONE", 8)  # so few points that every border is met
    times = drawn(Popularity(3000, 1.0, "keep"))
    assert times[4:].tolist() == [0, 0]
    assert chisquare(times[:4], COUNTS[:4] / 8 * times.sum()).pvalue > 0.01


def test_uniform_has_no_log_q():
    assert ask(Uniform(3, "keep"), [0], [0]).log_q is None


def test_in_batch_is_the_distinct_items_of_the_batch_and_a_rows_own_is_never_its_negative():
    candidates = ask(InBatch(), [0, 2, 0, 4], [0, 1, 2, 0])
    assert candidates.items.tolist() == [0, 2, 4]
    assert candidates.target.tolist() == [0, 1, 0, 2]
    assert candidates.valid is None
    negatives = [candidates.items[row].tolist() for row in candidates.is_negative()]
    assert negatives == [[2, 4], [0, 4], [2, 4], [0, 2]]


def test_in_batch_log_q_is_the_log_probability_that_the_batch_has_the_item():
    candidates = ask(InBatch(), [5, 0, 1, 2, 0], [0, 1, 2, 0, 0])
    expected = [log(1 - (1 - count / 8) ** 5) for count in (4, 2, 1, 1)]  # nobody has item 5: as if one had
    expected_QC = torch.tensor(expected).repeat(5, 1)
    expected_QC[range(5), candidates.target] = 0.0  # its own item is there for certain
    torch.testing.assert_close(candidates.log_q, expected_QC)


def test_full_is_the_whole_catalogue_once():
    candidates = ask(Full(), [4, 0], [0, 1])
    assert candidates.items.tolist() == list(range(ITEMS))
    assert candidates.target.tolist() == [4, 0]
    assert candidates.valid is None
    assert candidates.log_q is None


def test_observed_is_the_interaction_alone():
    candidates = ask(Observed(), [4, 0], [0, 1])
    assert candidates.items.tolist() == [[4], [0]]
    assert candidates.target.tolist() == [0, 0]
    assert candidates.valid is None
    assert not candidates.is_negative().any()


@pytest.mark.parametrize(
    "negatives",
    [Uniform(3, "mask"), Popularity(3, 1.0, "mask"), InBatch(), Full(), Observed()],
    ids=lambda negatives: type(negatives).__name__,
)
def test_tables_follow_the_model_but_are_not_saved(negatives):
    negatives.prepare(events(), ITEMS)
    assert not negatives.state_dict()
    assert not list(negatives.parameters())
    tables = list(negatives.to("meta").buffers())
    assert all(table.is_meta for table in tables)
    assert negatives.refresh(None, 0, torch.Generator()) is None


def test_popularity_keeps_its_distribution_under_a_model_of_16_bits():
    exact, rough = Popularity(400, 1.0, "keep"), Popularity(400, 1.0, "keep")
    for negatives in (exact, rough):
        negatives.prepare(events(), ITEMS)
        negatives.to(torch.bfloat16 if negatives is rough else torch.float32)
    query = Query.from_histories([[]], [0])
    same = [n(torch.tensor([0]), query, torch.Generator().manual_seed(3)).items for n in (exact, rough)]
    assert torch.equal(*same)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Uniform(0, "keep"), r"num_negatives=0 .*1 or more.*negatives=observed"),
        (lambda: Mixed(0), r"num_negatives=0 .*1 or more"),
        (lambda: Uniform(4, "maks"), r"seen=maks is unknown; allowed: mask, keep\. Type negatives\.seen=mask"),
        (lambda: Popularity(4, -1.0, "keep"), r"exponent=-1 .*0 or more"),
    ],
)
def test_impossible_wishes(build, message):
    with pytest.raises(RecexpError, match=message):
        build()
