"""DSSM: two networks over bags of words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recexp.errors import RecexpError
from recexp.model.base import Factored, Tower
from recexp.model.features import Circumstances, Ids, Inputs, Tokens, Values, column, of
from recexp.model.history import SHARED, History, Mean
from recexp.model.towers import ItemTower, QueryTower
from recexp.types import Columns, Features, Query


class DSSM(Factored):
    """DSSM: query and document as bags of tokens, each through its own network, met by the cosine.

        l_1 = tanh(W_1 x + b_1),   l_i = tanh(W_i l_{i-1} + b_i),   y = l_last,   R(Q, D) = cos(y_Q, y_D)

    P(D | Q) = softmax(gamma R) over the positive and sampled D- is the loss (scaled_softmax) with its negatives.

    Huang et al., "Learning Deep Structured Semantic Models for Web Search using Clickthrough Data", CIKM 2013, eq. 3-5.
    Differs from the paper: the document is all that is known of an item, its id included unless
    `features.items` leaves it out; the query is all that is known of the user and the mean of the bags of what they
    did; W_1 x is a sum of embeddings, so that no vector is as long as the vocabulary.

    Args:
        embedding_dim: size of y [count].
        hidden_dims: sizes of l_1 and the layers behind it; the first is as wide as W_1's embeddings [count].
        max_length: places of a history read, the one asked for included [count].
        init_std: standard deviation of W_1.
        features: what is known of users and items.
    Shape:
        query of B with history, Q places asked for, items [C] or [Q, C] -> scores [Q, C].
    Raises:
        RecexpError: nothing is known of items, or there is no hidden layer.
    """

    answers_many = True

    def __init__(
        self, embedding_dim: int, hidden_dims: Sequence[int], max_length: int, init_std: float, features: Features
    ) -> None:
        super().__init__()
        if not hidden_dims:
            raise RecexpError("model.hidden_dims=[]: the bags need a layer to meet in. Type 'model.hidden_dims=[300]'.")
        if not features.items:
            raise RecexpError(
                "model.features.items=[] leaves the documents nothing to hold. Type 'model.features.items=[id]'."
            )
        width = hidden_dims[0]
        self.num_items = features.num_items
        self.history: History = Mean(width, max_length, SHARED)
        self.user = Bag(features.users, width, init_std)
        self.circumstances = Sum(Circumstances(features.context, width, init_std), width)
        self.event = Bag(features.items, width, init_std)
        self.document = Bag(features.items, width, init_std)
        self.query_layers, self.document_layers = (layers([*hidden_dims, embedding_dim]) for _ in range(2))

    def encode_query(self, query: Query) -> Tensor:
        x_BW, h_QW = self.user(query.profiles), self.history(query, self.events)
        x_QW = x_BW if query.asked is None else x_BW[query.asked.nonzero()[:, 0]]
        return self.query_of(self.with_circumstances(x_QW, query.context), h_QW)

    def with_circumstances(self, x_QW: Tensor, context: Tensor | None) -> Tensor:
        """W_1 x with the circumstances in the bag, [Q, W]."""
        return x_QW + self.circumstances(context, x_QW)

    def query_of(self, x_QW: Tensor, h_QW: Tensor) -> Tensor:
        """y_Q / |y_Q|, [Q, D]."""
        return F.normalize(self.query_layers(x_QW + h_QW), dim=-1)

    def encode_items(self, items: Tensor) -> Tensor:
        if items.dim() < 2:
            return self.item_of(self.document(items))
        distinct, place = items.unique(return_inverse=True)
        return self.encode_items(distinct)[place]

    def item_of(self, x_CW: Tensor) -> Tensor:
        """y_D / |y_D|, [C, D]."""
        return F.normalize(self.document_layers(x_CW), dim=-1)

    def events(self, items_BL: Tensor) -> Tensor:
        """W_1 x of the items of a history, zero where it is empty, [B, L, W]."""
        bags_BLW: Tensor = self.event(items_BL)
        return bags_BLW

    def towers(self) -> tuple[Tower, Tower]:
        return QueryTower(self, self.user), ItemTower(self, self.document)


class Bag(nn.Module):
    """W_1 x without the bias: the sum over the columns of weighted sums of embeddings; numbers by a linear map.

    Shape:
        ids [...] -> [..., width]; PAD gives zeros.
    """

    def __init__(self, columns: Columns, width: int, init_std: float) -> None:
        super().__init__()
        self.width = width
        self.names = [*columns]
        self.columns = nn.ModuleDict(
            {f"column_{i}": column(name, one, width, init_std) for i, (name, one) in enumerate(columns.items())}
        )
        self.maps = nn.ModuleList(_map(one, width) for one in of(self.columns.values()))

    def forward(self, ids: Tensor) -> Tensor:
        if ids.dim() > 1:
            distinct, place = ids.unique(return_inverse=True)
            of_distinct: Tensor = self(distinct)
            return F.embedding(place, of_distinct)
        total_RW = torch.zeros(ids.shape[0], self.width, device=ids.device)  # len() would fix it in an export
        for one, onto in zip(self.columns.values(), self.maps, strict=True):
            total_RW = total_RW + onto(one(ids))
        return total_RW

    def given(self, inputs: Inputs) -> Tensor:
        """The same for rows that are no rows of the tables, [R, width]."""
        pieces = iter(inputs)
        pairs = zip(of(self.columns.values()), self.maps, strict=True)
        parts = [onto(one.given(*islice(pieces, one.num_inputs))) for one, onto in pairs]
        return torch.stack(parts).sum(0)


class Sum(nn.Module):
    """The circumstances' embeddings added up, [Q, width]."""

    def __init__(self, circumstances: Circumstances, width: int) -> None:
        super().__init__()
        self.circumstances, self.width = circumstances, width
        self.names = circumstances.names

    def forward(self, context: Tensor | None, x_QW: Tensor) -> Tensor:
        embedded_QE: Tensor = self.circumstances(context, x_QW)
        return embedded_QE.unflatten(-1, (len(self.names), self.width)).sum(1) if self.names else torch.zeros_like(x_QW)


def _map(one: Ids | Tokens | Values, width: int) -> nn.Module:
    return nn.Linear(one.dim, width, bias=False) if isinstance(one, Values) else nn.Identity()


def layers(sizes: Sequence[int]) -> nn.Sequential:
    """The bias and tanh of the first layer, then linear layers with tanh."""
    first: list[nn.Module] = [Bias(sizes[0]), nn.Tanh()]
    return nn.Sequential(*first, *(layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.Tanh())))


class Bias(nn.Module):
    """x + b."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b
