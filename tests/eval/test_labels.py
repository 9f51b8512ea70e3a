"""Pointwise metrics against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recexp.errors import RecexpError
from recexp.eval.labels import POINTWISE
from recexp.eval.protocol import Pointwise


@pytest.fixture
def pointwise(segments):
    def make(**changed: object) -> Pointwise:
        usual = {"name": "p", "metrics": list(POINTWISE), "threshold": 3.0, "batch_size": 4}
        return Pointwise(**{**usual, "segments": segments, **changed})

    return make


@pytest.fixture
def rated(world, happened):
    rng = np.random.default_rng(5)
    pairs = [(u, int(i)) for u in range(12) for i in rng.permutation(20)[: 3 + u % 4]]
    train = happened([(u, int(i)) for u in range(11) for i in rng.permutation(20)[:4]])
    return world(train, happened(pairs, rng.integers(1, 6, len(pairs)).tolist()), 12, 20)


def by_hand(score: np.ndarray, label: np.ndarray) -> dict[str, float]:
    positive = label > 3
    pairs = np.subtract.outer(score[positive], score[~positive])
    probability = 1 / (1 + np.exp(-score))
    return {
        "rmse": np.sqrt(np.mean((score - label) ** 2)),
        "mae": np.mean(np.abs(score - label)),
        "auc": ((pairs > 0) + 0.5 * (pairs == 0)).mean() if pairs.size else np.nan,
        "log_loss": -np.mean(np.log(np.where(positive, probability, 1 - probability))),
    }


@pytest.fixture
def scores() -> np.ndarray:
    return np.random.default_rng(0).integers(-2, 6, (13, 20)) / 2


def test_all_metrics_overall_per_user_and_per_segment(rated, pointwise, table, asked, scores) -> None:
    found = asked(rated.on(pointwise()), table(scores), chunk=5)
    target = rated.split.test.target
    known = np.where(np.isin(target.user, rated.split.train.user), target.user, 12)
    score, label = scores[known, target.item], target.label.astype(float)
    assert found.metrics == pytest.approx(by_hand(score, label))
    for row, user in enumerate(found.per_user.iter_rows(named=True)):
        own = target.user == row
        assert user.pop("user") == f"u{row}"
        assert user == pytest.approx(by_hand(score[own], label[own]), nan_ok=True)
    cold = target.user == 11
    wanted = {f"{name}:cold": value for name, value in by_hand(score[cold], label[cold]).items()}
    assert {name: found.segments[name] for name in wanted} == pytest.approx(wanted)
    assert found.alarms == []


def test_ranks_put_together_are_exact(rated, pointwise, table, asked, scores, close) -> None:
    whole = asked(rated.on(pointwise()), table(scores))
    parts = [rated.on(pointwise()) for _ in range(2)]
    for rank, part in enumerate(parts):
        part.update(table(scores), torch.arange(rank, 12, 2), "cpu")
    states = [part.state() for part in parts]
    for part in parts:
        part.merge(states)
        assert close(part.result().metrics, whole.metrics)


def test_large_logits_stay_finite(rated, pointwise, table, asked, scores) -> None:
    found = asked(rated.on(pointwise(metrics=["log_loss"])), table(np.where(scores > 0, 1e4, -1e4)))
    assert 0 < found.metrics["log_loss"] < 1e4


def test_one_class_is_refused(rated, pointwise) -> None:
    with pytest.raises(RecexpError, match=r"auc,log_loss.*eval\.threshold=5, but those of data=toy lie in 1\.\.5"):
        rated.on(pointwise(threshold=5.0))
    rated.on(pointwise(threshold=5.0, metrics=["rmse"]))


def test_monitor_says_when_less_is_better(pointwise) -> None:
    assert pointwise(metrics=["auc"]).monitor == "auc"
    assert pointwise(metrics=["rmse", "auc"]).monitor == "-rmse"


def test_the_hash_covers_labels_and_threshold(rated, pointwise) -> None:
    hashes = [rated.on(pointwise(threshold=threshold)).sha256 for threshold in (3.5, 2.5)]
    rated.split.test.target.label[0] += 0.5
    assert len({*hashes, rated.on(pointwise()).sha256}) == 3


def test_the_popularity_control_is_an_auc(rated, pointwise) -> None:
    assert set(rated.on(pointwise()).of_popularity().metrics) == {"auc"}


def test_constant_scores_raise_an_alarm_and_are_chance(rated, pointwise, table, asked) -> None:
    found = asked(rated.on(pointwise()), table(np.zeros((13, 20))))
    assert found.metrics["auc"] == 0.5
    assert "same score" in found.alarms[0]
