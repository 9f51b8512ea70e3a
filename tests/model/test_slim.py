"""SLIM against scikit-learn's ElasticNet, column by column, and what a large catalogue and a kill do to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from scipy.sparse import csr_array
from sklearn.linear_model import ElasticNet

import recexp
from recexp import config
from recexp.errors import RecexpError
from recexp.model.columns import Solver
from recexp.model.slim import SLIM
from recexp.model.slim_kernels import Rows, best, selected
from recexp.model.sparse import Weights
from recexp.task.assemble import new_model
from recexp.task.run import Run
from recexp.types import Interactions, Query

USERS, ITEMS = 60, 25
SETTINGS = [(0.02, 0.5), (0.01, 0.001), (0.05, 1.0)]


def events(seed: int = 0, num_users: int = USERS, num_items: int = ITEMS) -> Interactions:
    """Events with weights, some items far more popular than others, the last one never taken."""
    rng = np.random.default_rng(seed)
    user, item = np.nonzero(rng.random((num_users, num_items)) < np.linspace(0.6, 0.05, num_items))
    kept = item < num_items - 1
    user, item = user[kept].astype(np.int32), item[kept].astype(np.int32)
    weight = rng.uniform(0.5, 2, len(user)).astype(np.float32)
    return Interactions(user, item, np.zeros(len(user), np.int64), weight, np.ones(len(user), np.float32))


def slim(*overrides: str, num_users: int = USERS, num_items: int = ITEMS) -> SLIM:
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        composed = compose("config", overrides=["model=slim", *overrides])
    model = new_model(composed, num_users, num_items)
    assert isinstance(model, SLIM)
    return model


def fitted(model: SLIM, interactions: Interactions) -> np.ndarray:
    """W after all epochs, [I, I]."""
    model.prepare(interactions)
    for epoch in range(model.num_epochs):
        for block in model.steps(epoch):
            model.solve(block)
    return dense(model.weights)


def dense(weights: Weights) -> np.ndarray:
    rows = weights.rows()
    size = len(rows.start) - 1
    return csr_array((rows.value, rows.column, rows.start), shape=(size, size)).toarray()


def matrix(interactions: Interactions) -> np.ndarray:
    A_UI = np.zeros((USERS, ITEMS))
    np.add.at(A_UI, (interactions.user, interactions.item), interactions.weight)
    return A_UI


def objective(A_UI: np.ndarray, j: int, w: np.ndarray, alpha: float, l1_ratio: float) -> float:
    residual = A_UI[:, j] - A_UI @ w.astype(float)
    l1, l2 = USERS * alpha * l1_ratio, USERS * alpha * (1 - l1_ratio)
    return float(0.5 * residual @ residual + l1 * w.sum() + 0.5 * l2 * w @ w)


def reference(A_UI: np.ndarray, j: int, alpha: float, l1_ratio: float) -> np.ndarray:
    others = A_UI.copy()
    others[:, j] = 0
    net = ElasticNet(alpha=alpha, l1_ratio=l1_ratio, positive=True, fit_intercept=False, max_iter=100_000, tol=1e-11)
    return np.asarray(net.fit(others, A_UI[:, j]).coef_)


@pytest.mark.parametrize(("alpha", "l1_ratio"), SETTINGS)
def test_every_column_is_as_good_as_scikit_learns(alpha: float, l1_ratio: float) -> None:
    data = events()
    W_II = fitted(slim(f"model.alpha={alpha}", f"model.l1_ratio={l1_ratio}"), data)
    A_UI = matrix(data)
    for j in range(ITEMS):
        expected = reference(A_UI, j, alpha, l1_ratio)
        least = objective(A_UI, j, expected, alpha, l1_ratio)
        assert objective(A_UI, j, W_II[:, j], alpha, l1_ratio) <= least * (1 + 1e-6) + 1e-12
        np.testing.assert_allclose(W_II[:, j], expected, atol=5e-3)
    assert (W_II >= 0).all()
    assert np.count_nonzero(W_II) > ITEMS
    assert (np.diag(W_II) == 0).all()


def test_with_hardly_a_penalty_it_still_ends() -> None:
    W_II = fitted(slim("model.alpha=1e-30", "model.l1_ratio=0"), events())
    assert np.isfinite(W_II).all()
    assert W_II.any()


@pytest.mark.parametrize(("alpha", "said"), [(0.02, False), (50.0, True)])
def test_penalties_that_leave_nothing_are_told(alpha: float, said: bool, caplog: pytest.LogCaptureFixture) -> None:
    fitted(slim(f"model.alpha={alpha}", "model.l1_ratio=0.5"), events())
    assert ("25 of 25 items have no weight" in caplog.text) is said


def test_top_k_keeps_the_largest_weights() -> None:
    everything = fitted(slim("model.alpha=0.01"), events())
    kept = fitted(slim("model.alpha=0.01", "model.top_k=3"), events())
    assert (np.count_nonzero(kept, axis=0) == np.minimum(3, np.count_nonzero(everything, axis=0))).all()
    assert (kept[kept > 0] == everything[kept > 0]).all()
    for j in range(ITEMS):
        assert kept[:, j].sum() == pytest.approx(np.sort(everything[:, j])[-3:].sum())


def test_of_equal_ones_the_first_are_the_best() -> None:
    gain = np.array([0, 2, 1, 2, 1, 1, -3], np.float32)
    assert [list(best(gain, count)) for count in (1, 2, 3, 4, 9)] == [
        [1],
        [1, 3],
        [1, 2, 3],
        [1, 2, 3, 4],
        [1, 2, 3, 4, 5],
    ]


@pytest.mark.parametrize("heads", [0, 3, ITEMS - 1])
def test_a_large_catalogue_with_all_neighbours_is_a_small_one(heads: int) -> None:
    whole = fitted(slim("model.alpha=0.02"), events())
    near = slim("model.alpha=0.02", f"model.solver.max_dense_items={heads}", f"model.solver.num_neighbors={ITEMS}")
    np.testing.assert_allclose(fitted(near, events()), whole, atol=2e-3)


def test_a_large_catalogue_uses_so_many_neighbours_at_most() -> None:
    settings = ["model.alpha=0.001", "model.solver.max_dense_items=3"]
    few = fitted(slim(*settings, "model.solver.num_neighbors=4"), events())
    assert np.count_nonzero(few, axis=0).max() == 4
    assert np.count_nonzero(fitted(slim(*settings), events()), axis=0).max() > 4


def test_another_go_from_its_own_solution_changes_nothing() -> None:
    model = slim()
    before = fitted(model, events())
    np.testing.assert_array_equal(fitted(model, events()), before)


def test_the_scores_are_the_weighted_history_times_w() -> None:
    model = slim("model.alpha=0.01")
    W_II = fitted(model, events())
    query = Query.from_histories([[0, 1, 1], [], [24, 3]])
    query.log.weight.copy_(torch.tensor([1.0, 2.0, 0.5, 1.0, 4.0]))
    expected = np.stack([W_II[0] + 2.5 * W_II[1], np.zeros(ITEMS), W_II[24] + 4 * W_II[3]])
    np.testing.assert_allclose(model.score(query).numpy(), expected, rtol=1e-5, atol=1e-7)


def test_an_unfinished_matrix_says_nothing() -> None:
    model = slim("model.num_epochs=5")
    model.prepare(events())
    scores = []
    for epoch in range(5):
        for block in model.steps(epoch):
            model.solve(block)
        scores.append(bool(model.score(Query.from_histories([[0, 1, 2]])).any()))
    assert scores == [False, False, False, False, True]


def test_columns_are_replaced_in_place() -> None:
    weights = Weights(3)
    weights.replace(
        0, Rows(np.array([0, 1, 3, 4]), np.array([1, 0, 2, 0], np.int32), np.array([1, 2, 3, 4], np.float32))
    )
    weights.replace(1, Rows(np.array([0, 1]), np.array([2], np.int32), np.array([9], np.float32)))
    np.testing.assert_array_equal(dense(weights), [[0, 0, 4], [1, 0, 0], [0, 9, 0]])


def test_a_fresh_model_takes_the_weights_of_a_fitted_one() -> None:
    model, other = slim(), slim()
    W_II = fitted(model, events())
    assert not dense(other.weights).any()
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(dense(other.weights), W_II)


@pytest.mark.parametrize(
    "override", ["num_epochs=0", "alpha=0", "l1_ratio=1.5", "top_k=0", "solver.max_iter=0", "solver.num_neighbors=0"]
)
def test_what_makes_no_sense_is_refused(override: str) -> None:
    with pytest.raises(RecexpError, match=override.split("=")[0]):
        slim(f"model.{override}")


def test_memory_of_a_large_catalogue_is_no_square() -> None:
    solver = Solver(max_iter=10, tol=1e-3, max_dense_items=8, num_neighbors=5)
    items = 200_000
    A = csr_array((np.ones(3, np.float32), ([0, 0, 1], [0, items - 1, 7])), shape=(2, items))
    none = Rows(np.zeros(items + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    found = solver.on(A, 0.1, 0.1, items).solve(np.array([0, 1, items - 1]), none)
    assert list(found.column) == [items - 1, 0]


def test_killed_between_blocks_and_resumed_equals_uninterrupted(
    run: Callable[..., Run], kill_after_a_checkpoint: Callable[[list[str], float], None]
) -> None:
    asked = ["model=slim", "data.num_users=300", "eval.k=[5]", "model.num_epochs=40"]
    whole = run(*asked, "hydra.run.dir=whole")
    kill_after_a_checkpoint(asked, 0.0)
    assert torch.load("killed/checkpoints/last.ckpt", weights_only=True)["epoch"] < 39
    resumed = recexp.run("resume=killed")
    before, after = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert resumed.metrics["test/ndcg@5"] == whole.metrics["test/ndcg@5"]


def test_a_dense_part_too_large_for_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("memory", "model.columns"):
        monkeypatch.setattr(f"recexp.{module}.free_bytes", lambda: 4 * ITEMS**2 - 1)
    with pytest.raises(RecexpError, match=rf"{ITEMS} items needs .* Type model\.solver\.max_dense_items=17, or less"):
        slim().prepare(events())
    slim("model.solver.max_dense_items=17").prepare(events())


def test_a_place_among_sorted_values_is_found_without_sorting() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 10, 101):
        for values in (rng.random(n), rng.integers(0, 3, n), np.arange(n), np.zeros(n)):
            for place in range(n):
                assert selected(values.astype(np.float32), place, n) == np.sort(values).astype(np.float32)[place]
