"""Two-tower network over ids and history."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recexp.model.base import Factored, lookup
from recexp.types import Query


class TwoTower(Factored):
    """Two-tower: one network for the user and what they did, one for the item, met by an inner product.

        R(u, i) = <f(p_u, h_u), g(q_i)>        h_u = sum_j a_uj q_j / sum_j a_uj   over the last `max_length` events

    Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019, section 4.
    Differs from the paper: ids and history only; both towers share the item embeddings.
    A user unknown to training has p_u = 0 and is served from history; event weights a_uj come with the data.

    Args:
        embedding_dim: size of p_u, q_i and of both towers' output [count].
        hidden_dims: sizes of the hidden layers of each tower; [] for a single linear layer.
        dropout: share of the input of each tower set to zero in training [0..1).
        max_length: events of history seen [count].
        init_std: standard deviation of the initial embeddings.
    Shape:
        query of B with history, items [C] or [B, C] -> scores [B, C].
    """

    def __init__(
        self,
        embedding_dim: int,
        hidden_dims: Sequence[int],
        dropout: float,
        max_length: int,
        init_std: float,
        num_users: int,
        num_items: int,
    ) -> None:
        super().__init__()
        self.num_items = num_items
        self.max_length = max_length
        self.user_embedding = nn.Parameter(torch.randn(num_users, embedding_dim) * init_std)
        self.item_embedding = nn.Parameter(torch.randn(num_items, embedding_dim) * init_std)
        self.user_tower = tower(2 * embedding_dim, hidden_dims, embedding_dim, dropout)
        self.item_tower = tower(embedding_dim, hidden_dims, embedding_dim, dropout)

    def encode_query(self, query: Query) -> Tensor:
        p_BD = lookup(self.user_embedding, query.users)
        encoding_BD: Tensor = self.user_tower(torch.cat([p_BD, self.mean_of_history(query)], dim=-1))
        return encoding_BD

    def encode_items(self, items: Tensor) -> Tensor:
        encoding: Tensor = self.item_tower(lookup(self.item_embedding, items))
        return encoding

    def mean_of_history(self, query: Query) -> Tensor:
        """h_u, zero for an empty history, [B, D]."""
        recent = query.last(self.max_length)
        if not recent.history.shape[1]:
            return self.item_embedding.new_zeros(len(query), self.item_embedding.shape[1])
        a_BL = recent.history_weight
        a_BL = a_BL / a_BL.sum(1, keepdim=True).clamp(min=1e-12)
        return F.embedding_bag(recent.history.clamp(min=0), self.item_embedding, mode="sum", per_sample_weights=a_BL)


def tower(input_dim: int, hidden_dims: Sequence[int], output_dim: int, dropout: float) -> nn.Sequential:
    """Dropout, then linear layers with ReLU between them."""
    sizes = [input_dim, *hidden_dims, output_dim]
    layers: list[nn.Module] = [nn.Dropout(dropout)]
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
