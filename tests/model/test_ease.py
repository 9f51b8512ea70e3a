"""EASE against its formula, and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recexp import memory
from recexp.errors import RecexpError
from recexp.model.ease import EASE
from recexp.types import Interactions, Query


def fitted(A_UI: np.ndarray, regularization: float) -> EASE:
    user, item = (numbers.astype(np.int32) for numbers in np.nonzero(A_UI))
    ones = np.ones(len(user), np.float32)
    model = EASE(1, regularization, *A_UI.shape)
    model.prepare(Interactions(user, item, np.zeros(len(user), np.int64), A_UI[user, item].astype(np.float32), ones))
    for block in model.steps(0):
        model.solve(block)
    return model


def test_two_items_by_hand() -> None:
    """A'A + 1 = [[3, 1], [1, 4]]: the best weight of one item for the other is its product over its own square."""
    model = fitted(np.array([[1, 1], [1, 0], [0, 1], [0, 1]]), 1.0)
    torch.testing.assert_close(model.weights, torch.tensor([[0, 1 / 3], [1 / 4, 0]]))


def test_each_column_is_the_ridge_regression_on_all_others() -> None:
    rng = np.random.default_rng(1)
    A_UI = (rng.random((50, 12)) < 0.3) * rng.uniform(0.5, 2, (50, 12))
    B_II = fitted(A_UI, 3.0).weights.numpy()
    for j in range(12):
        others = np.delete(np.arange(12), j)
        ridge = np.linalg.solve(A_UI[:, others].T @ A_UI[:, others] + 3 * np.eye(11), A_UI[:, others].T @ A_UI[:, j])
        np.testing.assert_allclose(B_II[others, j], ridge, rtol=1e-4, atol=1e-6)
        assert B_II[j, j] == 0


def test_the_scores_are_the_weighted_history_times_b() -> None:
    model = fitted(np.random.default_rng(0).integers(0, 2, (20, 5)), 2.0)
    query = Query.from_histories([[0, 1, 1], []])
    query.log.weight.copy_(torch.tensor([1.0, 2.0, 0.5]))
    expected = torch.stack([model.weights[0] + 2.5 * model.weights[1], torch.zeros(5)])
    torch.testing.assert_close(model.score(query), expected)


def test_without_regularization_there_is_no_inverse() -> None:
    with pytest.raises(RecexpError, match="regularization"):
        EASE(1, 0.0, 3, 3)


def test_a_catalogue_too_large_for_the_memory_is_refused_before_any_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 bytes for each pair to hold the weights, 24 more to solve them."""
    monkeypatch.setattr(memory, "free_bytes", lambda: 2**30)
    with pytest.raises(RecexpError, match=r"on 20,000 items needs 1\.5 GiB .* 1\.0 GiB are free.* Type model=slim"):
        EASE(1, 1.0, 3, 20_000)
    monkeypatch.setattr(memory, "free_bytes", lambda: 23 * 12**2)
    with pytest.raises(RecexpError, match=r"on 12 items needs 0\.0 MiB"):
        fitted(np.ones((3, 12)), 1.0)
    monkeypatch.setattr(memory, "free_bytes", lambda: 24 * 12**2)
    fitted(np.ones((3, 12)), 1.0)


def test_free_memory_is_that_of_the_machine_or_of_its_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    assert memory.free_bytes() > 2**20, "no Linux, no container: what is built in"
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:    5000 kB\n")
    assert memory.free_bytes() == 5000 * 2**10
    for name, text in {"max": "3000000", "current": "2000000", "stat": "anon 9\ninactive_file 500000\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory.free_bytes() == 1_500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_bytes() == 5000 * 2**10
