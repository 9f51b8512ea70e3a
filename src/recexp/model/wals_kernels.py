"""Rows of a WALS sweep on a CPU, one at a time; threads take rows, so memory is one small workspace each.

Shapes: N events of all rows · K padded embedding size · n events of a row.
Each row solves `(I + PᵀP) y = Pᵀr` with `P = √w v D^-½`; where n < K the same answer is `Pᵀ (I + PPᵀ)⁻¹ r`.

The two innermost loops are written in LLVM's vectors: numba's compiler neither blocks loops nor pairs rows. They are in
this file because numba's cache looks at the caller's file only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

ROWS = 8
LANES = 16 if binding.get_host_cpu_features().get("avx512f") else 8
COLUMNS = 2 * LANES
"""A tile of 8 rows and two vectors fills the registers; eight accumulators each hide the latency of a product."""

CHUNK = 512
"""Events of a long row taken at once: with the matrix they fit a core's own cache."""

LINE = 16
"""Numbers in a line of the cache."""

TINY = 1e-30
"""A residual below it is none; it divides."""

compiled: Any = njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
built: Any = intrinsic


@built
def add_outer(typing: Any, C: Any, P: Any, i: Any, j: Any, n: Any, sign: Any) -> Any:
    """`C[i:i+ROWS, j:j+COLUMNS] += sign · P[:n, i:i+ROWS]ᵀ P[:n, j:j+COLUMNS]`, both arrays contiguous by rows."""
    return types.void(C, P, types.intp, types.intp, types.intp, sign), _build


def _build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    C, P = (context.make_array(t)(context, builder, a) for t, a in zip(signature.args[:2], arguments, strict=False))
    i, j, n, sign = arguments[2:]
    tile = _Tile(builder, C.data.type.pointee)
    sums = [[tile.zero() for _ in range(2)] for _ in range(ROWS)]
    with cgutils.for_range(builder, n) as loop:
        start = builder.gep(P.data, [builder.mul(loop.index, builder.extract_value(P.shape, 1))])
        left, right = builder.gep(start, [i]), builder.gep(start, [j])
        vectors = [tile.load(right, v) for v in range(2)]
        for r in range(ROWS):
            factor = tile.spread(builder.load(tile.at(left, r)))
            for v in range(2):
                tile.accumulate(sums[r][v], factor, vectors[v])
    width = builder.extract_value(C.shape, 1)
    for r in range(ROWS):
        row = builder.gep(C.data, [builder.add(builder.mul(builder.add(i, i.type(r)), width), j)])
        for v in range(2):
            signed = builder.fmul(builder.load(sums[r][v]), tile.spread(sign))
            tile.store(builder.fadd(tile.load(row, v), signed), row, v)
    return context.get_dummy_value()


@built
def add_pulls(typing: Any, out: Any, V: Any, x: Any, rows: Any, weights: Any, wanted: Any) -> Any:
    """`out += Σ_r weights[r] (wanted - <V[rows[r]], x>) V[rows[r]]`; rows side by side, for each waits for its sum."""
    return types.void(out, V, x, rows, weights, wanted), _build_pulls


def _build_pulls(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    out, V, x = (
        context.make_array(t)(context, builder, a) for t, a in zip(signature.args[:3], arguments, strict=False)
    )
    tile = _Tile(builder, V.data.type.pointee)
    width = builder.extract_value(V.shape, 1)
    rows = []
    for r, kind in enumerate(signature.args[3]):
        row = context.cast(builder, builder.extract_value(arguments[3], r), kind, types.intp)
        rows.append(builder.gep(V.data, [builder.mul(row, width)]))
    sums = [tile.zero() for _ in rows]
    vectors = builder.udiv(width, width.type(LANES))
    with cgutils.for_range(builder, vectors) as loop:
        place = builder.mul(loop.index, width.type(LANES))
        x_V = tile.load(builder.gep(x.data, [place]), 0)
        for total, row in zip(sums, rows, strict=True):
            tile.accumulate(total, x_V, tile.load(builder.gep(row, [place]), 0))
    pulls = []
    for r, total in enumerate(sums):
        missing = builder.fsub(arguments[5], tile.sum(builder.load(total)))
        pulls.append(tile.spread(builder.fmul(builder.extract_value(arguments[4], r), missing)))
    with cgutils.for_range(builder, vectors) as loop:
        place = builder.mul(loop.index, width.type(LANES))
        here = builder.gep(out.data, [place])
        total = tile.zero()
        builder.store(tile.load(here, 0), total)
        for pull, row in zip(pulls, rows, strict=True):
            tile.accumulate(total, pull, tile.load(builder.gep(row, [place]), 0))
        tile.store(builder.load(total), here, 0)
    return context.get_dummy_value()


class _Tile:
    """Vectors of `LANES` numbers; each address is only as aligned as a number is."""

    def __init__(self, builder: Any, number: Any) -> None:
        self.builder = builder
        self.vector = ir.VectorType(number, LANES)
        self.align = 4 if isinstance(number, ir.FloatType) else 8

    def zero(self) -> Any:
        return cgutils.alloca_once_value(self.builder, ir.Constant(self.vector, None), zfill=False)

    def at(self, start: Any, place: int) -> Any:
        return self.builder.gep(start, [ir.Constant(ir.IntType(64), place)])

    def _vector_at(self, start: Any, place: int) -> Any:
        return self.builder.bitcast(self.at(start, place * LANES), self.vector.as_pointer())

    def load(self, start: Any, place: int) -> Any:
        loaded = self.builder.load(self._vector_at(start, place))
        loaded.align = self.align
        return loaded

    def store(self, value: Any, start: Any, place: int) -> None:
        self.builder.store(value, self._vector_at(start, place)).align = self.align

    def spread(self, number: Any) -> Any:
        empty, first = ir.Constant(self.vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        same = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        one = self.builder.insert_element(empty, number, first)
        return self.builder.shuffle_vector(one, one, same)

    def sum(self, vector: Any) -> Any:
        name = f"llvm.vector.reduce.fadd.v{LANES}{'f32' if self.align == 4 else 'f64'}"
        kind = ir.FunctionType(vector.type.element, [vector.type.element, vector.type])
        reduce = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(reduce, [ir.Constant(vector.type.element, 0), vector], fastmath=("reassoc",))

    def accumulate(self, total: Any, factor: Any, vector: Any) -> None:
        fused = ("contract",)
        product = self.builder.fmul(factor, vector, flags=fused)
        self.builder.store(self.builder.fadd(self.builder.load(total), product, flags=fused), total)


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
    for a in range(n):
        z[a] = root[a]
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
            _scale(X[place], _dual(space, panel, items, weights, V, scale), scale)
        else:
            _scale(X[place], _primal(space, panel, items, weights, V, scale), scale)


@compiled
def _scale(x: Any, y: Any, scale: Any) -> None:
    """`x <- y scale`; assigned as a whole, numba would compile what it says of arrays of other shapes, for seconds."""
    for t in range(len(x)):
        x[t] = y[t] * scale[t]


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
        _scale(X[place], y, scale)


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
