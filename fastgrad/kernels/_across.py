"""What is done across the lanes of vectors: sums and largest ones, in one fixed order each, and the places of lanes."""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ._simd import larger
from ._vec import I32, I64, Vec, in_two, taken


def _across(combine, doc):
    """One fixed tree over the lanes, lane l with lane l + half, until one is left."""

    def typing(typingctx, x):
        def codegen(context, builder, sig, args):
            vector = args[0]
            while vector.type.count > 1:
                vector = combine(builder, *in_two(builder, vector))
            return builder.extract_element(vector, ir.Constant(I32, 0))

        return x.dtype(x), codegen

    typing.__doc__ = doc
    return intrinsic(typing)


@intrinsic
def halves(typingctx, x):
    """The first and the second half of the vectors of a Vec."""
    half = Vec(x.dtype, x.times // 2)

    def codegen(context, builder, sig, args):
        return context.make_tuple(builder, sig.return_type, in_two(builder, args[0]))

    return types.UniTuple(half, 2)(x), codegen


def _folded(builder, times, vectors, combine):
    """The vectors of each of some Vecs, but those known to be empty, until one of each is left: v with v + half."""
    lanes = vectors[0].type.count // times.count
    parts = [
        tuple(taken(builder, vector, range(v * lanes, (v + 1) * lanes)) for vector in vectors)
        for v in range(times.some)
    ]
    while len(parts) > 1:
        half = 1 << ((len(parts) - 1).bit_length() - 1)
        pairs = zip(parts, parts[half:], strict=False)
        parts = [combine(builder, low, high) for low, high in pairs] + parts[len(parts) - half : half]
    return parts[0]


def _across_vectors(combine, doc):
    def typing(typingctx, times, x):
        def codegen(context, builder, sig, args):
            return _folded(builder, times, args[1:], lambda builder, low, high: (combine(builder, low[0], high[0]),))[0]

        return Vec(x.dtype)(times, x), codegen

    typing.__doc__ = doc
    return intrinsic(typing)


@intrinsic
def at_largest(typingctx, times, x, y):
    """The lane of y where x is largest, none being NaN, both of so many vectors; lane l rather than l + half where
    these are alike."""

    def of_larger(builder, low, high):
        which = builder.fcmp_ordered(">", high[0], low[0])
        return tuple(builder.select(which, b, a) for a, b in zip(low, high, strict=True))

    def codegen(context, builder, sig, args):
        both = _folded(builder, times, args[1:], of_larger)
        while both[0].type.count > 1:
            both = of_larger(builder, *zip(*(in_two(builder, each) for each in both), strict=True))
        return builder.extract_element(both[1], ir.Constant(I32, 0))

    return y.dtype(times, x, y), codegen


lane_sum = _across(ir.IRBuilder.fadd, "The sum of all lanes, always in the same order.")
lane_max = _across(larger, "The largest lane, where none is NaN.")
vector_sum = _across_vectors(ir.IRBuilder.fadd, "The sum of so many vectors, lane by lane, always in the same order.")
vector_max = _across_vectors(larger, "The largest of so many vectors, lane by lane, where none is NaN.")


@intrinsic
def first_true(typingctx, mask):
    """The number of the first lane where the mask is true; the number of lanes where there is none."""

    def codegen(context, builder, sig, args):
        word = ir.IntType(mask.lanes)
        found = builder.cttz(builder.bitcast(args[0], word), ir.Constant(ir.IntType(1), 0))
        return builder.zext(found, I64) if mask.lanes < 64 else builder.trunc(found, I64) if mask.lanes > 64 else found

    return types.intp(mask), codegen


@intrinsic
def lane(typingctx, x, index):
    """The lane of this index, as a scalar."""

    def codegen(context, builder, sig, args):
        return builder.extract_element(args[0], context.cast(builder, args[1], index, types.intp))

    return x.dtype(x, index), codegen
