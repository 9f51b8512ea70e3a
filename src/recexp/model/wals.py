"""Weighted alternating least squares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from recexp.errors import RecexpError
from recexp.model.base import Factored, lookup
from recexp.model.wals_solvers import Cholesky, Events, Solver, Sweep, squared_error
from recexp.types import Interactions, Query

USERS, ITEMS = 0, 1
BLOCK = 1 << 15
"""Rows solved between two ticks of the progress bar."""

EXACT = Cholesky()
"""What starts at zero is not left after a few steps."""


class WALS(Factored):
    """WALS: factors of users and items by weighted alternating least squares, unobserved pairs included.

        sum_S w (1 - <p_u, q_i>)^2 + a0 sum_{U x I} <p_u, q_i>^2
            + lambda (sum_u (n_u + a0 I)^nu |p_u|^2 + sum_i (n_i + a0 U)^nu |q_i|^2)

    Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008; with the
    regularization and the settings of Rendle, Krichene, Zhang, Koren, "Revisiting the Performance of iALS on Item
    Recommendation Benchmarks", RecSys 2022.
    Differs from the paper: events count by their weight w, several of a pair by the sum; users unknown to training
    are solved against the item factors from their history.

    Args:
        embedding_dim: k, size of p_u and q_i [count].
        unobserved_weight: a0. regularization: lambda. nu: how much more frequent rows are regularized.
        num_epochs: sweeps over users, then items [count].
        init_std: of p_u and q_i before the first sweep, times sqrt(k).
        solver: exact, or a few steps of conjugate gradients.
    Shape:
        query of B, items [C] or [B, C] -> scores [B, C].
    Raises:
        RecexpError: nothing regularizes; a weight is negative.
    """

    anytime = True
    user_factors: Tensor
    item_factors: Tensor

    def __init__(
        self,
        embedding_dim: int,
        unobserved_weight: float,
        regularization: float,
        nu: float,
        num_epochs: int,
        init_std: float,
        solver: Solver,
        num_users: int,
        num_items: int,
    ) -> None:
        super().__init__()
        if regularization <= 0 >= unobserved_weight:
            raise RecexpError(
                f"model.unobserved_weight={unobserved_weight} and model.regularization={regularization} leave WALS "
                "without a unique answer; one of them must be above 0. Type model.regularization=0.01."
            )
        self.unobserved_weight, self.regularization, self.nu = unobserved_weight, regularization, nu
        self.num_epochs, self.num_items, self.solver = num_epochs, num_items, solver
        std = init_std / embedding_dim**0.5
        self._kept: tuple[Tensor, Sweep] | None = None
        self.register_buffer("user_factors", torch.randn(num_users, embedding_dim) * std)
        self.register_buffer("item_factors", torch.randn(num_items, embedding_dim) * std)

    @property
    def _factors(self) -> tuple[Tensor, Tensor]:
        return self.user_factors, self.item_factors

    def prepare(self, interactions: Interactions) -> None:
        if (interactions.weight < 0).any():
            raise RecexpError(f"an event weighs {interactions.weight.min()}; WALS needs weights of at least 0.")
        shape = (len(self.user_factors), len(self.item_factors))
        events = self._events_of(interactions.user, interactions.item, interactions.weight, shape)
        self._events = events, events.turned()

    def _events_of(self, row: np.ndarray, column: np.ndarray, weight: np.ndarray, shape: tuple[int, int]) -> Events:
        numbers = str(self.item_factors.dtype).removeprefix("torch.")
        return Events.of(row, column, weight, shape, numbers)

    def steps(self, epoch: int) -> Iterable[Tensor]:
        for side, factors in enumerate(self._factors):
            for start in range(0, len(factors), BLOCK):
                yield torch.tensor([side, start, min(start + BLOCK, len(factors))])

    def solve(self, block: Tensor) -> None:
        side, start, stop = block.tolist()
        if start == 0:
            self._sweep = self._sweep_of(side)
        self._solve_rows(side, np.arange(start, stop), self._sweep, self.solver)

    def _sweep_of(self, side: int) -> Sweep:
        return Sweep(self._factors[1 - side], self.unobserved_weight)

    def _solve_rows(self, side: int, rows: np.ndarray, sweep: Sweep, solver: Solver) -> None:
        factors, events = self._factors[side], self._events[side]
        here = torch.from_numpy(rows).to(factors.device)
        ridge_R = self._ridge(side, events.count[rows]).to(factors)
        solved_RK = sweep.solve(solver, events, rows, ridge_R, factors[here])
        if not solved_RK.isfinite().all():
            raise RecexpError(
                f"WALS found factors that are no numbers: weights up to {events.matrix.data.max():.0f} are too much "
                "for 32 bits. Scale the column of data.weight down, or raise model.regularization."
            )
        factors[here] = solved_RK

    def _ridge(self, side: int, count_R: np.ndarray) -> Tensor:
        """lambda (n + a0 n_other)^nu."""
        others = len(self._factors[1 - side])
        return self.regularization * torch.from_numpy(count_R + self.unobserved_weight * others) ** self.nu

    @torch.no_grad()
    def objective(self) -> float:
        """What the sweeps minimize, on the interactions taken in."""
        grams = [factors.T @ factors for factors in self._factors]
        total = self.unobserved_weight * float((grams[USERS].double() * grams[ITEMS]).sum())
        for side, factors in enumerate(self._factors):
            ridge = self._ridge(side, self._events[side].count).to(factors.device)
            total += float(ridge @ factors.square().sum(1).to(ridge))
        return total + squared_error(self._events[USERS], *self._factors)

    def grow(self, num_users: int, num_items: int) -> None:
        """Append rows for new users and items; they are zero until solved."""
        self.num_items = num_items
        self.user_factors, self.item_factors = (
            torch.cat([factors, factors.new_zeros(total - len(factors), factors.shape[1])])
            for factors, total in zip(self._factors, (num_users, num_items), strict=True)
        )

    @torch.no_grad()
    def partial_fit(self, interactions: Interactions, users: Sequence[int], items: Sequence[int]) -> None:
        """Solve the rows of some users with the items held fixed, then those of some items with the users held fixed.

        A user of whom these items alone are known is solved again, now that the items are known too.

        Args:
            interactions: all that is known of these users and items, the old and the new.
        """
        self.prepare(interactions)
        self._fit_rows(USERS, np.asarray(users, np.int64))
        self._fit_rows(ITEMS, np.asarray(items, np.int64))
        self._fit_rows(USERS, self._blank(np.asarray(users, np.int64)))

    def _blank(self, users: np.ndarray) -> np.ndarray:
        return users[~self.user_factors[torch.from_numpy(users)].any(1).cpu().numpy()]

    def _fit_rows(self, side: int, rows: np.ndarray) -> None:
        if len(rows):
            self._solve_rows(side, rows, self._sweep_of(side), EXACT)

    def encode_query(self, query: Query) -> Tensor:
        """p_u; of a user unknown to training, solved from their history, [B, k]."""
        factors_BK = lookup(self.user_factors, query.users)
        new = ((query.users < 0) & (query.stop > query.start)).nonzero()[:, 0]
        if len(new):
            factors_BK[new] = self._fold_in(Query(query.users[new], query.log, query.start[new], query.stop[new]))
        return factors_BK

    def _fold_in(self, query: Query) -> Tensor:
        row, place = (query.history >= 0).nonzero(as_tuple=True)
        item, weight = (a[row, place].cpu().numpy() for a in (query.history, query.history_weight))
        events = self._events_of(row.cpu().numpy(), item, weight, (len(query), self.num_items))
        ridge_B = self._ridge(USERS, events.count).to(self.item_factors)
        start_BK = self.item_factors.new_zeros(len(query), self.item_factors.shape[1])
        return self._sweep_of_strangers().solve(EXACT, events, np.arange(len(query)), ridge_B, start_BK)

    def _sweep_of_strangers(self) -> Sweep:
        """Of users, kept from one batch to the next while the items are the same."""
        if self._kept is None or not _same(self._kept[0], self.item_factors):
            self._kept = self.item_factors.clone(), self._sweep_of(USERS)
        return self._kept[1]

    def encode_items(self, items: Tensor) -> Tensor:
        """q_i, [..., k]."""
        return lookup(self.item_factors, items)


def _same(one: Tensor, other: Tensor) -> bool:
    """By their numbers, which many hands may change in place: to look is a small part of what the sweep costs."""
    return (one.device, one.dtype, one.shape) == (other.device, other.dtype, other.shape) and torch.equal(one, other)
