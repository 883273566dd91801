"""Products C[i, j] = Σ_k A[i, k] B[j, k] of few rows whose factors both lie along the sums: multiplied where they lie,
without a transposition.

A register holds SUMS terms next to each other of some columns, so its lanes are the sums of a block that `_product.py`
wants side by side. Columns are read a few at a time and from end to end.
"""

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ._arrays import compact
from ._fetch import are_factors_fetched, fetch_factors
from ._jit import device, inlined
from ._pack import ceil_div
from ._parts import Choice, part
from ._tile import (
    SUMS,
    TILE_VECS,
    Tile,
    elements_behind,
    places,
    row_pointers,
    tile_places,
    tile_rows,
    tile_zeros,
)
from ._transpose import squares_turned
from ._vec import I64, broadcast, call, compile_time, cpu_features, joined, masked_load, taken

SPAN = 16  # blocks that are multiplied at a time: what is read stays in the caches for other rows

# Registers as wide as the CPU's where rows share what is read; of 32 bytes for one row or two, which read as fast as
# memory gives. The addresses of all rows and columns are in registers, too, of which there are fewer.
_WIDE = 64 if "avx512f" in cpu_features() else 32


class DotsShape:
    """A compile-time constant: rows, vectors in a row, and bytes of a vector."""

    def __init__(self, rows, vecs, size):
        self.rows, self.vecs, self.size = rows, vecs, size


