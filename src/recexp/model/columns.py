"""Two ways to lay a column's problem out: against the whole catalogue, or against its nearest items only."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from recexp.errors import RecexpError
from recexp.memory import free_bytes, refuse_too_much
from recexp.model.slim_kernels import ABSENT, Matrix, Penalty, Rows, solve_near, solve_whole
from recexp.model.sparse import cut, dense_gram, stacked
from recexp.model.threads import in_threads


@dataclass(frozen=True)
class Solver:
    """How far the columns are solved, and on how much memory.

    Args:
        max_iter: sweeps over a column's weights, at most [count].
        tol: each column's objective is within this part of its least, by the duality gap; scikit-learn's `tol` is a
            part of |a_j|^2 instead.
        max_dense_items: up to so many items the Gram matrix is kept whole (4 bytes per pair); above, only the
            neighbours of an item may carry weight in its column (fsSLIM) [count].
        num_neighbors: of a column, in a catalogue above `max_dense_items` [count].
    Raises:
        RecexpError: a setting is out of its range, or asks for more memory than there is.
    """

    max_iter: int
    tol: float
    max_dense_items: int
    num_neighbors: int

    def __post_init__(self) -> None:
        least = {"max_iter": 1, "tol": 0, "max_dense_items": 0, "num_neighbors": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise RecexpError(f"model.solver.{name}={getattr(self, name)}; allowed are numbers from {bound}.")

    def on(self, matrix: csr_array, l1: float, l2: float, top_k: int) -> Whole | Near:
        """The columns of a matrix A, ready to be solved."""
        num_dense = min(self.max_dense_items, matrix.shape[1])
        refuse_too_much(
            4 * num_dense**2,
            f"the Gram matrix of {num_dense:,} items",
            f"Type model.solver.max_dense_items={int(math.sqrt(free_bytes() / 8))}, or less.",
        )
        penalty = Penalty(np.float32(l1), np.float32(l2), self.max_iter, self.tol)
        if matrix.shape[1] <= self.max_dense_items:
            return Whole(matrix, penalty, top_k)
        return Near(matrix, self.max_dense_items, self.num_neighbors, penalty, top_k)


class Whole:
    """Every item may carry weight in every column: a dense Gram matrix, I^2 float32.

    Args:
        matrix: A. penalty: of the columns' problems. top_k: weights kept in a column [count].
    """

    def __init__(self, matrix: csr_array, penalty: Penalty, top_k: int) -> None:
        self.gram_II = dense_gram(Matrix.of(matrix), np.arange(matrix.shape[1]))
        self.penalty, self.top_k = penalty, top_k

    def solve(self, columns: np.ndarray, begin: Rows) -> Rows:
        """Columns of W, from those in `begin`."""
        return _in_pieces(lambda some: solve_whole(self.gram_II, some, begin, self.penalty, self.top_k), columns)


class Near:
    """fsSLIM: only an item's nearest ones may carry weight in its column, so memory does not grow with I^2.

    Nearest are those whose weight would lower the column's objective most by itself: with no penalty, by cosine as in
    Ning & Karypis, ICDM 2011, section 4.2. Products among the `num_heads` items with most events are kept; rows of
    the rest are short enough to be made when they are wanted.

    Args:
        matrix: A. num_heads: items [count]. num_neighbors: of a column [count].
        penalty, top_k: as in `Whole`.
    """

    def __init__(self, matrix: csr_array, num_heads: int, num_neighbors: int, penalty: Penalty, top_k: int) -> None:
        self.matrix = Matrix.of(matrix)
        self.norm = np.bincount(matrix.indices, np.square(matrix.data), matrix.shape[1]).astype(np.float32)
        counts = np.diff(self.matrix.by_item.start)
        heads = np.argsort(-counts, kind="stable")[:num_heads]
        self.head = np.full(matrix.shape[1], ABSENT, np.int32)
        self.head[heads] = np.arange(len(heads), dtype=np.int32)
        self.head_gram = dense_gram(self.matrix, heads)
        self.num_neighbors = min(num_neighbors, matrix.shape[1])
        self.penalty, self.top_k = penalty, top_k

    def solve(self, columns: np.ndarray, begin: Rows) -> Rows:
        """Columns of W, from those in `begin`."""
        gram = (self.matrix, self.norm, self.head, self.head_gram)
        return _in_pieces(
            lambda some: solve_near(gram, some, begin, self.num_neighbors, self.penalty, self.top_k), columns
        )


def _in_pieces(solve: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], columns: np.ndarray) -> Rows:
    return stacked(_compressed(*found) for found in in_threads(solve, cut(columns)))


def _compressed(items_BM: np.ndarray, weights_BM: np.ndarray) -> Rows:
    """Rows without their zeros; column m of a row is item `items_BM[row, m]`, or m where there are none given."""
    places = np.nonzero(weights_BM)
    start = np.concatenate([[0], np.cumsum(np.bincount(places[0], minlength=len(weights_BM)))])
    index = items_BM[places] if items_BM.size else places[1]
    return Rows(start, index.astype(np.int32), weights_BM[places])
