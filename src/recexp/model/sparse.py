"""Sparse matrices: what closed-form models compute with, keep in checkpoints, and score by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from recexp.model.slim_kernels import ABSENT, Matrix, Rows, add_rows, fill_gram
from recexp.model.threads import in_threads, num_pieces
from recexp.types import Interactions, Query


def user_item(interactions: Interactions, num_users: int, num_items: int) -> csr_array:
    """The matrix A: the weights of a user's events with an item, added up, [U, I] float32."""
    places = (interactions.user, interactions.item)
    return csr_array((interactions.weight, places), shape=(num_users, num_items), dtype=np.float32)


def cut(numbers: np.ndarray) -> list[np.ndarray]:
    """Numbers in pieces of like size, in order; one piece at least."""
    return np.array_split(numbers, min(len(numbers), num_pieces()) or 1)


def dense_gram(matrix: Matrix, items: np.ndarray) -> np.ndarray:
    """A'A among some items, [len(items), len(items)] float32; never a sparse intermediate."""
    place = np.full(matrix.num_items, ABSENT, np.int32)
    place[items] = np.arange(len(items), dtype=np.int32)
    gram_II = np.zeros((len(items), len(items)), np.float32)
    in_threads(lambda numbers: fill_gram(numbers, items, matrix, place, gram_II), cut(np.arange(len(items))))
    return gram_II


def history_matrix(query: Query) -> tuple[Tensor, Tensor, Tensor]:
    """The histories of a query as compressed rows: start [B + 1] int64, items [n] int64, weights [n] float32."""
    length = query.stop - query.start
    start = torch.cat([length.new_zeros(1), length.cumsum(0)])
    places = torch.arange(int(start[-1]), device=start.device)
    places = places + (query.start - start[:-1]).repeat_interleave(length)
    return start, query.log.item[places], query.log.weight[places]


def chosen(scores_BI: Tensor, items: Tensor | None) -> Tensor:
    """The columns that were asked for: all, shared ones [C], or each row's own [B, C]."""
    if items is None:
        return scores_BI
    columns = items.clamp(min=0)
    return scores_BI[:, columns] if items.dim() == 1 else scores_BI.gather(1, columns)


class Weights(nn.Module):
    """W [I, I], kept by columns in buffers that grow as columns are solved; any size loads.

    Args:
        num_items: I [count].
    Shape:
        start [I + 1] int64 · item [n] int32, rows of W, ascending within a column · value [n] float32
        · solved [] int64, how many columns, from the first on, are there.
    """

    start: Tensor
    item: Tensor
    value: Tensor
    solved: Tensor

    def __init__(self, num_items: int) -> None:
        super().__init__()
        self.register_buffer("start", torch.zeros(num_items + 1, dtype=torch.int64))
        self.register_buffer("item", torch.zeros(0, dtype=torch.int32))
        self.register_buffer("value", torch.zeros(0))
        self.register_buffer("solved", torch.zeros((), dtype=torch.int64))
        self._rows: Rows | None = None

    @property
    def whole(self) -> bool:
        """Whether every column is solved."""
        return int(self.solved) == len(self.start) - 1

    def columns(self) -> Rows:
        """Columns of W."""
        return Rows(self.start.cpu().numpy(), self.item.cpu().numpy(), self.value.cpu().numpy())

    def rows(self) -> Rows:
        """Rows of W."""
        if self._rows is None:
            start, item, value = self.columns()
            num_items = len(start) - 1
            by_column = csr_array((value, item, start), shape=(num_items, num_items))
            self._rows = Rows.of(by_column.T.tocsr())
        return self._rows

    def replace(self, first: int, new: Rows) -> None:
        """Put new columns in the place of those from `first` on."""
        start, item, value = self.columns()
        stop = first + len(new.start) - 1
        before, after = start[first], start[stop]
        grown = new.start[-1] - (after - before)
        start = np.concatenate([start[:first], before + new.start, start[stop + 1 :] + grown])
        item = np.concatenate([item[:before], new.column, item[after:]])
        value = np.concatenate([value[:before], new.value, value[after:]])
        self._set(start=start, item=item, value=value, solved=np.int64(max(int(self.solved), stop)))

    def _set(self, **arrays: Any) -> None:
        for name, array in arrays.items():
            setattr(self, name, torch.as_tensor(array).to(self.start.device))
        self._rows = None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("item", "value"):
            if f"{prefix}{name}" in state_dict:
                setattr(self, name, getattr(self, name).new_zeros(state_dict[f"{prefix}{name}"].shape))
        self._rows = None
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def product(self, query: Query) -> Tensor:
        """`sum_(i in history) a_ui W_i:` for every row of a query, on the CPU wherever the model is, [B, I]."""
        start, item, value = (tensor.cpu().numpy() for tensor in history_matrix(query))
        histories, weights = Rows(start, item, value), self.rows()
        scores_BI = np.zeros((len(query), len(self.start) - 1), np.float32)
        in_threads(lambda users: add_rows(users, histories, weights, scores_BI), cut(np.arange(len(query))))
        return torch.from_numpy(scores_BI).to(query.users.device)


def stacked(parts: Iterable[Rows]) -> Rows:
    """Matrices, one below the other."""
    starts, indices, values = zip(*parts, strict=True)
    counts = np.concatenate([np.diff(start) for start in starts])
    return Rows(np.concatenate([[0], np.cumsum(counts)]), np.concatenate(indices), np.concatenate(values))