class _DotsShapeType(types.Dummy):
    def __init__(self, rows, vecs, size):
        self.rows, self.vecs, self.size = rows, vecs, size
        super().__init__(name=f"DotsShape({rows}, {vecs}, {size})")

    def of(self, dtype):
        """The tile whose vector c holds SUMS lanes for each of the columns c, vecs + c, 2 vecs + c, …"""
        return Tile(dtype, self.rows, self.vecs, max(SUMS, self.size * 8 // dtype.bitwidth))

    def columns(self, dtype):
        return self.vecs * self.of(dtype).vec.lanes // SUMS


compile_time(DotsShape, _DotsShapeType, ("rows", "vecs", "size"))

_ONE, _TWO, _FEW = DotsShape(1, 4, 32), DotsShape(2, 4, 32), DotsShape(4, 2, _WIDE)
# Six rows of two vectors take 0.65 to 0.75 of the time of eight of one, though their addresses need all registers, and
# eight of two 0.75 to 0.85; with half as many registers for sums, these do not fit.
_SIX, _EIGHT = DotsShape(6, 2, _WIDE), DotsShape(8, 2, _WIDE)


@intrinsic
def dots_columns(typingctx, shape, like):
    """How many columns dots of this shape have for the dtype of an array: a constant."""
    columns = shape.columns(like.dtype)
    return types.intp(shape, like), lambda context, builder, sig, args: context.get_constant(types.intp, columns)


@intrinsic
def dots_columns_at(typingctx, shape, B, b, stride, columns):
    """Where the columns of dots of this shape are, B[b], B[b + stride], …; from `columns` on, that of the last."""
    count = shape.columns(B.dtype)

    def codegen(context, builder, sig, args):
        return context.make_tuple(builder, sig.return_type, places(context, builder, B, *args[1:4], count, args[4]))

    return types.UniTuple(types.int64, count)(shape, B, *(types.intp,) * 3), codegen


def _with_products(builder, tile, total, left, right):
    """The tile plus the products of pieces of SUMS elements of rows and of columns."""
    groups = tile.vec.lanes // SUMS
    lines = [joined(builder, right[c :: tile.vecs]) for c in range(tile.vecs)]
    for p, piece in enumerate(left):
        row = joined(builder, [piece] * groups)
        for c, line in enumerate(lines):
            place = p * tile.vecs + c
            product = call(builder, "llvm.fma.{}", line.type, [row, line, builder.extract_value(total, place)])
            total = builder.insert_value(total, product, place)
    return total


def _pieces(builder, places, k, piece):
    """Pointers to the pieces k elements behind these places."""
    for pointer in elements_behind(builder, places, k, piece.element):
        yield builder.bitcast(pointer, piece.as_pointer())


@intrinsic
def dots_add(typingctx, tile, left, right, k):
    """tile[p, q, s] += A[p, k + s] · B[q, k + s] for all SUMS s, with one rounding"""

    def codegen(context, builder, sig, args):
        total, *factors, k = args
        piece = ir.VectorType(context.get_value_type(tile.vec).element, SUMS)
        loaded = [
            [builder.load(place, align=tile.vec.itemsize) for place in _pieces(builder, factor, k, piece)]
            for factor in factors
        ]
        return _with_products(builder, tile, total, *loaded)

    return tile(tile, left, right, types.intp), codegen


@intrinsic
def dots_add_first(typingctx, tile, left, right, k, count):
    """The same for the first `count` sums; others stay as they are, and what lies there is not read."""

    def codegen(context, builder, sig, args):
        total, *factors, k, count = args
        piece = ir.VectorType(context.get_value_type(tile.vec).element, SUMS)
        wanted = broadcast(builder, count, ir.VectorType(I64, SUMS))
        mask = builder.icmp_signed("<", ir.Constant(wanted.type, list(range(SUMS))), wanted)
        loaded = [
            [
                masked_load(builder, place, tile.vec, mask, ir.Constant(piece, None))
                for place in _pieces(builder, factor, k, piece)
            ]
            for factor in factors
        ]
        added = _with_products(builder, tile, total, *loaded)
        mask = joined(builder, [mask] * (tile.vec.lanes // SUMS))
        for _, _, place in tile.registers():  # 0 · 0 added to −0 would be 0
            both = [builder.extract_value(value, place) for value in (added, total)]
            total = builder.insert_value(total, builder.select(mask, *both), place)
        return total

    return tile(tile, left, right, types.intp, types.intp), codegen


@intrinsic
def dots_store(typingctx, tile, array, at, stride, opens):
    """array[at + p stride + q] (+)= tile[p, q, 0] + tile[p, q, 1] + …, in this order, where (+)= is = if it opens."""
    columns, itemsize = tile.vecs * tile.vec.lanes // SUMS, tile.vec.itemsize

    def codegen(context, builder, sig, args):
        value, array_value, at, stride, opens = args
        vectors = [builder.extract_value(value, place) for _, _, place in tile.registers()]
        sums = []
        for start in range(0, len(vectors), SUMS):
            total, *more = squares_turned(builder, vectors[start : start + SUMS])
            for line in more:
                total = builder.fadd(total, line)
            sums.append(total)
        row = ir.VectorType(vectors[0].type.element, columns)
        pointers = row_pointers(context, builder, array, array_value, at, stride, tile.rows, row)
        for p, pointer in enumerate(pointers):
            square, first = divmod(p * tile.vecs, SUMS)
            lanes = [g + first + c for g in range(0, tile.vec.lanes, SUMS) for c in range(tile.vecs)]
            new = taken(builder, sums[square], lanes)
            # What is not a sum yet is not added to, as subnormal numbers would take long: −0 changes nothing.
            old = builder.select(opens, ir.Constant(row, [-0.0] * columns), builder.load(pointer, align=itemsize))
            builder.store(builder.fadd(old, new), pointer, align=itemsize)
        return context.get_dummy_value()

    return types.none(tile, array, types.intp, types.intp, types.boolean), codegen


_ARGUMENTS = 1, int, int, int, 1, int, int, int, int, int, 1, int, int, bool  # as the next five parts take it


@inlined
def _dots(shape, A, a, apart, rows, B, b, stride, columns, terms, block, work, t, width, opens):
    """work[t + p width + q] (+)= Σ_k A[a + p apart + k] · B[b + q stride + k], where (+)= is = if it opens the sum;
    in blocks of so many terms. What it is copied into is compact: unrolled, 50 terms take a fifth longer."""
    blocks, whole = max(ceil_div(terms, block), 1), terms // SUMS * SUMS  # one block of a sum of nothing
    together, fetched = dots_columns(shape, B), are_factors_fetched(B, stride)
    for q in range(0, columns, together):
        if fetched:  # 187500 × 64 × 10 takes 0.4 to 0.5 of the time
            fetch_factors(B, b + q * stride, together * stride)
        right = dots_columns_at(shape, B, b + q * stride, stride, columns - q)
        for p in range(0, rows, tile_rows(shape)):
            left = tile_places(shape, A, a + p * apart, apart, rows - p)
            for number in range(blocks):
                acc = tile_zeros(B, shape)
                for k in range(number * block, min((number + 1) * block, whole), SUMS):
                    acc = dots_add(acc, left, right, k)
                if number == blocks - 1 and whole < terms:
                    acc = dots_add_first(acc, left, right, whole, terms - whole)
                dots_store(acc, work, t + p * width + q, width, opens and number == 0)


@part(*_ARGUMENTS)
def one_by_columns(A, a, apart, rows, B, b, stride, columns, terms, block, work, t, width, opens):
    compact()
    _dots(_ONE, A, a, apart, rows, B, b, stride, columns, terms, block, work, t, width, opens)


@part(*_ARGUMENTS)
def two_by_columns(A, a, apart, rows, B, b, stride, columns, terms, block, work, t, width, opens):
    compact()
    _dots(_TWO, A, a, apart, rows, B, b, stride, columns, terms, block, work, t, width, opens)


@part(*_ARGUMENTS)
def few_by_columns(A, a, apart, rows, B, b, stride, columns, terms, block, work, t, width, opens):
    compact()
    _dots(_FEW, A, a, apart, rows, B, b, stride, columns, terms, block, work, t, width, opens)


@part(*_ARGUMENTS)
def six_by_columns(A, a, apart, rows, B, b, stride, columns, terms, block, work, t, width, opens):
    compact()
    _dots(_SIX, A, a, apart, rows, B, b, stride, columns, terms, block, work, t, width, opens)


@part(*_ARGUMENTS)
def eight_by_columns(A, a, apart, rows, B, b, stride, columns, terms, block, work, t, width, opens):
    compact()
    _dots(_EIGHT, A, a, apart, rows, B, b, stride, columns, terms, block, work, t, width, opens)


DOTS = Choice(one_by_columns, two_by_columns, few_by_columns, six_by_columns, eight_by_columns)


@device
def part_of_dots(m):
    """Which part of DOTS is for m rows: the last of those that repeat the fewest."""
    if m <= 2:
        return max(m, np.intp(1))
    few, six, eight = tile_rows(_FEW), tile_rows(_SIX), tile_rows(_EIGHT)
    few, six, eight = ceil_div(m, few) * few, ceil_div(m, six) * six, ceil_div(m, eight) * eight
    if TILE_VECS > 1 and eight <= min(few, six):
        return np.intp(5)
    return np.intp(4 if six <= few else 3)
