"""SLIM: sparse linear methods."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import torch
from torch import Tensor

from recexp.errors import RecexpError
from recexp.model.base import Recommender
from recexp.model.columns import Solver
from recexp.model.sparse import Weights, chosen, user_item
from recexp.types import Interactions, Query

log = logging.getLogger(__name__)

BLOCK = 512
"""Columns solved in one step, at most."""


class SLIM(Recommender):
    """SLIM: what a user took speaks for other items, by a sparse matrix learned column by column.

        min_W 1/2 |A - A W|^2 + lambda |W|_1 + beta/2 |W|^2,   W >= 0,   diag W = 0
        R(u, :) = sum_(i in history of u) a_ui W_i:

    Ning & Karypis, "SLIM: Sparse Linear Methods for Top-N Recommender Systems", ICDM 2011, eq. 3.
    Differs from the paper: duplicates of an event add up in A; weights outside a column's `top_k` may be dropped after
    the fit, as Ferrari Dacrema et al., TOIS 2021, do. Until all columns are solved, scores are 0, so that no
    validation prefers an unfinished matrix.

    Args:
        num_epochs: the columns are spread over so many epochs, each of which ends with a checkpoint [count].
        alpha, l1_ratio: of scikit-learn's ElasticNet: lambda = num_users alpha l1_ratio, beta = num_users alpha
            (1 - l1_ratio).
        top_k: weights kept in a column [count]; None: all.
        solver: how far and on how much memory the columns are solved.
    Shape:
        query of B, items [C] or [B, C] -> scores [B, C].
    Raises:
        RecexpError: a setting is out of its range.
    """

    anytime = False

    def __init__(
        self,
        num_epochs: int,
        alpha: float,
        l1_ratio: float,
        top_k: int | None,
        solver: Solver,
        num_users: int,
        num_items: int,
    ) -> None:
        super().__init__()
        _check(num_epochs, alpha, l1_ratio, top_k)
        self.num_epochs = num_epochs
        self.l1, self.l2 = num_users * alpha * l1_ratio, num_users * alpha * (1 - l1_ratio)
        self.top_k = num_items if top_k is None else top_k
        self.solver = solver
        self.num_users, self.num_items = num_users, num_items
        self.weights = Weights(num_items)

    def prepare(self, interactions: Interactions) -> None:
        matrix = user_item(interactions, self.num_users, self.num_items)
        self._columns = self.solver.on(matrix, self.l1, self.l2, self.top_k)

    def steps(self, epoch: int) -> Iterable[Tensor]:
        blocks = -(-self.num_items // (self.num_epochs * BLOCK))  # of each epoch
        first = epoch % self.num_epochs * blocks
        return torch.arange(self.num_items).tensor_split(self.num_epochs * blocks)[first : first + blocks]

    def solve(self, block: Tensor) -> None:
        columns = block.cpu().numpy()
        if not len(columns):  # more blocks than items
            return
        self.weights.replace(int(columns[0]), self._columns.solve(columns, self.weights.columns()))
        if columns[-1] == self.num_items - 1:
            self._warn_of_silence()

    def _warn_of_silence(self) -> None:
        """The penalties grow with the number of users: what suits 6,000 may leave nothing of 200,000."""
        silent = int((self.weights.start.diff() == 0).sum())
        if silent > self.num_items / 2:
            message = "SLIM: %s of %s items have no weight in their column; num_users alpha l1_ratio = %.3g is "
            message += "more than what they share with others. Lower model.l1_ratio or model.alpha."
            log.warning(message, f"{silent:,}", f"{self.num_items:,}", self.l1)

    def score(self, query: Query, items: Tensor | None = None) -> Tensor:
        if self.weights.whole:
            return chosen(self.weights.product(query), items)
        return chosen(torch.zeros(len(query), self.num_items, device=query.users.device), items)


def _check(num_epochs: int, alpha: float, l1_ratio: float, top_k: int | None) -> None:
    refused = {
        f"num_epochs={num_epochs}; allowed are 1, 2, 3, ...": num_epochs < 1,
        f"alpha={alpha}; allowed are numbers above 0": alpha <= 0,
        f"l1_ratio={l1_ratio}; allowed are numbers from 0 (ridge) to 1 (lasso)": not 0 <= l1_ratio <= 1,
        f"top_k={top_k}; allowed are 1, 2, 3, ... and null (keep all)": top_k is not None and top_k < 1,
    }
    for message, is_so in refused.items():
        if is_so:
            raise RecexpError(f"model.{message}.")
