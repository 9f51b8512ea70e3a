"""BERT4Rec: a bidirectional transformer that fills in hidden items."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recexp.model.base import Factored, lookup
from recexp.model.dropout import Dropout
from recexp.model.sequences import Asked, Reader
from recexp.model.transformer import Transformer
from recexp.types import Query


class BERT4Rec(Factored):
    """BERT4Rec: bidirectional self-attention over a history, hidden items told from what stands around them.

        R(t, i) = <GELU(h_t W^P + b^P), e_i> + b^O_i,   h = Transformer(E[items, [mask] where asked] + P)
        P(i at t) = softmax R(t, .)                     with loss=softmax, negatives=full, examples=masked

    Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer",
    CIKM 2019, sections 3.2-3.6; to recommend, [mask] is put behind the history.
    Differs from the paper: positions count from the end; items and positions start normal instead of truncated
    normal, projections as torch's do; no warm-up, decay or clipping unless asked for; attention dropout as in
    `Transformer`; the users have no embedding of their own in the paper either, so anybody is served.

    Args:
        embedding_dim: d, size of e_i and h_t [count].
        max_length: places of a history seen, [mask] included [count].
        positions: learned | cosine.
        init_std: standard deviation of the initial embeddings.
        layers: the transformer.
    Shape:
        query of B histories, Q places asked for; items [C] or [Q, C] -> scores [Q, C].
    """

    answers_many = True
    hides_asked = True

    def __init__(
        self,
        embedding_dim: int,
        max_length: int,
        positions: str,
        init_std: float,
        layers: Transformer,
        num_users: int,
        num_items: int,
    ) -> None:
        super().__init__()
        self.num_items, self.max_length = num_items, max_length
        tokens = nn.Parameter(torch.randn(num_items + 1, embedding_dim) * init_std)
        self.bias = nn.Parameter(torch.zeros(num_items, 1))
        embedded = nn.Sequential(nn.LayerNorm(embedding_dim), Dropout(layers.dropout))
        self.reader = Reader(tokens, max_length, positions, 1.0, embedded, layers)
        self.project = nn.Linear(embedding_dim, embedding_dim)

    def encode_query(self, query: Query) -> Tensor:
        """(GELU(h W^P + b^P), 1), [Q, d + 1]."""
        asked = Asked.of(query, self.max_length)
        hidden = asked._replace(item=asked.item.masked_fill(asked.asked, self.num_items))
        told_QD = F.gelu(self.project(self.reader(hidden)))
        return torch.cat([told_QD, torch.ones_like(told_QD[:, :1])], dim=-1)

    def encode_items(self, items: Tensor) -> Tensor:
        """(e_i, b^O_i), [..., d + 1]."""
        return torch.cat([lookup(self.reader.tokens, items), lookup(self.bias, items)], dim=-1)
