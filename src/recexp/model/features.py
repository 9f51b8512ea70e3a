"""What is known of a user or an item, as one vector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recexp.model.base import lookup
from recexp.types import PAD, Bags, Columns, Numbers

Inputs = Iterable[Tensor]
TAKEN = ("vector", "history", "history_weight", "context")
"""Names of what a tower gives and takes besides columns."""


class Known(nn.Module):
    """Everything known of a row, side by side: the sum of the embeddings of each bag's tokens, and the numbers.

        x_r = [q_r ; sum_t w_rt e_t ; ... ; numbers_r]

    Volkovs, Yu, Poutanen, "DropoutNet: Addressing Cold Start in Recommender Systems", NIPS 2017, on `id_dropout`.

    Args:
        columns: of one side; bags are embedded, the bag `id` with one embedding for each row that training has.
        embedding_dim: size of each embedding [count].
        init_std: standard deviation of the initial embeddings.
        id_dropout: share of ids hidden in training, so that the other columns must do [0..1).
    Shape:
        ids [...] -> [..., dim]; PAD gives zeros.
    """

    def __init__(self, columns: Columns, embedding_dim: int, init_std: float, id_dropout: float) -> None:
        super().__init__()
        self.id_dropout = id_dropout
        self.names = [*columns]
        parts = {
            "id" if name == "id" else f"column_{place}": column(name, one, embedding_dim, init_std)
            for place, (name, one) in enumerate(columns.items())
        }
        self.dim = sum(part.dim for part in parts.values())
        self.columns = nn.ModuleDict(parts)

    def forward(self, ids: Tensor) -> Tensor:
        parts = [self._column(key, column, ids.reshape(-1)) for key, column in self.columns.items()]
        if not parts:
            return torch.zeros(*ids.shape, 0, device=ids.device)
        return torch.cat(parts, dim=-1).reshape(*ids.shape, self.dim)

    def given(self, inputs: Inputs) -> Tensor:
        """The same for a row that is no row of the tables: what `inputs` returns for those that are, [R, dim]."""
        pieces = iter(inputs)
        return torch.cat([one.given(*islice(pieces, one.num_inputs)) for one in of(self.columns.values())], dim=-1)

    def _column(self, key: str, column: nn.Module, ids_R: Tensor) -> Tensor:
        part_RD: Tensor = column(ids_R)
        if key == "id" and self.training and self.id_dropout:
            part_RD = part_RD * (torch.rand(len(ids_R), 1, device=ids_R.device) >= self.id_dropout)
        return part_RD


class Circumstances(nn.Module):
    """Embeddings of the circumstances in which somebody asks, side by side; zero where they are unknown.

    Shape:
        context [Q, F], or None: all unknown; x [Q, ...], who asks -> [Q, F D].
    """

    def __init__(self, columns: Columns, embedding_dim: int, init_std: float) -> None:
        super().__init__()
        self.names = [*columns]
        self.columns = nn.ModuleList(
            Ids(one, embedding_dim, init_std) for one in columns.values() if isinstance(one, Bags)
        )
        self.dim = embedding_dim * len(self.columns)

    def forward(self, context: Tensor | None, x_QU: Tensor) -> Tensor:
        if context is None or not self.names:
            return x_QU.new_zeros(x_QU.shape[0], self.dim)  # len() would fix the number of rows in an export
        return torch.cat([one(context[:, place]) for place, one in enumerate(self.columns)], dim=-1)


def of(columns: Iterable[nn.Module]) -> Iterable[Ids | Tokens | Values]:
    """The columns, as what they are."""
    return columns  # type: ignore[return-value]


def inputs(columns: Iterable[nn.Module], ids_R: Tensor) -> list[Tensor]:
    """What is known of some rows, as `given` takes it: the id; tokens [R, T] and weights [R, T]; numbers [R, F]."""
    return [one_input for one in of(columns) for one_input in one.inputs(ids_R)]


def names(columns: Iterable[nn.Module], called: Sequence[str], side: str) -> list[str]:
    """A name for each of the inputs, none of which is another's or the output's."""
    found: list[str] = []
    for one, name in zip(of(columns), called, strict=True):
        base = side if name == "id" else name
        while {f"{base}{ending}" for ending in one.endings} & {*found, *TAKEN}:
            base = f"{side}_{base}"
        found += [f"{base}{ending}" for ending in one.endings]
    return found


def column(name: str, one: Bags | Numbers, embedding_dim: int, init_std: float) -> Ids | Tokens | Values:
    """The column as it is embedded."""
    if isinstance(one, Numbers):
        return Values(one)
    return Ids(one, embedding_dim, init_std) if name == "id" else Tokens(one, embedding_dim, init_std)


class Ids(nn.Module):
    """One embedding for each row; zero for rows that training never saw."""

    known: Tensor
    endings = ("",)
    num_inputs = 1

    def __init__(self, bags: Bags, dim: int, init_std: float) -> None:
        super().__init__()
        self.dim = dim
        self.table = nn.Parameter(torch.randn(bags.size, dim) * init_std)
        self.register_buffer("known", bags.offsets.diff() > 0, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        return lookup(self.table, ids.where(self.known[ids.clamp(min=0)], PAD))

    def inputs(self, ids_R: Tensor) -> tuple[Tensor, ...]:
        return (ids_R,)

    def given(self, ids_R: Tensor) -> Tensor:
        vectors_RD: Tensor = self(ids_R)
        return vectors_RD


class Tokens(nn.Module):
    """The weighted sum of a bag's embeddings; only the tokens that there are are looked at."""

    offsets: Tensor
    tokens: Tensor
    weights: Tensor
    endings = ("_tokens", "_weights")
    num_inputs = 2

    def __init__(self, bags: Bags, dim: int, init_std: float) -> None:
        super().__init__()
        self.dim = dim
        self.table = nn.Parameter(torch.randn(max(bags.size, 1), dim) * init_std)
        for name in ("offsets", "tokens", "weights"):
            self.register_buffer(name, getattr(bags, name), persistent=False)

    def forward(self, ids_R: Tensor) -> Tensor:
        index_T, begin_R = places(self.offsets, ids_R)
        return F.embedding_bag(
            self.tokens[index_T], self.table, begin_R, mode="sum", per_sample_weights=self.weights[index_T]
        )

    def inputs(self, ids_R: Tensor) -> tuple[Tensor, ...]:
        index_T, begin_R = places(self.offsets, ids_R)
        length_R = torch.cat([begin_R, begin_R.new_tensor([len(index_T)])]).diff()
        place_RT = torch.arange(max(1, int(length_R.max())), device=ids_R.device).expand(len(ids_R), -1)
        filled_RT = place_RT < length_R[:, None]
        tokens_RT = torch.full(place_RT.shape, PAD, device=ids_R.device)
        weights_RT = torch.zeros(place_RT.shape, device=ids_R.device)
        tokens_RT[filled_RT], weights_RT[filled_RT] = self.tokens[index_T], self.weights[index_T]
        return tokens_RT, weights_RT

    def given(self, tokens_RT: Tensor, weights_RT: Tensor) -> Tensor:
        """The same of bags that are no rows of the table: tokens with PAD where there are fewer, [R, D]."""
        return (lookup(self.table, tokens_RT) * weights_RT[..., None]).sum(-2)


class Values(nn.Module):
    """Numbers as they are."""

    values: Tensor
    endings = ("",)
    num_inputs = 1

    def __init__(self, numbers: Numbers) -> None:
        super().__init__()
        self.dim = numbers.values.shape[1]
        self.register_buffer("values", numbers.values, persistent=False)

    def forward(self, ids_R: Tensor) -> Tensor:
        return lookup(self.values, ids_R)

    def inputs(self, ids_R: Tensor) -> tuple[Tensor, ...]:
        return (lookup(self.values, ids_R),)

    def given(self, values_RF: Tensor) -> Tensor:
        return values_RF


def places(offsets: Tensor, ids_R: Tensor) -> tuple[Tensor, Tensor]:
    """Where the tokens of some rows stand, one row after the other, [T], and where each row begins there, [R]."""
    clamped_R = ids_R.clamp(min=0)
    start_R = offsets[clamped_R]
    length_R = (offsets[clamped_R + 1] - start_R) * (ids_R >= 0)
    begin_R = length_R.cumsum(0) - length_R
    shift_T = (start_R - begin_R).repeat_interleave(length_R)
    return torch.arange(len(shift_T), device=ids_R.device) + shift_T, begin_R
