"""Rows of encoded columns: some of them, more behind them, rows of which nothing is known."""

from __future__ import annotations

import numpy as np
import torch

from recexp.types import Bags, Numbers

Encoded = Bags | Numbers


def picked(column: Encoded, rows: np.ndarray) -> Encoded:
    """These rows, in this order."""
    index_R = torch.from_numpy(rows)
    if isinstance(column, Numbers):
        return Numbers(column.values[index_R])
    length_R = column.offsets.diff()[index_R]
    offsets = torch.cat([length_R.new_zeros(1), length_R.cumsum(0)])
    shift_T = (column.offsets[index_R] - offsets[:-1]).repeat_interleave(length_R)
    place_T = torch.arange(len(shift_T)) + shift_T
    return Bags(offsets, column.tokens[place_T], column.weights[place_T], column.size)


def joined(before: Encoded, more: Encoded) -> Encoded:
    """The rows of both, one behind the other."""
    if isinstance(before, Numbers):
        assert isinstance(more, Numbers)
        return Numbers(torch.cat([before.values, more.values]))
    assert isinstance(more, Bags)
    assert more.size == before.size
    offsets = torch.cat([before.offsets, more.offsets[1:] + before.offsets[-1]])
    tokens, weights = torch.cat([before.tokens, more.tokens]), torch.cat([before.weights, more.weights])
    return Bags(offsets, tokens, weights, before.size)


def nothing(column: Encoded, count: int) -> Encoded:
    """So many rows of the column of which nothing is known."""
    if isinstance(column, Numbers):
        return Numbers(column.values.new_zeros(count, column.values.shape[1]))
    return Bags(column.offsets.new_zeros(count + 1), column.tokens[:0], column.weights[:0], column.size)
