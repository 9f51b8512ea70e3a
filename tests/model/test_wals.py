"""WALS against its own objective, written out densely."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

import recexp
from recexp.errors import RecexpError
from recexp.model import wals
from recexp.model.wals import ITEMS, USERS, WALS
from recexp.model.wals_solvers import Cholesky, ConjugateGradient, Solver
from recexp.task.run import Run
from recexp.types import PAD, Interactions, Log, Query

A0, LAMBDA, NU = 0.2, 0.03, 0.7
DTYPES = [torch.float32, torch.float64]


def interactions(num_users: int, num_items: int) -> Interactions:
    """Rows of all lengths, none included, with weights; some pairs twice."""
    rng = np.random.default_rng(0)
    share = np.linspace(0, 1, num_users)[:, None]
    user, item = (rng.random((num_users, num_items)) < share).nonzero()
    user, item = np.concatenate([user, user[:5]]), np.concatenate([item, item[:5]])
    order = np.argsort(user, kind="stable")
    user, item = user[order].astype(np.int32), item[order].astype(np.int32)
    weight = rng.uniform(0.5, 3, len(user)).astype(np.float32)
    return Interactions(user, item, np.zeros(len(user), np.int64), weight, np.ones(len(user), np.float32))


def fresh(
    num_users: int, num_items: int, dim: int, solver: Solver | None = None, dtype: torch.dtype = torch.float32
) -> WALS:
    torch.manual_seed(0)
    model = WALS(dim, A0, LAMBDA, NU, 3, 0.5, solver or Cholesky(), num_users, num_items).to(dtype)
    model.prepare(interactions(num_users, num_items))
    return model


def epoch(model: WALS, number: int = 0) -> None:
    for block in model.steps(number):
        model.solve(block)


def dense(model: WALS) -> Tensor:
    """[U, I] summed weights."""
    num_users, num_items = len(model.user_factors), len(model.item_factors)
    given = interactions(num_users, num_items)
    weight_UI = torch.zeros(num_users, num_items, dtype=model.user_factors.dtype)
    weight_UI.index_put_(
        (torch.from_numpy(given.user), torch.from_numpy(given.item)),
        torch.from_numpy(given.weight).to(weight_UI),
        accumulate=True,
    )
    return weight_UI


def objective(weight_UI: Tensor, users_UK: Tensor, items_IK: Tensor) -> Tensor:
    """The docstring of the model, term by term."""
    scores_UI, seen_UI = users_UK @ items_IK.T, (weight_UI > 0).double()
    ridge_U = (seen_UI.sum(1) + A0 * len(items_IK)) ** NU
    ridge_I = (seen_UI.sum(0) + A0 * len(users_UK)) ** NU
    fit = (weight_UI * (1 - scores_UI) ** 2).sum() + A0 * (scores_UI**2).sum()
    return fit + LAMBDA * ((ridge_U * (users_UK**2).sum(1)).sum() + (ridge_I * (items_IK**2).sum(1)).sum())


def gradients(model: WALS) -> list[Tensor]:
    factors = [f.clone().requires_grad_() for f in (model.user_factors, model.item_factors)]
    return list(torch.autograd.grad(objective(dense(model), *factors), factors))


@pytest.mark.parametrize("dim", [3, 40])
def test_each_half_of_an_epoch_leaves_its_side_without_gradient(dim: int) -> None:
    model = fresh(30, 60, dim, dtype=torch.float64)
    assert all(g.abs().max() > 0.1 for g in gradients(model))
    for side, block in zip((USERS, ITEMS), model.steps(0), strict=True):
        model.solve(block)
        assert gradients(model)[side].abs().max() < 1e-10
        assert gradients(model)[1 - side].abs().max() > 1e-3


def test_converges_to_where_nothing_has_a_gradient() -> None:
    model = fresh(12, 9, 3, dtype=torch.float64)
    for number in range(1000):
        epoch(model, number)
    assert all(g.abs().max() < 1e-8 for g in gradients(model))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_objective_is_that_of_the_docstring(dtype: torch.dtype) -> None:
    model = fresh(30, 60, 5, dtype=dtype)
    epoch(model)
    expected = objective(dense(model).double(), model.user_factors.double(), model.item_factors.double())
    assert model.objective() == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("solver", [Cholesky(), ConjugateGradient(3)])
@pytest.mark.parametrize("dim", [4, 40])
def test_the_objective_never_rises(dim: int, solver: Solver) -> None:
    model = fresh(40, 70, dim, solver)
    values = [model.objective()]
    for number in range(15):
        epoch(model, number)
        values.append(model.objective())
    assert all(after <= before * (1 + 1e-6) for before, after in pairwise(values))
    assert values[-1] < 0.5 * values[0]


@pytest.mark.parametrize(("num_users", "num_items", "dim"), [(30, 60, 3), (30, 60, 40), (30, 1300, 33), (7, 300, 200)])
def test_a_row_is_the_solution_of_its_own_dense_system(num_users: int, num_items: int, dim: int) -> None:
    """Short rows (their own small system), rows of about k, and rows beyond a chunk."""
    model = fresh(num_users, num_items, dim)
    V_IK, weight_UI = model.item_factors.double(), dense(model).double()
    ridge_U = LAMBDA * ((weight_UI > 0).sum(1) + A0 * num_items) ** NU
    eye_KK = torch.eye(dim, dtype=torch.float64)
    A_UKK = (V_IK.T * weight_UI[:, None]) @ V_IK + A0 * V_IK.T @ V_IK + ridge_U[:, None, None] * eye_KK
    expected_UK = torch.linalg.solve(A_UKK, weight_UI @ V_IK)
    model.solve(next(iter(model.steps(0))))
    torch.testing.assert_close(model.user_factors.double(), expected_UK, rtol=1e-4, atol=1e-5)
    assert (model.user_factors[0] == 0).all(), "who did nothing has no opinion"


def test_many_conjugate_gradient_steps_are_exact() -> None:
    exact, few, many = (fresh(30, 60, 40, s) for s in (Cholesky(), ConjugateGradient(1), ConjugateGradient(40)))
    for model in (exact, few, many):
        epoch(model)
    torch.testing.assert_close(many.item_factors, exact.item_factors, rtol=1e-3, atol=1e-5)
    assert (few.item_factors - exact.item_factors).abs().max() > 1e-3


@pytest.mark.parametrize("solver", [Cholesky(), ConjugateGradient(3)])
def test_padded_batches_do_what_the_compiled_loops_do(solver: Solver, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = fresh(30, 60, 40, solver), fresh(30, 60, 40, solver)
    epoch(one)
    monkeypatch.setattr("recexp.model.wals_solvers._is_cpu", lambda _: False)
    monkeypatch.setattr("recexp.model.wals_solvers.BATCH", 40 * 60 * 4)
    epoch(other)
    torch.testing.assert_close(one.user_factors, other.user_factors, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.item_factors, other.item_factors, rtol=1e-4, atol=1e-5)
    elsewhere = other.objective()
    monkeypatch.undo()
    assert other.objective() == pytest.approx(elsewhere, rel=1e-5)


def test_the_size_of_blocks_and_the_number_of_threads_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = fresh(30, 60, 40), fresh(30, 60, 40)
    epoch(one)
    monkeypatch.setattr(wals, "BLOCK", 7)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert len(list(other.steps(0))) == 5 + 9
    epoch(other)
    torch.testing.assert_close(one.user_factors, other.user_factors, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(one.item_factors, other.item_factors, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("solver", [Cholesky(), ConjugateGradient(3)])
def test_continues_from_saved_factors_as_if_never_stopped(solver: Solver) -> None:
    whole, stopped, resumed = (fresh(30, 60, 5, solver) for _ in range(3))
    epoch(whole, 0)
    epoch(whole, 1)
    epoch(stopped, 0)
    resumed.load_state_dict(stopped.state_dict())
    epoch(resumed, 1)
    assert torch.equal(whole.user_factors, resumed.user_factors)
    assert torch.equal(whole.item_factors, resumed.item_factors)


def test_a_user_folded_in_from_their_history_gets_the_factors_of_training() -> None:
    model, given = fresh(30, 60, 5), interactions(30, 60)
    epoch(model)
    model.partial_fit(given, users=range(30), items=[])
    start, stop = (torch.from_numpy(o) for o in (given.offsets(30)[:-1], given.offsets(30)[1:]))
    nobody = Query(torch.full((30,), PAD), Log.of(given), start, stop)
    torch.testing.assert_close(model.encode_query(nobody), model.user_factors, rtol=1e-4, atol=1e-5)
    some = Query(torch.tensor([3, PAD, PAD]), nobody.log, start[[5, 20, 0]], stop[[5, 20, 0]])
    expected_BK = model.user_factors[[3, 20, 0]]
    torch.testing.assert_close(model.encode_query(some), expected_BK, rtol=1e-4, atol=1e-5)


def test_partial_fit_solves_the_rows_named_and_no_other() -> None:
    model, given = fresh(30, 60, 5), interactions(30, 60)
    epoch(model)
    before_UK, before_IK = model.user_factors.clone(), model.item_factors.clone()
    model.partial_fit(given, users=[4, 29], items=[7])
    changed_U = (model.user_factors != before_UK).any(1)
    changed_I = (model.item_factors != before_IK).any(1)
    assert changed_U.nonzero().flatten().tolist() == [4, 29]
    assert changed_I.nonzero().flatten().tolist() == [7]
    assert gradients(model)[ITEMS][7].abs().max() < 1e-3


def test_new_users_and_items_are_appended_and_solved() -> None:
    whole = interactions(30, 60)
    model = fresh(20, 50, 5)
    known = whole[(whole.user < 20) & (whole.item < 50)]
    model.prepare(known)
    epoch(model)
    old_UK, old_IK = model.user_factors.clone(), model.item_factors.clone()
    model.grow(30, 60)
    assert (model.user_factors[20:] == 0).all()
    model.partial_fit(whole, users=range(20, 30), items=range(50, 60))
    assert torch.equal(model.user_factors[:20], old_UK)
    assert torch.equal(model.item_factors[:50], old_IK)
    assert model.score(Query.from_histories([[], []], users=[29, 3])).shape == (2, 60)
    assert model.user_factors[20:].any(1).all()
    assert gradients(model)[ITEMS][50:].abs().max() < 1e-3


def test_the_objective_is_logged_after_each_epoch(checkerboard: Path) -> None:
    done = recexp.run(
        "data=table", f"data.path={checkerboard}", "data.user=user", "data.item=item", "data.time=time",
        "model=wals", "model.embedding_dim=8", "model.num_epochs=4", "eval.k=[1]",
        "trainer=cpu", "trainer.enable_progress_bar=false", "logger=csv",
    )  # fmt: skip
    (log,) = done.path.rglob("metrics.csv")
    values = pl.read_csv(log)["train/objective"].drop_nulls().to_list()
    assert len(values) == 4
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("solver", ["cholesky", "conjugate_gradient"])
def test_finds_the_one_answer_of_the_checkerboard(
    solver: str, run: Callable[..., Run], on_checkerboard: list[str]
) -> None:
    done = run(*on_checkerboard, "model=wals", f"model/solver={solver}", "model.embedding_dim=8", "eval.k=[1]")
    assert done.metrics["test/hr@1"] == 1.0


def test_refuses_what_has_no_answer() -> None:
    with pytest.raises(RecexpError, match="without a unique answer"):
        WALS(4, 0.0, 0.0, 1.0, 1, 0.1, Cholesky(), 3, 3)
    model, given = fresh(30, 60, 5), interactions(30, 60)
    given.weight[3] = -1
    with pytest.raises(RecexpError, match="weighs -1"):
        model.prepare(given)


def test_weights_too_large_for_32_bits_are_named() -> None:
    model, given = fresh(30, 60, 40), interactions(30, 60)
    given.weight[:] *= 1e30
    model.prepare(given)
    with pytest.raises(RecexpError, match=r"weights up to .* are too much for 32 bits"):
        epoch(model)


def test_events_that_weigh_nothing_regularize_nobody() -> None:
    one, other, given = fresh(30, 60, 5), fresh(30, 60, 5), interactions(30, 60)
    given.weight[::3] = 0
    one.prepare(given)
    other.prepare(given[given.weight > 0])
    assert one.objective() == pytest.approx(other.objective(), rel=1e-6)
    for model in (one, other):
        epoch(model)
    torch.testing.assert_close(one.user_factors, other.user_factors)
    torch.testing.assert_close(one.item_factors, other.item_factors)


def test_batches_of_strangers_share_a_sweep_until_the_items_change(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Tensor] = []
    sweep = wals.Sweep
    monkeypatch.setattr(wals, "Sweep", lambda items, weight: made.append(items) or sweep(items, weight))
    model, query = fresh(30, 60, 5), Query.from_histories([[1, 2, 3], [4]])
    before_BK = model.encode_query(query)
    assert torch.equal(model.encode_query(query), before_BK)
    assert len(made) == 1
    model.load_state_dict({**model.state_dict(), "item_factors": 2 * model.item_factors})
    after_BK = model.encode_query(query)
    assert len(made) == 2
    other = fresh(30, 60, 5)
    other.item_factors *= 2
    torch.testing.assert_close(after_BK, other.encode_query(query))
    model.grow(30, 61)
    model.encode_query(query)
    assert len(made) == 4


def test_a_new_user_of_a_new_item_is_known_by_who_else_met_it() -> None:
    known = interactions(30, 60)
    model = fresh(30, 60, 5)
    model.prepare(known)
    epoch(model)
    model.grow(31, 61)
    user, item = np.append(known.user, [3, 30]).astype(np.int32), np.append(known.item, [60, 60]).astype(np.int32)
    ones = np.ones(len(user), np.float32)
    model.partial_fit(Interactions(user, item, np.arange(len(user)), ones, ones), users=[3, 30], items=[60])
    assert model.user_factors[30].any()
    stranger, friend = (model.score(Query.from_histories([[]], users=[user])) for user in (30, 3))
    assert torch.corrcoef(torch.cat([stranger, friend]))[0, 1] > 0.5
