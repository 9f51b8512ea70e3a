"""Rows of a WALS sweep on a CPU, one at a time; threads take rows, so memory is one small workspace each.

Shapes: N events of all rows · K padded embedding size · n events of a row.
Each row solves `(I + PᵀP) y = Pᵀr` with `P = √w v D^-½`; where n < K the same answer is `Pᵀ (I + PPᵀ)⁻¹ r`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from recexp.model import wals_tile
from recexp.model.wals_tile import COLUMNS, LANES, ROWS

CHUNK = 512
"""Events of a long row taken at once: with the matrix they fit a core's own cache."""

LINE = 16
"""Numbers in a line of the cache."""

TINY = 1e-30
"""A residual below it is none; it divides."""

add_outer: Any = wals_tile.add_outer
add_pulls: Any = wals_tile.add_pulls
compiled: Any = njit(nogil=True, fastmath=True, cache=True, error_model="numpy")


@compiled
def _add_gram(M: Any, P: Any, n: int, m: int) -> None:
    """Upper triangle of `M += P[:n]ᵀ P[:n]`."""
    for i in range(0, m, ROWS):
        for j in range(i // COLUMNS * COLUMNS, m, COLUMNS):
            add_outer(M, P, i, j, n, M.dtype.type(1))


@compiled
def _factor(M: Any, m: int) -> None:
    """Cholesky `M = UᵀU` in the upper triangle, the inverse on the diagonal; the lower one is not read."""
    for i in range(0, m, ROWS):
        first = i // COLUMNS * COLUMNS
        for j in range(first, m, COLUMNS):
            add_outer(M, M, i, j, i, M.dtype.type(-1))
        for a in range(i, i + ROWS):
            row = M[a, a:m]
            for b in range(i, a):
                above, factor = M[b, a:m], M[b, a]
                for j in range(row.shape[0]):
                    row[j] -= factor * above[j]
            inverse = 1 / np.sqrt(row[0])
            for j in range(row.shape[0]):
                row[j] *= inverse
            row[0] = inverse


@compiled
def _substitute(M: Any, y: Any, m: int) -> None:
    """`y <- (UᵀU)⁻¹ y`."""
    for i in range(m):
        y[i] *= M[i, i]
        row, rest, factor = M[i, i + 1 : m], y[i + 1 : m], y[i]
        for j in range(row.shape[0]):
            rest[j] -= factor * row[j]
    for i in range(m - 1, -1, -1):
        row, rest, total = M[i, i + 1 : m], y[i + 1 : m], y[i]
        for j in range(row.shape[0]):
            total -= row[j] * rest[j]
        y[i] = total * M[i, i]


@compiled
def _identity(space: Any, m: int) -> Any:
    """A unit matrix in a workspace."""
    M = space[: m * (m + LANES)].reshape(m, m + LANES)
    for i in range(m):
        M[i] = 0
        M[i, i] = 1
    return M


@compiled
def _primal(space: Any, panel: Any, items: Any, root: Any, V: Any, scale: Any) -> Any:
    K = V.shape[1]
    M, P = _identity(space, K), panel[: CHUNK * (K + LANES)].reshape(CHUNK, K + LANES)
    y = np.zeros(K, V.dtype)
    for start in range(0, len(items), CHUNK):
        n = min(CHUNK, len(items) - start)
        for a in range(n):
            v, weight, out = V[items[start + a]], root[start + a], P[a]
            for t in range(K):
                value = v[t] * scale[t] * weight
                out[t] = value
                y[t] += value * weight
        _add_gram(M, P, n, K)
    _factor(M, K)
    _substitute(M, y, K)
    return y


@compiled
def _dual(space: Any, panel: Any, items: Any, root: Any, V: Any, scale: Any) -> Any:
    K, n = V.shape[1], len(items)
    m = (n + COLUMNS - 1) // COLUMNS * COLUMNS
    M, P = _identity(space, m), panel[: K * (m + LANES)].reshape(K, m + LANES)
    z, y = np.zeros(m, V.dtype), np.empty(K, V.dtype)
    z[:n] = root
    _transpose(P, items, z, V, scale)
    _add_gram(M, P, K, m)
    _factor(M, m)
    _substitute(M, z, m)
    for t in range(K):
        row, total = P[t, :m], z[0] * 0
        for a in range(m):
            total += row[a] * z[a]
        y[t] = total
    return y


@compiled
def _transpose(P: Any, items: Any, root: Any, V: Any, scale: Any) -> None:
    """`P[:, a] = √w v_a D^-½`, zero beyond the events; by as many columns as fill a line of the cache."""
    K = V.shape[1]
    rows = np.zeros((LINE, K), V.dtype)
    for start in range(0, len(root), LINE):
        for a in range(LINE):
            v, weight, out = V[items[min(start + a, len(items) - 1)]], root[start + a], rows[a]
            for t in range(K):
                out[t] = v[t] * scale[t] * weight
        for t in range(K):
            out = P[t, start : start + LINE]
            for a in range(LINE):
                out[a] = rows[a, t]


@compiled
def exact(
    places: Any, rows: Any, indptr: Any, indices: Any, root: Any, V: Any, spectrum: Any, ridge: Any, X: Any
) -> None:
    """Solve the rows at `places` into `X[places]`."""
    K = V.shape[1]
    space, panel = np.empty(K * (K + LANES), V.dtype), np.empty(max(CHUNK, K) * (K + LANES), V.dtype)
    for place in places:
        begin, end = indptr[rows[place]], indptr[rows[place] + 1]
        items, weights = indices[begin:end], root[begin:end]
        scale = 1 / np.sqrt(spectrum + ridge[place])
        if begin == end:
            X[place] = 0
        elif end - begin <= K - COLUMNS:
            X[place] = _dual(space, panel, items, weights, V, scale) * scale
        else:
            X[place] = _primal(space, panel, items, weights, V, scale) * scale


@compiled
def _apply(V: Any, items: Any, root: Any, wanted: Any, x: Any, out: Any) -> None:
    """`out <- Σ w v (wanted - <v, x>)`."""
    out[:] = 0
    last, none = len(items) - 1, root.dtype.type(0)
    for a in range(0, last + 1, 4):
        b, c, d = min(a + 1, last), min(a + 2, last), min(a + 3, last)
        weights = (
            root[a] * root[a],
            root[b] * root[b] if b > a else none,
            root[c] * root[c] if c > b else none,
            root[d] * root[d] if d > c else none,
        )
        add_pulls(out, V, x, (items[a], items[b], items[c], items[d]), weights, wanted)


@compiled
def _descend(y: Any, V: Any, items: Any, root: Any, scale: Any, num_steps: int) -> None:
    """Conjugate-gradient steps for `(I + PᵀP) y = Pᵀr`."""
    product = np.empty_like(y)
    _apply(V, items, root, y.dtype.type(1), y * scale, product)
    residual = product * scale - y
    direction, left = residual.copy(), np.dot(residual, residual)
    for _ in range(num_steps):
        if left <= TINY:
            return
        _apply(V, items, root, y.dtype.type(0), direction * scale, product)
        image = direction - product * scale
        step = left / np.dot(direction, image)
        y += step * direction
        residual -= step * image
        before, left = left, np.dot(residual, residual)
        direction = residual + (left / before) * direction


@compiled
def conjugate_gradient(
    places: Any, rows: Any, indptr: Any, indices: Any, root: Any, V: Any, spectrum: Any, ridge: Any, X: Any, steps: int
) -> None:
    """Improve the rows at `places` of `X` by steps of the conjugate gradient, preconditioned by `D`."""
    for place in places:
        begin, end = indptr[rows[place]], indptr[rows[place] + 1]
        scale = 1 / np.sqrt(spectrum + ridge[place])
        y = X[place] / scale if begin < end else X[place] * 0
        _descend(y, V, indices[begin:end], root[begin:end], scale, steps if begin < end else 0)
        X[place] = y * scale


@compiled
def squared_error(places: Any, rows: Any, indptr: Any, indices: Any, root: Any, V: Any, X: Any, out: Any) -> None:
    """`out[place] = Σ w (1 - <v, x>)²` over the events of a row."""
    for place in places:
        x = X[place]
        total = 0.0
        for a in range(indptr[rows[place]], indptr[rows[place] + 1]):
            v, error = V[indices[a]], x[0] * 0
            for t in range(len(x)):
                error += v[t] * x[t]
            total += (root[a] * (1 - error)) ** 2
        out[place] = total
