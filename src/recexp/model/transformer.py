"""Transformer layers over histories of different lengths, for any model that reads sequences.

Shapes: N histories of a bucket · L their places · M places asked for · D embedding size · H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from recexp.errors import RecexpError, nearest
from recexp.model.dropout import Dropout

Activation = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Activation] = {"gelu": F.gelu, "relu": F.relu}
VIEWS = ("all", "earlier")
NORMS = ("after", "before")


class Transformer(nn.Module):
    """Transformer: a stack of self-attention and position-wise feed-forward layers.

        A(X) = [head_1; ...; head_H] W^O,   head_h = softmax(Q_h K_h^T / sqrt(D / H)) V_h
        F(X) = act(X W_1 + b_1) W_2 + b_2
        norm after:  X <- LN(X + dropout(A(X))),  X <- LN(X + dropout(F(X)))
        norm before: X <- X + dropout(A(LN X)),   X <- X + dropout(F(LN X)),   and LN once at the end

    Vaswani et al., "Attention Is All You Need", NIPS 2017, section 3; norm before: Xiong et al., ICML 2020.
    Differs from the papers: attention dropout drops a key for all queries of a head (DropAttention, Zehui et al.,
    2019), which leaves the fused kernels usable; the last layer is computed only where an answer is asked for.

    Args:
        embedding_dim: D. num_layers, num_heads, hidden_dim: layers, heads H, width of F [count].
        activation: gelu | relu, of F.
        norm: after | before each sublayer.
        view: `all` lets each place look at all places of its history, `earlier` at itself and what came before.
        dropout: share of attention weights and of sublayer outputs set to zero in training [0..1).
    Raises:
        RecexpError: heads do not divide embedding_dim; an option does not exist.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        activation: str,
        norm: str,
        view: str,
        dropout: float,
    ) -> None:
        super().__init__()
        if embedding_dim % num_heads:
            raise RecexpError(
                f"num_heads={num_heads} heads cannot share embedding_dim={embedding_dim} evenly. "
                f"Type an embedding_dim that is a multiple of {num_heads}, or another num_heads."
            )
        _check("activation", activation, [*ACTIVATIONS])
        _check("norm", norm, NORMS)
        _check("view", view, VIEWS)
        self.view = view
        self.dropout = dropout
        layer = {"after": NormAfter, "before": NormBefore}[norm]
        self.layers = nn.ModuleList(
            layer(embedding_dim, num_heads, hidden_dim, ACTIVATIONS[activation], dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(embedding_dim) if norm == "before" else nn.Identity()

    def forward(self, x_NLD: Tensor, length_N: Tensor, places_NM: Tensor | None = None) -> Tensor:
        """The output at some places of each history [N, M, D], or at all [N, L, D]; behind `length` is padding."""
        *layers, last = self.layers
        view = View.of(self.view, length_N, x_NLD.shape[1])
        for layer in layers:
            x_NLD = layer(x_NLD, x_NLD, view)
        if places_NM is None:
            asked_NMD = last(x_NLD, x_NLD, view)
        else:
            asked_NMD = last(pick(x_NLD, places_NM), x_NLD, view.at(places_NM, x_NLD.shape[1]))
        normed: Tensor = self.norm(asked_NMD)
        return normed


class View(NamedTuple):
    """Which keys each query of a bucket may look at.

    Attributes:
        mask: [N, 1, 1 or M, L] bool, None: all. causal: only keys up to the query's own place.
    """

    mask: Tensor | None
    causal: bool

    @staticmethod
    def of(view: str, length_N: Tensor, longest: int) -> View:
        """What all places may see. Padding stands at the end, so who looks back only never meets it."""
        if view == "earlier":
            return View(None, causal=True)
        filled_NL = torch.arange(longest, device=length_N.device) < length_N[:, None]
        return View(None if filled_NL.all() else filled_NL[:, None, None], causal=False)

    def at(self, places_NM: Tensor, longest: int) -> View:
        """What some places may see."""
        if not self.causal:
            return self
        seen_NML = torch.arange(longest, device=places_NM.device) <= places_NM[..., None]
        return View(seen_NML[:, None], causal=False)


class Layer(nn.Module):
    """Self-attention and a position-wise feed-forward network; the subclass says where the norms stand."""

    def __init__(
        self,
        embedding_dim: int,
        num_heads: int,
        hidden_dim: int,
        activation: Callable[[Tensor], Tensor],
        dropout: float,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.activation = activation
        self.query = nn.Linear(embedding_dim, embedding_dim)
        self.key_value = nn.Linear(embedding_dim, 2 * embedding_dim)
        self.output = nn.Linear(embedding_dim, embedding_dim)
        self.inner = nn.Linear(embedding_dim, hidden_dim)
        self.outer = nn.Linear(hidden_dim, embedding_dim)
        self.attention_norm = nn.LayerNorm(embedding_dim)
        self.feed_norm = nn.LayerNorm(embedding_dim)
        self.dropout = Dropout(dropout)

    def attend(self, query_NMD: Tensor, memory_NLD: Tensor, view: View) -> Tensor:
        """dropout(A), [N, M, D]."""
        query_NHMd = self._heads(self.query(query_NMD))
        key_NHLd, value_NHLd = (self._heads(one) for one in self.key_value(memory_NLD).chunk(2, dim=-1))
        value_NHLd = self.dropout.whole_rows(value_NHLd)
        with kernel_for(query_NHMd):
            mixed_NHMd = F.scaled_dot_product_attention(
                query_NHMd, key_NHLd, value_NHLd, attn_mask=view.mask, is_causal=view.causal
            )
        dropped: Tensor = self.dropout(self.output(mixed_NHMd.transpose(1, 2).flatten(2)))
        return dropped

    def _heads(self, x_NLD: Tensor) -> Tensor:
        return x_NLD.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def feed(self, x_NMD: Tensor) -> Tensor:
        """dropout(F), [N, M, D]."""
        dropped: Tensor = self.dropout(self.outer(self.activation(self.inner(x_NMD))))
        return dropped


class NormAfter(Layer):
    """X <- LN(X + sublayer(X)), as BERT."""

    def forward(self, query_NMD: Tensor, memory_NLD: Tensor, view: View) -> Tensor:
        """The layer's output at the queries' places, [N, M, D]; the queries are among the memory."""
        x_NMD = self.attention_norm(query_NMD + self.attend(query_NMD, memory_NLD, view))
        out_NMD: Tensor = self.feed_norm(x_NMD + self.feed(x_NMD))
        return out_NMD


class NormBefore(Layer):
    """X <- X + sublayer(LN X), as SASRec."""

    def forward(self, query_NMD: Tensor, memory_NLD: Tensor, view: View) -> Tensor:
        """The layer's output at the queries' places, [N, M, D]; the queries are among the memory."""
        memory_NLD = self.attention_norm(memory_NLD)
        x_NMD = query_NMD + self.attend(self.attention_norm(query_NMD), memory_NLD, view)
        out_NMD: Tensor = x_NMD + self.feed(self.feed_norm(x_NMD))
        return out_NMD


def kernel_for(query_NHMd: Tensor) -> AbstractContextManager[None]:
    """Torch's own choice, but on a CPU in 16 bits its fused kernel takes twice the time of the plain products."""
    plain = query_NHMd.device.type == "cpu" and query_NHMd.dtype == torch.bfloat16
    return sdpa_kernel(SDPBackend.MATH) if plain else nullcontext()


def pick(x_NLD: Tensor, places_NM: Tensor) -> Tensor:
    """The vectors at some places of each history, [N, M, D]."""
    first_N1 = torch.arange(len(x_NLD), device=x_NLD.device)[:, None] * x_NLD.shape[1]
    return x_NLD.flatten(0, 1).index_select(0, (first_N1 + places_NM).flatten()).unflatten(0, places_NM.shape)


def _check(what: str, asked: str, allowed: Sequence[str]) -> None:
    if asked not in allowed:
        near = nearest(asked, allowed)
        raise RecexpError(f"model.layers.{what}={asked} is unknown; allowed: {', '.join(near)}. Type {near[0]}.")
