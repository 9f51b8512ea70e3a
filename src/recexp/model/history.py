"""What a user did, as one vector: for the two-tower network's `model.history`.

Each of them gives the state after every event, so that one pass over a sequence learns from all its prefixes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recexp.errors import RecexpError, nearest

SHARED, OWN = EMBEDDINGS = ("shared", "own")


class History(nn.Module):
    """A history encoder.

    Args:
        embedding_dim: size of an event's vector and of the state [count].
        max_length: events of history seen [count].
        embedding: `shared`, the events' items have the embeddings of the item tower's ids; or their `own`.
    Shape:
        vectors [B, L, D], weight [B, L], oldest first, weight 0 behind the newest -> states [B, L, D].
    """

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

    def last(self, vectors_BLD: Tensor, weight_BL: Tensor) -> Tensor:
        """The state after the newest event, zero where there is none, [B, D]."""
        length_B = (weight_BL > 0).sum(1)
        if not vectors_BLD.shape[1]:
            return vectors_BLD.new_zeros(len(vectors_BLD), self.dim)
        states_BLD = self(vectors_BLD, weight_BL)
        newest_B11 = (length_B - 1).clamp(min=0)[:, None, None].expand(-1, 1, self.dim)
        state_BD: Tensor = states_BLD.gather(1, newest_B11)[:, 0]
        return state_BD * (length_B > 0)[:, None]


class Mean(History):
    """The weighted mean of the last `max_length` events.

    h_t = sum_{j = t - max_length + 1 .. t} a_j q_j / sum_j a_j
    """

    def forward(self, vectors_BLD: Tensor, weight_BL: Tensor) -> Tensor:
        sums_BLD = self._window((vectors_BLD * weight_BL[..., None]).cumsum(1))
        return sums_BLD / self._window(weight_BL.cumsum(1)[..., None]).clamp(min=1e-12)

    def _window(self, sums_BLD: Tensor) -> Tensor:
        before_BLD = torch.zeros_like(sums_BLD)
        before_BLD[:, self.max_length :] = sums_BLD[:, : -self.max_length]
        return sums_BLD - before_BLD

    def last(self, vectors_BLD: Tensor, weight_BL: Tensor) -> Tensor:
        share_BL = weight_BL / weight_BL.sum(1, keepdim=True).clamp(min=1e-12)
        return (share_BL[:, None] @ vectors_BLD)[:, 0] if vectors_BLD.shape[1] else vectors_BLD.sum(1)


class GRU(History):
    """A gated recurrent network over the last `max_length` events.

        h_t = GRU(h_{t-1}, q_t)

    Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016, section 3.1.
    Differs from the paper: a part of a user tower; event weights do not count.

    Args:
        num_layers: GRU layers [count].
        dropout: share of the events' vectors' numbers set to zero in training [0..1).
    """

    def __init__(self, embedding_dim: int, max_length: int, embedding: str, num_layers: int, dropout: float) -> None:
        super().__init__(embedding_dim, max_length, embedding)
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(embedding_dim, embedding_dim, num_layers, batch_first=True)

    def forward(self, vectors_BLD: Tensor, weight_BL: Tensor) -> Tensor:
        states_BLD: Tensor = self.gru(self.dropout(vectors_BLD))[0]
        return states_BLD
