"""What a user did, as one vector: for the two-tower network's `model.history`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recexp.errors import RecexpError, nearest
from recexp.model.dropout import Dropout
from recexp.model.sequences import BUCKETS, Asked, buckets
from recexp.model.transformer import Transformer
from recexp.types import PAD, Query

SHARED, OWN = EMBEDDINGS = ("shared", "own")
Embed = Callable[[Tensor], Tensor]


class History(nn.Module):
    """A history encoder: one pass over a history answers every place that is asked for, from the events before it.

    Args:
        embedding_dim: D, size of an event's vector and of the answer [count].
        max_length: places of a history read, the one asked for included [count].
        embedding: `shared`, the events' items have the embeddings of the item tower's ids; or their `own`.
    Shape:
        query of B histories, Q places asked for, embed [...] -> [..., D] -> answers [Q, D].
    Raises:
        RecexpError: embedding is neither.

    Attributes:
        num_buckets: into how many lengths a batch is told apart at most [count].
        heeds_weights: whether `states` needs to know how much each event counts.
    """

    num_buckets = BUCKETS
    heeds_weights = False

    def __init__(self, embedding_dim: int, max_length: int, embedding: str) -> None:
        super().__init__()
        if embedding not in EMBEDDINGS:
            allowed = nearest(embedding, EMBEDDINGS)
            raise RecexpError(
                f"model.history.embedding={embedding} is unknown; allowed: {', '.join(allowed)}. "
                f"Type model.history.embedding={allowed[0]}"
            )
        self.dim = embedding_dim
        self.max_length = max_length
        self.embedding = embedding

    def forward(self, query: Query, embed: Embed) -> Tensor:
        answers, places = [], []
        for bucket in buckets(Asked.of(query, self.max_length), self.num_buckets):
            states_NLD = self.states(embed(earlier(bucket.item)), bucket.length, None)
            answers.append(states_NLD[bucket.asked])
            places.append(bucket.answer)
        answers_QD: Tensor = F.embedding(torch.cat(places).argsort(), torch.cat(answers))
        return answers_QD

    def states(self, vectors_NLD: Tensor, length_N: Tensor, weight_NL: Tensor | None) -> Tensor:
        """What is known at each place, from the vectors at it and before, [N, L, D]; behind `length` is padding.

        Args:
            weight_NL: how much each vector counts, where the history `heeds_weights`; None where it does not.
        """
        raise NotImplementedError


def earlier(items_NL: Tensor) -> Tensor:
    """Each place with the item of the place before it, nothing at the first, [N, L]."""
    return later(items_NL[:, :-1], PAD)


def later(events_NL: Tensor, nothing: int = 0) -> Tensor:
    """All events one place later, behind a first place with nothing, [N, L + 1]."""
    return F.pad(events_NL, (1, 0), value=nothing)


class Mean(History):
    """The weighted mean of the events.

        h_t = sum_{j < t} a_j q_j / sum_{j < t} a_j

    Covington, Adams, Sargin, "Deep Neural Networks for YouTube Recommendations", RecSys 2016, section 3.2.
    Differs from the paper: events weigh a_j, which the data gives.
    """

    heeds_weights = True

    def forward(self, query: Query, embed: Embed) -> Tensor:
        if query.asked is not None:
            asked = Asked.of(query, self.max_length)
            vectors_BLD, weight_BL = embed(earlier(asked.item)), later(query.history_weight[:, :-1])
            return self.states(vectors_BLD, asked.length, weight_BL)[query.asked]
        recent = query.last(self.max_length - 1)
        vectors_BLD, weight_BL = embed(recent.history), recent.history_weight
        share_BL = weight_BL / weight_BL.sum(1, keepdim=True).clamp(min=1e-12)
        return (share_BL[:, None] @ vectors_BLD)[:, 0] if vectors_BLD.shape[1] else vectors_BLD.sum(1)

    def states(self, vectors_NLD: Tensor, length_N: Tensor, weight_NL: Tensor | None) -> Tensor:
        assert weight_NL is not None
        total_NL = weight_NL.cumsum(1).clamp(min=1e-12)
        return (vectors_NLD * weight_NL[..., None]).cumsum(1) / total_NL[..., None]


class GRU(History):
    """A gated recurrent network.

        h_t = GRU(h_{t-1}, q_{t-1})

    Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016, section 3.1.
    Differs from the paper: a part of a user tower; event weights do not count.

    Args:
        num_layers: GRU layers [count].
        dropout: share of the events' vectors' numbers set to zero in training [0..1).
    """

    # steps, one after the other, are what a recurrence waits for: all rows take them together
    num_buckets = 1

    def __init__(self, embedding_dim: int, max_length: int, embedding: str, num_layers: int, dropout: float) -> None:
        super().__init__(embedding_dim, max_length, embedding)
        self.dropout = Dropout(dropout)
        self.gru = nn.GRU(embedding_dim, embedding_dim, num_layers, batch_first=True)

    def states(self, vectors_NLD: Tensor, length_N: Tensor, weight_NL: Tensor | None) -> Tensor:
        states_NLD: Tensor = self.gru(self.dropout(vectors_NLD))[0]
        return states_NLD


class Attention(History):
    """A causal transformer.

        h = Transformer(dropout(q_{t-1} + P)),   each place seeing itself and earlier ones

    Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, section 3.
    Differs from the paper: a part of a user tower; positions count from the newest place; event weights do not count.

    Args:
        init_std: standard deviation of the initial positions.
        layers: the transformer.
    Raises:
        RecexpError: its places see later ones, and with them what they are asked for.
    """

    def __init__(
        self, embedding_dim: int, max_length: int, embedding: str, init_std: float, layers: Transformer
    ) -> None:
        super().__init__(embedding_dim, max_length, embedding)
        if layers.view != "earlier":
            raise RecexpError(
                f"model.history.layers.view={layers.view}: the history would show the items that are asked for. "
                "Drop it."
            )
        self.position = nn.Parameter(torch.randn(max_length, embedding_dim) * init_std)
        self.dropout = Dropout(layers.dropout)
        self.layers = layers

    def states(self, vectors_NLD: Tensor, length_N: Tensor, weight_NL: Tensor | None) -> Tensor:
        place_L = torch.arange(vectors_NLD.shape[1], device=vectors_NLD.device)
        index_NL = (place_L + self.max_length - length_N[:, None]).clamp(0, self.max_length - 1)
        states_NLD: Tensor = self.layers(self.dropout(vectors_NLD + F.embedding(index_NL, self.position)), length_N)
        return states_NLD
