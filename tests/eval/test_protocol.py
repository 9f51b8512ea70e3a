"""The protocols on a small world: what is asked, against what, and how answers are put together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from recexp.errors import RecexpError
from recexp.eval.evaluation import Evaluation
from recexp.eval.metrics import RANKING
from recexp.eval.protocol import Full, Sampled
from recexp.eval.questions import EvaluationError
from recexp.eval.segments import Segments
from recexp.eval.shown import SHOWN
from recexp.types import PAD, Holdout, Split

ALL = [*RANKING, *SHOWN]


@pytest.fixture
def full(segments: Segments):
    def make(**changed: object) -> Full:
        usual = {"name": "full", "k": [1, 5], "metrics": ALL, "ties": "expected", "seen": "exclude", "batch_size": 8}
        return Full(**{**usual, "segments": segments, **changed})

    return make


@pytest.fixture
def sampled(segments: Segments):
    def make(**changed: object) -> Sampled:
        usual = {"name": "s", "k": [1, 5], "metrics": list(RANKING), "ties": "expected", "sampling": "uniform"}
        return Sampled(**{**usual, "num_negatives": 6, "batch_size": 8, "segments": segments, **changed})

    return make


def scores_of(world, seed: int = 0, levels: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, levels, (world.dataset.num_users + 1, world.dataset.num_items)).astype(np.float32)


def test_full_ranking_is_a_plain_ranking(random_world, full, table, asked) -> None:
    """Distinct scores: rank by sorting what the user has not seen."""
    rng = np.random.default_rng(0)
    scores = np.stack([rng.permutation(30) for _ in range(41)]).astype(np.float32)
    found = asked(random_world.on(full(metrics=["recall", "coverage"], k=[5])), table(scores))
    recalls, shown = [], set()
    for user in range(40):
        history = random_world.split.train.item[random_world.split.train.user == user]
        target = random_world.split.test.target.item[random_world.split.test.target.user == user]
        row = scores[user if len(history) else PAD]
        best = [i for i in np.argsort(-row) if i not in history][:5]
        recalls.append(len(set(best) & set(target)) / len(target))
        shown |= set(best)
    assert found.metrics["recall@5"] == pytest.approx(np.mean(recalls))
    assert found.metrics["coverage@5"] == len(shown) / 30
    assert found.per_user["user"].to_list() == [f"u{u}" for u in range(40)]
    assert found.per_user["recall@5"].to_list() == pytest.approx(recalls)
    assert found.alarms == found.notes == []


@pytest.mark.parametrize("kind", ["full", "sampled"])
def test_chunks_ranks_and_repeats_change_nothing(kind, request, random_world, table, asked, close) -> None:
    protocol = request.getfixturevalue(kind)()
    score = table(scores_of(random_world))
    whole = asked(random_world.on(protocol), score, chunk=40)
    parts = [random_world.on(protocol) for _ in range(3)]
    for rank, part in enumerate(parts):
        for rows in (torch.arange(rank, 40, 3), torch.arange(rank, 40, 3)[:4], torch.arange(0)):
            part.update(score, rows, "cpu")
    states = [part.state() for part in parts]
    assert len({tuple((name, value.shape) for name, value in state.items()) for state in states}) == 1
    for part in parts:
        part.merge(states)
        joined = part.result()
        assert close(joined.metrics, whole.metrics)
        assert close(joined.segments, whole.segments)
        assert joined.per_user.equals(whole.per_user)
        assert joined.alarms == []


def test_two_ranks_with_the_same_users_cannot_be_counted(random_world, full, table, asked) -> None:
    one = random_world.on(full())
    asked(one, table(scores_of(random_world)))
    with pytest.raises(EvaluationError, match="40 users were asked on more than one rank"):
        one.merge([one.state(), one.state()])


def test_reset_forgets(random_world, full, table, asked, close) -> None:
    evaluation = random_world.on(full())
    asked(evaluation, table(scores_of(random_world, seed=1)))
    evaluation.reset()
    with pytest.raises(EvaluationError, match="nobody was asked"):
        evaluation.result()
    fresh = asked(random_world.on(full()), table(scores_of(random_world)))
    assert close(asked(evaluation, table(scores_of(random_world))).metrics, fresh.metrics)


def test_part_of_the_users_raises_an_alarm(random_world, full, table) -> None:
    evaluation = random_world.on(full())
    evaluation.update(table(scores_of(random_world)), torch.tensor([3, 5]), "cpu")
    found = evaluation.result()
    assert found.alarms == ["only 2 of 40 users were asked"]
    assert found.per_user["user"].to_list() == ["u3", "u5"]


def test_a_query_carries_the_history_and_hides_unknown_users(random_world, full) -> None:
    query = random_world.on(full()).query(torch.tensor([0, 2]), "cpu")
    train = random_world.split.train
    assert query.users.tolist() == [PAD, 2]
    assert query.profiles.tolist() == [0, 2], "whoever they are, what tables say of them is known"
    assert query.history[1].tolist() == train.item[train.user == 2].tolist()
    assert query.history[0].tolist() == [PAD] * 5


def test_seen_targets_are_not_asked_unless_seen_items_are_included(world, happened, full, table, asked) -> None:
    small = world(happened([(0, 0), (1, 1)]), happened([(0, 0), (1, 2), (1, 2), (1, 1)]), 2, 4)
    scores = np.array([[9, 0, 1, 2], [0, 9, 5, 1], [0, 0, 0, 0]], dtype=np.float32)
    excluded = asked(small.on(full(k=[1], metrics=["recall"])), table(scores))
    assert excluded.metrics == {"recall@1": 1.0}
    assert excluded.per_user["user"].to_list() == ["u1"]
    assert excluded.notes == ["2 of 3 targets are already in their user's history: not asked (eval.seen=exclude)"]
    included = asked(small.on(full(k=[1], metrics=["recall"], seen="include")), table(scores))
    assert included.per_user["recall@1"].to_list() == [1.0, 0.5]
    assert included.notes == []


def test_nobody_left_to_ask_is_refused(world, happened, full) -> None:
    small = world(happened([(0, 0)]), happened([(0, 0)]), 1, 3)
    with pytest.raises(RecexpError, match=r"data=toy: .* type eval\.seen=include"):
        small.on(full(k=[1]))


def test_ties_order_and_constant_scores(random_world, full, sampled, table, asked) -> None:
    constant = table(np.zeros((41, 30), dtype=np.float32))
    for make in (full, sampled):
        results = [
            asked(random_world.on(make(ties=ties, metrics=["hr"])), constant) for ties in ("against", "expected", "for")
        ]
        worst, mean, best = (result.metrics["hr@1"] for result in results)
        assert worst == 0
        assert 0 < mean < 0.5
        assert best == 1
        assert all("every item the same score" in result.alarms[0] for result in results)


def test_scores_that_differ_for_one_user_raise_no_alarm(random_world, full, table, asked) -> None:
    scores = np.zeros((41, 30), dtype=np.float32)
    scores[39, 3] = 1
    assert asked(random_world.on(full()), table(scores)).alarms == []


def test_minus_infinity_ranks_before_hidden_items(world, happened, full, table, asked) -> None:
    """A model may forbid items; they are not tied with the seen ones."""
    small = world(happened([(0, 0), (0, 1)]), happened([(0, 2)]), 1, 4)
    scores = np.array([[1, 1, -np.inf, 1], [0, 0, 0, 0]], dtype=np.float32)
    assert asked(small.on(full(k=[1, 2], metrics=["hr"])), table(scores)).metrics == {"hr@1": 0, "hr@2": 1}


def test_the_models_own_memory_is_left_alone(random_world, full, asked) -> None:
    kept = torch.arange(30.0).repeat(41, 1)
    asked(random_world.on(full(batch_size=40)), lambda query, items: kept[: len(query)])
    assert kept.equal(torch.arange(30.0).repeat(41, 1))


def test_integer_scores_of_a_shared_row_will_do(random_world, full, asked) -> None:
    row = torch.arange(30)
    found = asked(random_world.on(full()), lambda query, items: row.expand(len(query), -1))
    assert 0 < found.metrics["ndcg@5"] < 1


@pytest.mark.parametrize("kind", ["full", "sampled"])
def test_nan_names_user_and_item(kind, request, random_world, table, asked) -> None:
    scores = scores_of(random_world)
    item = random_world.split.test.target.item[random_world.split.test.target.user == 9][0]
    scores[9, item] = np.nan
    with pytest.raises(EvaluationError, match=f"NaN to user 'u9' and item 'i{item}'"):
        asked(random_world.on(request.getfixturevalue(kind)()), table(scores))


def test_infinities_of_both_signs_are_no_nan(random_world, full, table, asked) -> None:
    scores = scores_of(random_world)
    scores[:, 0], scores[:, 1] = np.inf, -np.inf
    assert asked(random_world.on(full()), table(scores)).metrics["hr@5"] > 0


def test_scores_of_another_shape_are_refused(random_world, full) -> None:
    with pytest.raises(EvaluationError, match=r"shape \(2, 7\), not \(2, 30\)"):
        random_world.on(full()).update(lambda query, items: torch.zeros(2, 7), torch.tensor([0, 1]), "cpu")


def test_a_cut_off_beyond_the_catalogue_is_refused(random_world, full, sampled) -> None:
    with pytest.raises(
        RecexpError, match=r"cut-off 31, but there are only 30 items that are ranked; type eval\.k=\[5\]"
    ):
        random_world.on(full(k=[5, 31]))
    with pytest.raises(RecexpError, match="cut-off 8, but there are only 7 candidates"):
        random_world.on(sampled(k=[8]))
    assert random_world.on(full(k=[30])).settings.k == [30]


def test_options_are_checked_without_data(full, sampled) -> None:
    with pytest.raises(RecexpError, match="'ndg' is not a metric of eval=full; allowed are ndcg"):
        full(metrics=["ndg"])
    with pytest.raises(RecexpError, match="'coverage' is not a metric of eval=sampled"):
        sampled(metrics=["coverage"])
    with pytest.raises(RecexpError, match=r"eval\.ties=random"):
        full(ties="random")
    with pytest.raises(RecexpError, match=r"type eval\.seen=exclude"):
        full(seen="excluded")
    with pytest.raises(RecexpError, match=r"type eval\.sampling=uniform"):
        sampled(sampling="unifrom")


@pytest.mark.parametrize(
    ("changed", "monitor"),
    [
        ({"k": [5, 10, 20]}, "ndcg@10"),
        ({"k": [20]}, "ndcg@20"),
        ({"metrics": ["recall", "hr"], "k": [1, 20]}, "recall@1"),
    ],
)
def test_monitor_is_among_the_metrics(full, changed: dict[str, object], monitor: str) -> None:
    assert full(**changed).monitor == monitor


# --- segments ----------------------------------------------------------------------------------------------------


def test_segments_by_hand(world, happened, table, asked) -> None:
    """Item 0 is the head; users 0 and 1 have 2 events, user 2 has 1, user 3 none."""
    train = happened([(0, 1), (0, 0), (1, 0), (1, 2), (2, 3)])
    small = world(train, happened([(0, 2), (0, 3), (1, 4), (2, 0), (3, 0)]), 4, 5)
    scores = np.array([[0, 0, 9, 8, 1], [0, 5, 5, 5, 1], [5, 1, 1, 1, 1], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]], np.float32)
    protocol = Full("full", [1], ["hr", "recall"], "expected", "exclude", 8, Segments(head_share=0.2, cold_below=2))
    found = asked(small.on(protocol), table(scores))
    assert found.segments == {
        "hr@1:head": 0.5, "recall@1:head": 0.5, "hr@1:tail": 0.5, "recall@1:tail": 0.25,
        "hr@1:cold": 0.5, "recall@1:cold": 0.5, "hr@1:warm": 0.5, "recall@1:warm": 0.25,
    }  # fmt: skip


def test_a_segment_without_users_has_no_key(random_world, table, asked) -> None:
    protocol = Full("full", [1], ["hr"], "expected", "exclude", 8, Segments(head_share=1.0, cold_below=0))
    assert set(asked(random_world.on(protocol), table(scores_of(random_world))).segments) == {"hr@1:head", "hr@1:warm"}


# --- sampled -----------------------------------------------------------------------------------------------------


def test_drawn_negatives_are_new_to_the_user_and_frozen(random_world, sampled) -> None:
    for sampling in ("uniform", "popularity"):
        one, same, other = (random_world.on(sampled(sampling=sampling), seed) for seed in (0, 0, 1))
        assert np.array_equal(one.candidates, same.candidates)
        assert one.sha256 == same.sha256 != other.sha256
        assert one.candidates.shape == (40, 6)
        for row in range(40):
            drawn = one.candidates[row]
            assert len(set(drawn)) == 6
            assert not set(drawn) & set(one.questions.met(row))


def test_fewer_items_than_negatives_are_all_drawn(random_world, sampled) -> None:
    evaluation = random_world.on(sampled(num_negatives=25, k=[1]))
    for row in range(40):
        drawn = evaluation.candidates[row]
        free = set(range(30)) - set(evaluation.questions.met(row))
        assert set(drawn[drawn != PAD]) == (free if len(free) <= 25 else set(drawn))
    assert evaluation.notes == ["39 users have fewer than 25 unmet items"]


def test_draws_follow_the_weights(world, happened, sampled) -> None:
    """Item 1 has three times the train events of item 2: drawn first, one negative each, three times as often."""
    train = happened([(0, 0)] + [(0, 1)] * 3 + [(0, 2)])
    crowd = happened([(user, 3) for user in range(1, 2001)])
    small = world(train, crowd, 2001, 4)
    popular = small.on(sampled(sampling="popularity", num_negatives=1, k=[1])).candidates[:, 0]
    counts = np.bincount(popular, minlength=4) / 2000
    assert counts == pytest.approx([0.2, 0.6, 0.2, 0], abs=0.035)
    uniform = small.on(sampled(sampling="uniform", num_negatives=1, k=[1])).candidates[:, 0]
    assert np.bincount(uniform, minlength=4) / 2000 == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0], abs=0.035)


def test_targets_are_ranked_one_by_one_against_the_given(world, happened, sampled, table, asked) -> None:
    negatives = np.array([[2, 3, 4], [2, 0, PAD]], dtype=np.int32)
    small = world(happened([(0, 5), (1, 5)]), happened([(0, 0), (0, 1), (1, 2)]), 2, 6, negatives=negatives)
    scores = np.array([[9, 5, 9, 5, 1, 0], [-2, 0, -1, 0, 0, 0], [0] * 6], dtype=np.float32)
    evaluation = small.on(sampled(sampling="given", k=[1, 2], metrics=["hr", "recall"]))
    assert evaluation.candidates.tolist() == [[2, 3, 4], [PAD, 0, PAD]]
    assert evaluation.notes == ["1 given negatives are targets of the same user: taken out"]
    found = asked(evaluation, table(scores))
    assert found.per_user["hr@1"].to_list() == [0.25, 1.0]  # item 0 ties with item 2; item 1 stands behind it
    assert found.per_user["hr@2"].to_list() == [0.75, 1.0]
    assert found.per_user["recall@2"].to_list() == [0.75, 1.0]


def test_given_negatives_are_for_the_test_part_only(random_world, sampled) -> None:
    protocol = sampled(sampling="given")
    with pytest.raises(RecexpError, match=r"eval\.sampling=given, but data=toy .* type eval\.sampling=uniform"):
        random_world.on(protocol)
    split = random_world.split
    validation = Holdout(split.test.history, split.test.target)
    both = Split(split.train, validation, split.test, negatives=np.zeros((40, 3), np.int32))
    assert protocol.on(both, both.validation, random_world.dataset, 0).candidates.shape == (40, 6)
    assert sampled(sampling="given", k=[1]).on(both, both.test, random_world.dataset, 0).candidates.shape == (40, 3)


# --- what the hash covers ----------------------------------------------------------------------------------------


def test_the_hash_covers_what_changes_numbers_and_nothing_else(random_world, full, sampled) -> None:
    base = random_world.on(full()).sha256
    same = [full(name="x"), full(k=[3]), full(metrics=["hr"]), full(batch_size=3)]
    assert {random_world.on(protocol).sha256 for protocol in same} == {base}
    other = [full(ties="against"), full(seen="include"), full(segments=Segments(0.5, 3)), sampled()]
    fewer = dataclasses.replace(random_world.split.test, target=random_world.split.test.target[1:])
    hashes = {random_world.on(protocol).sha256 for protocol in other}
    hashes.add(full().on(random_world.split, fewer, random_world.dataset, 0).sha256)
    assert len(hashes | {base}) == 6


# --- the control -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "sampled"])
def test_popularity_is_the_same_as_a_popularity_model(kind, request, random_world, asked, close) -> None:
    evaluation: Evaluation = random_world.on(request.getfixturevalue(kind)())
    counts = torch.bincount(torch.from_numpy(random_world.split.train.item).long(), minlength=30).float()

    def popularity(query, items):
        return counts.expand(len(query), -1) if items is None else counts[items]

    asked(evaluation, lambda query, items: -popularity(query, items))
    before = evaluation.result()
    control = evaluation.of_popularity()
    assert close(evaluation.result().metrics, before.metrics)
    assert close(control.metrics, asked(random_world.on(request.getfixturevalue(kind)()), popularity).metrics)
    assert not close(control.metrics, before.metrics)
