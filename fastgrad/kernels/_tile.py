"""Register tiles: rows × vectors of accumulators as one Numba value, and the operations of a matrix product on them.

A `Tile` never leaves the registers between `tile_zeros` and `tile_store`, so its shape is chosen to fill them and no
more. The shape changes no sum: each element of a tile is one lane with one order of additions, whatever the tile.

Arrays are addressed flat: `at` counts elements from the first, and rows of a tile lie `stride` elements apart.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

from ._vec import (
    I32,
    I64,
    Vec,
    broadcast,
    call,
    compile_time,
    cpu_features,
    field,
    opaque,
)

BLOCK = 256  # terms that are summed on their own: |error| ≤ (BLOCK + K / BLOCK + 2) eps Σ|terms|
# Where both factors of a product lie along the sum, a block is so many sums, each of every fourth term; all blocks are
# about as long, and LONGEST at most: a short one, of what is left, would take three times as long a term.
SUMS, LONGEST = 4, 320
# Accumulators, a row of vectors and a broadcast fill the registers: 32 of 64 bytes with AVX-512; 16 of 32 bytes with
# AVX2, where a Vec is two; 32 of 16 bytes with NEON, where it is four. A multiply-add takes four cycles and two start
# in each, so eight accumulators at least keep the units busy. 12 × 2 measured 4 % less than 8 × 3, and pads the rows of
# most batches.
TILE_ROWS, TILE_VECS = (8, 3) if "avx512f" in cpu_features() else (6, 1)
# Rows that are transposed at a time. Of 16 rows 4096 bytes apart, the first cache forgets some before they are used up.
TURNED = 8


class Tile(types.Type):
    """`rows` × `vecs` vectors of one dtype, of `lanes` each: as many as a Vec has, if it is not given."""

    def __init__(self, dtype, rows, vecs, lanes=None):
        self.vec, self.rows, self.vecs = Vec(dtype, lanes * dtype.bitwidth / 512 if lanes else 1), rows, vecs
        super().__init__(name=f"Tile({self.vec}, {rows}, {vecs})")

    def registers(self):
        """(row, vector in the row, place in the LLVM array) of each register."""
        return [(row, c, row * self.vecs + c) for row in range(self.rows) for c in range(self.vecs)]


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        vector = dmm.lookup(fe_type.vec).get_value_type()
        super().__init__(dmm, fe_type, ir.ArrayType(vector, fe_type.rows * fe_type.vecs))


class TileShape:
    """A compile-time constant: how many rows and vectors a tile has, and lanes a vector, if not as many as a Vec."""

    def __init__(self, rows, vecs, lanes=None):
        self.rows, self.vecs, self.lanes = rows, vecs, lanes


class _TileShapeType(types.Dummy):
    def __init__(self, rows, vecs, lanes):
        self.rows, self.vecs, self.lanes = rows, vecs, lanes
        super().__init__(name=f"TileShape({rows}, {vecs}, {lanes})")

    def of(self, dtype):
        return Tile(dtype, self.rows, self.vecs, self.lanes)


compile_time(TileShape, _TileShapeType, ("rows", "vecs", "lanes"))


@intrinsic
def tile_rows(typingctx, shape):
    """How many rows a tile of this shape has: a constant."""
    return types.intp(shape), lambda context, builder, sig, args: context.get_constant(types.intp, shape.rows)


@intrinsic
def tile_width(typingctx, shape, like):
    """How many columns a tile of this shape and of the dtype of the array `like` has: a constant."""
    width = shape.vecs * shape.of(like.dtype).vec.lanes
    return types.intp(shape, like), lambda context, builder, sig, args: context.get_constant(types.intp, width)


def pointer_to(context, builder, array_type, array, at, pointee):
    """Pointer to element `at` of an array taken as flat."""
    data = field(context, builder, array_type, array, "data")
    return builder.bitcast(builder.gep(data, [at]), pointee.as_pointer())


def row_pointers(context, builder, array_type, array, at, stride, count, pointee):
    """Pointers to the elements at, at + stride, at + 2 stride, …"""
    data, pointers = field(context, builder, array_type, array, "data"), []
    for _ in range(count):
        pointers.append(builder.bitcast(builder.gep(data, [at]), pointee.as_pointer()))
        at = builder.add(at, stride)
    return pointers


def repeated_row_pointers(context, builder, array_type, array, at, stride, count, rows, pointee):
    """The same, one after the other, but from row `rows` on that of the last."""
    for p in range(count):
        yield pointer_to(context, builder, array_type, array, at, pointee)
        another = builder.icmp_signed("<", ir.Constant(rows.type, p + 1), rows)
        at = builder.add(at, builder.select(another, stride, ir.Constant(stride.type, 0)))


def places(context, builder, array_type, array, at, stride, count, rows):
    """The same as numbers, of unknown origin: LLVM would step one address for each row from term to term, not one for
    all."""
    element = context.get_value_type(array_type.dtype)
    pointers = repeated_row_pointers(context, builder, array_type, array, at, stride, count, rows, element)
    return [opaque(builder, builder.ptrtoint(pointer, I64)) for pointer in pointers]


def elements_behind(builder, places, k, element):
    """Pointers to the elements k behind each of a tuple of such places."""
    for place in cgutils.unpack_tuple(builder, places):
        yield builder.gep(builder.inttoptr(place, element.as_pointer()), [k])


def next_to(builder, pointer, count):
    return builder.gep(pointer, [ir.Constant(I32, count)])


@intrinsic
def tile_zeros(typingctx, like, shape):
    """A tile of zeros of the dtype of the array `like`."""
    tile = shape.of(like.dtype)
    return tile(like, shape), lambda context, builder, sig, args: ir.Constant(context.get_value_type(tile), None)


@intrinsic
def tile_add(typingctx, x, y):
    """x + y"""

    def codegen(context, builder, sig, args):
        total = args[0]
        for _, _, place in x.registers():
            sum_ = builder.fadd(*(builder.extract_value(value, place) for value in args))
            total = builder.insert_value(total, sum_, place)
        return total

    return x(x, x), codegen


@intrinsic
def tile_beyond(typingctx, tile, columns):
    """tile[p, q] beyond so many columns, and what changes no sum, −0, in these."""

    def codegen(context, builder, sig, args):
        value, columns = args
        vector, count = context.get_value_type(tile.vec), tile.vec.lanes
        done = broadcast(builder, builder.trunc(columns, I32), ir.VectorType(I32, count))
        none = ir.Constant(vector, [-0.0] * count)
        for _, c, place in tile.registers():
            lane = ir.Constant(done.type, list(range(c * count, (c + 1) * count)))
            beyond = builder.icmp_signed(">=", lane, done)
            kept = builder.select(beyond, builder.extract_value(value, place), none)
            value = builder.insert_value(value, kept, place)
        return value

    return tile(tile, types.intp), codegen


@intrinsic
def tile_rank1(typingctx, tile, A, a, stride, rows, B, b):
    """tile[p, q] += A[a + p stride] · B[b + q], with one rounding; from row `rows` on, the last is repeated.

    The stride may be None for 1, where all rows are there: then one address is stepped to the next term for all.
    """

    def codegen(context, builder, sig, args):
        total, a_array, a, stride_value, rows_value, b_array, b = args
        vector = context.get_value_type(tile.vec)
        right = pointer_to(context, builder, B, b_array, b, vector)
        if stride == types.none:
            first = pointer_to(context, builder, A, a_array, a, vector.element)
            left = (next_to(builder, first, p) for p in range(tile.rows))
        else:
            rows = a_array, a, stride_value, tile.rows, rows_value
            left = repeated_row_pointers(context, builder, A, *rows, vector.element)
        return _with_rank1(builder, tile, total, left, right)

    return tile(tile, A, types.intp, stride, types.intp, B, types.intp), codegen


def _with_rank1(builder, tile, total, left, right):
    """The tile plus the products of the elements at `left`, one a row, and a row of vectors at `right`."""
    vector = right.type.pointee
    row_of_b = [builder.load(next_to(builder, right, c), align=tile.vec.itemsize) for c in range(tile.vecs)]
    for p, pointer in enumerate(left):
        element = broadcast(builder, builder.load(pointer), vector)
        for c in range(tile.vecs):
            place = p * tile.vecs + c
            operands = [element, row_of_b[c], builder.extract_value(total, place)]
            total = builder.insert_value(total, call(builder, "llvm.fma.{}", vector, operands), place)
    return total


@intrinsic
def tile_places(typingctx, shape, A, a, stride, rows):
    """Where the elements A[a + p stride] of the rows p of a tile are; from row `rows` on, that of the last."""
    count = shape.rows

    def codegen(context, builder, sig, args):
        return context.make_tuple(builder, sig.return_type, places(context, builder, A, *args[1:4], count, args[4]))

    return types.UniTuple(types.int64, count)(shape, A, types.intp, types.intp, types.intp), codegen


@intrinsic
def tile_rank1_at(typingctx, tile, rows_at, k, B, b):
    """tile[p, q] += A[p] · B[b + q] with one rounding, A[p] the element k behind where row p is."""

    def codegen(context, builder, sig, args):
        total, rows, k, b_array, b = args
        vector = context.get_value_type(tile.vec)
        left = elements_behind(builder, rows, k, vector.element)
        return _with_rank1(builder, tile, total, left, pointer_to(context, builder, B, b_array, b, vector))

    return tile(tile, rows_at, types.intp, B, types.intp), codegen


@intrinsic
def tile_splat(typingctx, array, at, stride, shape):
    """tile[p, q] = array[at + p stride], for every q"""
    tile = shape.of(array.dtype)

    def codegen(context, builder, sig, args):
        vector = context.get_value_type(tile.vec)
        value = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for p, place in enumerate(row_pointers(context, builder, array, *args[:3], tile.rows, vector.element)):
            value = builder.insert_value(value, broadcast(builder, builder.load(place), vector), p)
        return value

    return tile(array, types.intp, types.intp, shape), codegen


@intrinsic
def tile_fma(typingctx, x, y, z):
    """x · y + z, with one rounding"""

    def codegen(context, builder, sig, args):
        total = args[2]
        vector = context.get_value_type(x.vec)
        for _, _, place in x.registers():
            operands = [builder.extract_value(value, place) for value in args]
            total = builder.insert_value(total, call(builder, "llvm.fma.{}", vector, operands), place)
        return total

    return x(x, x, x), codegen


@intrinsic
def tile_product(typingctx, tile, A, a, B):
    """tile[p, q] += Σ_k A[a + k rows + p] · B[k, q], k ascending and each with one rounding, for one vector a row

    B is a tile, and A an array, or a tile of splats and then a is not looked at.
    """

    def codegen(context, builder, sig, args):
        total, a_value, a, b_tile = args
        vector = context.get_value_type(tile.vec)
        if not isinstance(A, Tile):
            left = pointer_to(context, builder, A, a_value, a, vector.element)
        for k in range(B.rows):
            line = builder.extract_value(b_tile, k)
            for p in range(tile.rows):
                if isinstance(A, Tile):
                    element = builder.extract_value(a_value, k * tile.rows + p)
                else:
                    element = broadcast(builder, builder.load(next_to(builder, left, k * tile.rows + p)), vector)
                operands = [element, line, builder.extract_value(total, p)]
                total = builder.insert_value(total, call(builder, "llvm.fma.{}", vector, operands), p)
        return total

    return tile(tile, A, types.intp, B), codegen
