"""Two-tower network over ids, features and history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recexp.errors import RecexpError, nearest
from recexp.model.base import Factored, Tower
from recexp.model.features import Circumstances, Ids, Known
from recexp.model.history import OWN, SHARED, History
from recexp.model.towers import ItemTower, QueryTower
from recexp.types import Bags, Features, Query

SIMILARITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "dot": lambda encoding: encoding,
    "cosine": lambda encoding: F.normalize(encoding, dim=-1),
}


class TwoTower(Factored):
    """Two-tower: one network for the user and what they did, one for the item, met by an inner product.

        R(u, i) = <f(x_u, c, h_u), g(x_i)>     x: everything known of the side, c: the circumstances, h_u: the history

    Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019, section 4.
    Differs from the paper: `history` may be a network of its own; the scale of the scores belongs to the loss.
    A user (an item) that training never saw has a zero id embedding, in a history too, and is known by history and
    features.

    Args:
        embedding_dim: size of each embedding, of the history and of both towers' output [count].
        hidden_dims: sizes of the hidden layers of each tower; [] for a single linear layer.
        dropout: share of the input of each tower set to zero in training [0..1).
        id_dropout: share of ids hidden from the towers in training: for cold start [0..1).
        similarity: `dot`, or `cosine`: encodings of length 1.
        init_std: standard deviation of the initial embeddings.
        history: its encoder.
        features: what is known of users and items.
    Shape:
        query of B with history, Q places asked for, items [C] or [Q, C] -> scores [Q, C].
    Raises:
        RecexpError: similarity is neither, nothing is known of items, or histories shall share ids that no item has.
    """

    answers_many = True

    def __init__(
        self,
        embedding_dim: int,
        hidden_dims: Sequence[int],
        dropout: float,
        id_dropout: float,
        similarity: str,
        init_std: float,
        history: History,
        features: Features,
    ) -> None:
        super().__init__()
        self.similarity = _similarity(similarity)
        self.num_items = features.num_items
        self.history = history
        self.user = Known(features.users, embedding_dim, init_std, id_dropout)
        self.item = Known(features.items, embedding_dim, init_std, id_dropout)
        _refuse_nothing(self.item)
        _refuse_unshared(history, features)
        if history.embedding == OWN:
            of_all = Features.ids(0, features.num_items).items  # in runs saved before the events had a mask
            known = {**of_all, **features.events, **features.items}["id"]
            assert isinstance(known, Bags)
            self.event = Ids(known, embedding_dim, init_std)
        self.circumstances = Circumstances(features.context, embedding_dim, init_std)
        self.user_tower = tower(
            self.user.dim + self.circumstances.dim + embedding_dim, hidden_dims, embedding_dim, dropout
        )
        self.item_tower = tower(self.item.dim, hidden_dims, embedding_dim, dropout)

    def encode_query(self, query: Query) -> Tensor:
        x_BU, h_QD = self.user(query.profiles), self.history(query, self.events)
        x_QU = x_BU if query.asked is None else x_BU[query.asked.nonzero()[:, 0]]
        return self.query_of(self.with_circumstances(x_QU, query.context), h_QD)

    def with_circumstances(self, x_QU: Tensor, context: Tensor | None) -> Tensor:
        """(x, c), [Q, U + F D]."""
        return torch.cat([x_QU, self.circumstances(context, x_QU)], dim=-1)

    def query_of(self, x_QU: Tensor, h_QD: Tensor) -> Tensor:
        """f(x, h), [Q, D]."""
        return self.similarity(self.user_tower(torch.cat([x_QU, h_QD], dim=-1)))

    def encode_items(self, items: Tensor) -> Tensor:
        if items.dim() < 2:
            return self.item_of(self.item(items))
        distinct, place = items.unique(return_inverse=True)
        return self.encode_items(distinct)[place]

    def item_of(self, x_CX: Tensor) -> Tensor:
        """g(x), [C, D]."""
        return self.similarity(self.item_tower(x_CX))

    def towers(self) -> tuple[Tower, Tower]:
        return QueryTower(self, self.user), ItemTower(self, self.item)

    def events(self, items_BL: Tensor) -> Tensor:
        """q_j of the items of a history, zero where it is empty, [B, L, D]."""
        ids = self.event if self.history.embedding == OWN else self.item.columns["id"]
        vectors_BLD: Tensor = ids(items_BL)
        return vectors_BLD


def tower(input_dim: int, hidden_dims: Sequence[int], output_dim: int, dropout: float) -> nn.Sequential:
    """Dropout, then linear layers with ReLU between them."""
    sizes = [input_dim, *hidden_dims, output_dim]
    layers: list[nn.Module] = [nn.Dropout(dropout)]
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _similarity(name: str) -> Callable[[Tensor], Tensor]:
    if name not in SIMILARITIES:
        allowed = nearest(name, SIMILARITIES)
        raise RecexpError(
            f"model.similarity={name} is unknown; allowed: {', '.join(allowed)}. Type model.similarity={allowed[0]}"
        )
    return SIMILARITIES[name]


def _refuse_nothing(item: Known) -> None:
    if not item.dim:
        raise RecexpError(
            "model.features.items=[] leaves the item tower nothing to see. Type model.features.items=[id]."
        )


def _refuse_unshared(history: History, features: Features) -> None:
    if history.embedding == SHARED and "id" not in features.items:
        names = ",".join(features.items)
        raise RecexpError(
            f"model.history.embedding=shared takes the embeddings of the item tower's ids, and model.features.items="
            f"[{names}] has no id. Type model.history.embedding=own, or 'model.features.items=[id,{names}]'."
        )
