"""EASE: embarrassingly shallow autoencoders."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from recexp.errors import RecexpError
from recexp.memory import refuse_too_much
from recexp.model.base import Recommender
from recexp.model.slim_kernels import Matrix
from recexp.model.sparse import chosen, dense_gram, history_matrix, user_item
from recexp.types import Interactions, Query

KEPT, SOLVED = 4, 24
"""Bytes for each pair of items: of the weights, and besides while they are solved."""


class EASE(Recommender):
    """EASE: the linear model without constraints but a diagonal of zeros, in closed form.

        P = (A'A + lambda I)^-1,   B = I - P diag(1 / P_ii),   R(u, :) = sum_(i in history of u) a_ui B_i:

    Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019, eq. 8.
    Differs from the paper: nothing known.

    Args:
        num_epochs: one is all there is to do [count].
        regularization: lambda, above 0.
    Shape:
        query of B, items [C] or [B, C] -> scores [B, C].
    Raises:
        RecexpError: lambda is 0 or less; the catalogue is too large for the memory that there is.
    """

    anytime = False
    weights: Tensor

    def __init__(self, num_epochs: int, regularization: float, num_users: int, num_items: int) -> None:
        super().__init__()
        if regularization <= 0:
            raise RecexpError(f"model.regularization={regularization}; allowed are numbers above 0.")
        self.num_epochs, self.regularization, self.num_users = num_epochs, regularization, num_users
        refuse_pairs(num_items, KEPT)
        self.register_buffer("weights", torch.zeros(num_items, num_items))

    def prepare(self, interactions: Interactions) -> None:
        refuse_pairs(len(self.weights), SOLVED)
        self._matrix = user_item(interactions, self.num_users, len(self.weights))

    def steps(self, epoch: int) -> Iterable[Tensor]:
        return [torch.arange(len(self.weights))]

    def solve(self, block: Tensor) -> None:
        gram_II = torch.from_numpy(dense_gram(Matrix.of(self._matrix), block.cpu().numpy())).double()
        gram_II.diagonal().add_(self.regularization)
        P_II = torch.cholesky_inverse(torch.linalg.cholesky(gram_II))
        self.weights.copy_(P_II.div_(-P_II.diagonal())).fill_diagonal_(0)

    def score(self, query: Query, items: Tensor | None = None) -> Tensor:
        start, item, weight = history_matrix(query)
        row = torch.arange(len(query), device=item.device).repeat_interleave(start.diff())
        histories_BI = self.weights.new_zeros(len(query), len(self.weights))
        histories_BI.index_put_((row, item), weight, accumulate=True)
        return chosen(histories_BI @ self.weights, items)


def refuse_pairs(num_items: int, size: int) -> None:
    """Raises: RecexpError where there is no memory for so many bytes for each pair of items."""
    refuse_too_much(
        size * num_items**2,
        f"model=ease on {num_items:,} items",
        "Type model=slim, whose memory does not grow with the square of the catalogue, or drop rare items: "
        "data.filters.min_item=N.",
    )
