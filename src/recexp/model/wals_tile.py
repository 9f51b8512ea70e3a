"""The two innermost loops of WALS, written in LLVM's vectors: numba's compiler neither blocks loops nor pairs rows."""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

ROWS = 8
LANES = 16 if binding.get_host_cpu_features().get("avx512f") else 8
COLUMNS = 2 * LANES
"""A tile of 8 rows and two vectors fills the registers; eight accumulators each hide the latency of a product."""


@intrinsic
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


@intrinsic
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
