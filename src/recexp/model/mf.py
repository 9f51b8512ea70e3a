"""Matrix factorization with biases."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recexp.model.base import Factored, lookup
from recexp.types import Query


class MF(Factored):
    """MF: inner product of user and item factors, with biases.

        R(u, i) = b_u + b_i + <p_u, q_i>

    Koren, Bell, Volinsky, "Matrix Factorization Techniques for Recommender Systems", IEEE Computer 2009, eq. 4.
    Differs from the paper: the global mean is part of b_u; regularization is the optimizer's weight decay.
    A user unknown to training has p_u = b_u = 0, so items rank by b_i.

    Args:
        embedding_dim: k, size of p_u and q_i [count].
        init_std: standard deviation of the initial factors; biases start at 0.
    Shape:
        query.users [B], items [C] or [B, C] -> scores [B, C].
    """

    def __init__(self, embedding_dim: int, init_std: float, num_users: int, num_items: int) -> None:
        super().__init__()
        self.num_items = num_items
        self.user_factors = nn.Parameter(torch.randn(num_users, embedding_dim) * init_std)
        self.item_factors = nn.Parameter(torch.randn(num_items, embedding_dim) * init_std)
        self.user_bias = nn.Parameter(torch.zeros(num_users, 1))
        self.item_bias = nn.Parameter(torch.zeros(num_items, 1))

    def encode_query(self, query: Query) -> Tensor:
        """(p_u, b_u, 1), [B, k + 2]."""
        b_u = lookup(self.user_bias, query.users)
        return torch.cat([lookup(self.user_factors, query.users), b_u, torch.ones_like(b_u)], dim=-1)

    def encode_items(self, items: Tensor) -> Tensor:
        """(q_i, 1, b_i), [..., k + 2]."""
        b_i = lookup(self.item_bias, items)
        return torch.cat([lookup(self.item_factors, items), torch.ones_like(b_i), b_i], dim=-1)
