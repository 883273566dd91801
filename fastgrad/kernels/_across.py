"""What is done across the lanes of vectors: sums and largest ones, in one fixed order each, and the places of lanes."""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ._simd import larger
from ._vec import I32, I64, Vec, call, in_two, taken


def _over_lanes(builder, vector, combine):
    """One fixed tree over the lanes, lane l with lane l + half, until one is left."""
    while vector.type.count > 1:
        vector = combine(builder, *in_two(builder, vector))
    return builder.extract_element(vector, ir.Constant(I32, 0))


def _across(combine, doc):
    def typing(typingctx, x):
        return x.dtype(x), lambda context, builder, sig, args: _over_lanes(builder, args[0], combine)

    typing.__doc__ = doc
    return intrinsic(typing)


@intrinsic
def halves(typingctx, x):
    """The first and the second half of the vectors of a Vec."""
    half = Vec(x.dtype, x.times // 2)

    def codegen(context, builder, sig, args):
        return context.make_tuple(builder, sig.return_type, in_two(builder, args[0]))

    return types.UniTuple(half, 2)(x), codegen


def _vectors(builder, times, value):
    """Each of so many vectors, but those known to be empty."""
    lanes = value.type.count // times.count
    return [taken(builder, value, range(v * lanes, (v + 1) * lanes)) for v in range(times.some)]


def _folded(builder, vectors, combine):
    """Some vectors combined until one is left: v with v + half."""
    while len(vectors) > 1:
        half = 1 << ((len(vectors) - 1).bit_length() - 1)
        pairs = zip(vectors, vectors[half:], strict=False)
        vectors = [combine(builder, low, high) for low, high in pairs] + vectors[len(vectors) - half : half]
    return vectors[0]


def _across_vectors(combine, doc):
    def typing(typingctx, times, x):
        def codegen(context, builder, sig, args):
            return _folded(builder, _vectors(builder, times, args[1]), combine)

        return Vec(x.dtype)(times, x), codegen

    typing.__doc__ = doc
    return intrinsic(typing)


@intrinsic
def vector_dot(typingctx, times, x, y):
    """x · y of so many vectors, lane by lane: of the products of v, v + 4, v + 8, … each is added to the sum of those
    before by a fused multiply-add; then these four sums, in a fixed order."""

    def codegen(context, builder, sig, args):
        sums = []
        for v, pair in enumerate(zip(*(_vectors(builder, times, value) for value in args[1:]), strict=True)):
            if v < 4:
                sums.append(builder.fmul(*pair))
            else:
                sums[v % 4] = call(builder, "llvm.fma.{}", pair[0].type, [*pair, sums[v % 4]])
        return _folded(builder, sums, ir.IRBuilder.fadd)

    return Vec(x.dtype)(times, x, y), codegen


def _larger_integer(builder, a, b):
    return builder.select(builder.icmp_signed(">", a, b), a, b)


_NUMBER_BITS = 9  # of the number of a lane among vectors


@intrinsic
def place_of_largest(typingctx, times, x):
    """The number of a lane that holds the largest of so many vectors, none being negative or NaN: in place of its last
    nine bits, which do not count, each lane carries its number along. Such floats are ordered as their bits are as
    integers, whose larger one LLVM has in one instruction."""
    floats, integers = Vec(x.dtype), Vec(x.dtype).as_ints

    def codegen(context, builder, sig, args):
        words, keys = context.get_value_type(integers), []
        for v, part in enumerate(_vectors(builder, times, args[1])):
            numbers = ir.Constant(words, list(range(v * floats.lanes, (v + 1) * floats.lanes)))
            others = ir.Constant(words, [-1 << _NUMBER_BITS] * floats.lanes)
            keys.append(builder.or_(builder.and_(builder.bitcast(part, words), others), numbers))
        key = _over_lanes(builder, _folded(builder, keys, _larger_integer), _larger_integer)
        place = builder.and_(key, ir.Constant(words.element, (1 << _NUMBER_BITS) - 1))
        return context.cast(builder, place, integers.dtype, types.intp)

    return types.intp(times, x), codegen


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
