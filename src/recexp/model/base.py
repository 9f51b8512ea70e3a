"""What the rest of recexp sees of a model. There is no ladder: a model takes the one class that fits and stops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from recexp.types import Interactions, Query


class Recommender(nn.Module):
    """Anything that can say how well items suit a query. Every model takes `num_users` and `num_items`."""

    def score(self, query: Query, items: Tensor | None = None) -> Tensor:
        """Scores of all items [B, I], of shared columns [C] or of each row's own [B, C]; larger is better."""
        raise TypeError(f"{type(self).__name__} does not say how it scores")


class PairScorer(Recommender):
    """A model trained by gradient: `forward(query, items) -> [Q, C]`, scores unscaled.

    Attributes:
        answers_many: whether it heeds `query.asked`, several questions about one history.
        hides_asked: whether it hides all that is asked for, rather than all that follows a question.
    """

    num_items: int
    answers_many = False
    hides_asked = False

    def score(self, query: Query, items: Tensor | None = None) -> Tensor:
        if items is None:
            items = torch.arange(self.num_items, device=query.users.device)
        scores_QC: Tensor = self(query, items)
        return scores_QC


class Factored(PairScorer):
    """A pair scorer whose score is a product of two encodings: `R(u, i) = <encode_query(u), encode_items(i)>`."""

    def encode_query(self, query: Query) -> Tensor:
        """Vectors of the queries, [Q, D]."""
        raise TypeError(f"{type(self).__name__} does not encode queries")

    def encode_items(self, items: Tensor) -> Tensor:
        """Vectors of items of any shape, [..., D]."""
        raise TypeError(f"{type(self).__name__} does not encode items")

    def towers(self) -> tuple[Tower, Tower] | None:
        """Both encoders as programs of their own, of the query and of items; None where they cannot be told apart."""
        return None

    def forward(self, query: Query, items: Tensor) -> Tensor:
        return product(self.encode_query(query), self.encode_items(items))


class Tower(nn.Module):
    """One encoder of a factored model as a program of its own: named inputs of R rows -> vectors [R, D]."""

    names: list[str]

    def inputs(self, rows: Any) -> list[Tensor]:
        """The inputs of a query (dense ids of items) that the model's own data knows."""
        raise NotImplementedError


class Solvable(Protocol):
    """A closed-form model: blocks of work instead of gradients; results go into buffers.

    One epoch solves every block of `steps(epoch)`; the trainer runs `num_epochs` of them.
    """

    num_epochs: int
    anytime: bool
    """Whether what an epoch leaves is a model already, one of which validation may choose."""

    def prepare(self, interactions: Interactions) -> None:
        """Take in the training interactions, once, before the first epoch."""

    def steps(self, epoch: int) -> Iterable[Tensor]:
        """The blocks of an epoch, as many in each, every one a small tensor that `solve` understands."""

    def solve(self, block: Tensor) -> None:
        """Solve one block."""


@runtime_checkable
class Growable(Protocol):
    """A model that a fit can continue after there are new users and items."""

    def grow(self, num_users: int, num_items: int) -> None:
        """Make room for new users and items behind those of before, which keep their rows."""


@runtime_checkable
class Updatable(Growable, Protocol):
    """A model that takes new events in row by row, without another fit."""

    def partial_fit(self, interactions: Interactions, users: Sequence[int], items: Sequence[int]) -> None:
        """Solve the rows of these users with all items held fixed, then those of these items.

        Args:
            interactions: all that is known of them.
        """


def product(query_QD: Tensor, items_CD: Tensor) -> Tensor:
    """Inner products of queries with shared items [C, D] or with each row's own [Q, C, D], [Q, C]."""
    if items_CD.dim() == 2:
        return query_QD @ items_CD.T
    return (items_CD @ query_QD[:, :, None]).squeeze(-1)


def lookup(table_ID: Tensor, ids: Tensor) -> Tensor:
    """Rows of an embedding table, zero where the id is PAD: what nobody has seen has no opinion."""
    return nn.functional.embedding(ids.clamp(min=0), table_ID) * (ids >= 0).unsqueeze(-1)
