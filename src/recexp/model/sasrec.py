"""SASRec: a causal transformer that tells the next item."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from recexp.errors import RecexpError
from recexp.model.base import Factored, lookup
from recexp.model.dropout import Dropout
from recexp.model.sequences import Asked, Reader
from recexp.model.transformer import Transformer
from recexp.types import Query


class SASRec(Factored):
    """SASRec: self-attention over what came before, each place telling the item that follows.

        R(t, i) = <h_t, e_i>,   h = Transformer(sqrt(d) E[start, s_1, ..., s_t-1] + P), each place seeing earlier ones

    Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018, section 3; with loss=softmax and
    negatives=full it is SASRec+ of Klenitskiy & Vasilev, RecSys 2023.
    Differs from the paper: a learned start before the first item, so that any history has an answer (that to an empty
    one is never asked for in training); positions count from the end;
    the norm stands before keys and values too; attention dropout as in `Transformer`; no binary cross-entropy with
    one negative unless asked for (loss=ce negatives=uniform).

    Args:
        embedding_dim: d, size of e_i and h_t [count].
        max_length: places of a history seen, the one asked for included [count].
        positions: learned | cosine.
        init_std: standard deviation of the initial embeddings.
        layers: the transformer.
    Shape:
        query of B histories, Q places asked for; items [C] or [Q, C] -> scores [Q, C].
    """

    answers_many = True

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
        if layers.view != "earlier":
            raise RecexpError(
                f"model.layers.view={layers.view}: SASRec would see the items that it is asked for. Drop it, or type "
                "model=bert4rec, which hides them."
            )
        self.num_items, self.max_length = num_items, max_length
        tokens = nn.Parameter(torch.randn(num_items + 1, embedding_dim) * init_std)
        self.reader = Reader(tokens, max_length, positions, math.sqrt(embedding_dim), Dropout(layers.dropout), layers)

    def encode_query(self, query: Query) -> Tensor:
        """h, [Q, d]."""
        asked = Asked.of(query, self.max_length)
        before_BL = torch.cat([torch.full_like(asked.item[:, :1], self.num_items), asked.item[:, :-1]], dim=1)
        told_QD: Tensor = self.reader(asked._replace(item=before_BL))
        return told_QD

    def encode_items(self, items: Tensor) -> Tensor:
        """e_i, [..., d]."""
        return lookup(self.reader.tokens, items)
