"""What is done with vectors lane by lane.

Numba leaves vectorising to LLVM's guess; kernels say what they mean instead. A function below is one or a few LLVM
instructions, inlined where it is called.

Vecs take + - * / << >> & | and comparisons, with each other or with a scalar, lane by lane.
"""

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from ._vec import (
    I32,
    I64,
    ConstantType,
    Mask,
    TimesType,
    Vec,
    broadcast,
    call,
    cpu_features,
    joined,
    opaque,
    taken,
    vec_like,
    widest,
)

# --- making vectors --------------------------------------------------------------------------------------------------


@intrinsic
def lanes(typingctx, like):
    """How many elements of the dtype of `like` (an array or a Vec) one Vec holds: a constant."""
    count = vec_like(like).lanes
    return types.intp(like), lambda context, builder, sig, args: context.get_constant(types.intp, count)


@intrinsic
def splat(typingctx, like, value):
    """A Vec of the dtype of `like` with `value`, a scalar or a `Constant`, in every lane."""
    vec = vec_like(like)

    def codegen(context, builder, sig, args):
        if isinstance(value, ConstantType):
            (number,) = value.values[vec.itemsize]
            return ir.Constant(context.get_value_type(vec), [number] * vec.lanes)
        scalar = context.cast(builder, args[1], value, vec.dtype)
        return broadcast(builder, scalar, context.get_value_type(vec))

    return vec(like, value), codegen


@intrinsic
def lane_numbers(typingctx, like):
    """The integers 0, 1, 2, … in the lanes, of the width of the dtype of `like`."""
    vec = vec_like(like).as_ints

    def codegen(context, builder, sig, args):
        return ir.Constant(context.get_value_type(vec), list(range(vec.lanes)))

    return vec(like), codegen


def _first(context, builder, mask, count_type, count):
    """The lanes with numbers below the count, which is brought to 32 bits: half the work of 64."""
    count = context.cast(builder, count, count_type, types.int64)
    none, all_ = I64(0), I64(mask.lanes)
    count = builder.select(builder.icmp_signed("<", count, none), none, count)
    count = builder.select(builder.icmp_signed(">", count, all_), all_, count)
    ints = ir.VectorType(I32, mask.lanes)
    wanted = broadcast(builder, builder.trunc(count, I32), ints)
    return builder.icmp_signed("<", ir.Constant(ints, list(range(mask.lanes))), wanted)


@intrinsic
def first(typingctx, like, count):
    """The Mask of the first `count` lanes: none where count is not positive, all where it is large."""
    mask = Mask(vec_like(like).lanes)
    return mask(like, count), lambda context, builder, sig, args: _first(context, builder, mask, count, args[1])


@intrinsic
def first_of(typingctx, times, like, count):
    """The same for so many vectors of the dtype of `like`."""
    vec = Vec(like.dtype, times.count)
    lanes = vec.lanes // times.count
    mask = Mask(vec.lanes, lanes * times.whole, lanes * times.some)
    return mask(times, like, count), lambda context, builder, sig, args: _first(context, builder, mask, count, args[2])


@intrinsic
def only_known(typingctx, mask):
    """The mask without the vectors of which it is not known to be true."""
    known = Mask(mask.lanes, mask.known, mask.known)
    return known(mask), lambda context, builder, sig, args: args[0]


@intrinsic
def not_whole(typingctx, times):
    """As many vectors as may be neither whole nor empty."""
    count = times.some - times.whole
    vectors = TimesType(count, count, count)
    return vectors(times), lambda context, builder, sig, args: context.get_dummy_value()


@intrinsic
def width(typingctx, times, like):
    """The lanes of so many vectors of the dtype of `like`."""
    count = times.count * Vec(like.dtype).lanes
    return types.intp(times, like), lambda context, builder, sig, args: context.get_constant(types.intp, count)


_WIDE_REGISTERS = "avx512f" in cpu_features()


@intrinsic
def read_anew(typingctx, times, index):
    """The index, but where two arrays' so many vectors take more registers than there are, LLVM does not know that it
    is the same: what was read there is read once more, where it would be stored on the stack and read from that. With
    AVX-512, what is read lies over two lines of the cache, and the stack does not: it takes 0.8 of the time."""
    known = _WIDE_REGISTERS or times.some <= 2
    return types.intp(times, types.intp), lambda _, builder, sig, args: args[1] if known else opaque(builder, args[1])


@intrinsic
def are_registers_for(typingctx, times):
    """Whether one array's so many vectors may stay in registers; without AVX-512, there are 16 of 32 bytes."""
    few = _WIDE_REGISTERS or times.some <= 8
    return types.boolean(times), lambda context, builder, sig, args: context.get_constant(types.boolean, few)


@intrinsic
def repeated(typingctx, times, x):
    """A vector as so many next to each other."""
    wide = Vec(x.dtype, times.count)
    return wide(times, wide), lambda context, builder, sig, args: args[1]


# --- lane by lane ----------------------------------------------------------------------------------------------------


def _operator(op, on_floats, on_ints, result=lambda vec: vec):
    """Makes a Python operator work on Vec with Vec, and on Vec with a scalar on either side."""

    @infer_global(op)
    class Template(AbstractTemplate):
        def generic(self, args, kws):
            vecs = [t for t in args if isinstance(t, Vec)]
            known = all(isinstance(t, (Vec, types.Number)) for t in args)
            if len(args) != 2 or not known or len({t.dtype for t in vecs}) != 1:
                return None
            wide = widest(*vecs)
            return signature(result(wide), *(wide if isinstance(t, Vec) else t for t in args))

    def lower(context, builder, sig, args):
        vec = next(t for t in sig.args if isinstance(t, Vec))
        vector = context.get_value_type(vec)
        a, b = (
            value if t == vec else broadcast(builder, context.cast(builder, value, t, vec.dtype), vector)
            for t, value in zip(sig.args, args, strict=True)
        )
        return (on_floats if vec.is_float else on_ints)(builder, a, b)

    for operands in ((Vec, Vec), (Vec, types.Number), (types.Number, Vec)):
        lower_builtin(op, *operands)(lower)


def _comparison(op, symbol):
    def on_floats(builder, a, b):  # with NaN: != is true, all else false, as in IEEE 754 and NumPy
        return (builder.fcmp_unordered if symbol == "!=" else builder.fcmp_ordered)(symbol, a, b)

    def on_ints(builder, a, b):
        return builder.icmp_signed(symbol, a, b)

    _operator(op, on_floats, on_ints, lambda vec: Mask(vec.lanes))


_operator(operator.add, ir.IRBuilder.fadd, ir.IRBuilder.add)
_operator(operator.sub, ir.IRBuilder.fsub, ir.IRBuilder.sub)
_operator(operator.mul, ir.IRBuilder.fmul, ir.IRBuilder.mul)
_operator(operator.truediv, ir.IRBuilder.fdiv, None)
_operator(operator.lshift, None, ir.IRBuilder.shl)
_operator(operator.rshift, None, ir.IRBuilder.ashr)
for _op, _symbol in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
    (operator.ne, "!="),
):
    _comparison(_op, _symbol)


for _op, _emit in ((operator.and_, ir.IRBuilder.and_), (operator.or_, ir.IRBuilder.or_)):

    @infer_global(_op)
    class _Logical(AbstractTemplate):
        def generic(self, args, kws):
            known = len(args) == 2 and args[0] == args[1] and isinstance(args[0], (Mask, Vec))
            return signature(args[0], *args) if known else None

    for _type in (Mask, Vec):
        lower_builtin(_op, _type, _type)(lambda context, builder, sig, args, emit=_emit: emit(builder, *args))


@infer_global(operator.neg)
class _Negative(AbstractTemplate):
    def generic(self, args, kws):
        return signature(args[0], *args) if isinstance(args[0], Vec) else None


@lower_builtin(operator.neg, Vec)
def _negative(context, builder, sig, args):
    return builder.fneg(args[0]) if sig.args[0].is_float else builder.neg(args[0])


def _lane_function(name, count, doc):
    """An LLVM intrinsic of `count` vectors of one type."""

    def codegen(context, builder, sig, args):
        return call(builder, name, args[0].type, list(args))

    def one(typingctx, x):
        return x(x), codegen

    def three(typingctx, x, y, z):
        wide = widest(x, y, z)
        return wide(wide, wide, wide), codegen

    function = {1: one, 3: three}[count]
    function.__doc__ = doc
    return intrinsic(function)


fma = _lane_function("llvm.fma.{}", 3, "x y + z, rounded once.")
rint = _lane_function("llvm.roundeven.{}", 1, "The nearest integer, halves to even, as a float.")
absolute = _lane_function("llvm.fabs.{}", 1, "|x|")


@intrinsic
def select(typingctx, mask, x, y):
    """x where the mask is true, y elsewhere."""
    wide = widest(x, y)
    return wide(mask, wide, wide), lambda context, builder, sig, args: builder.select(*args)


@intrinsic
def kept(typingctx, x, mask):
    """x where the mask is true (None or `Times`: everywhere), 0 elsewhere."""

    def codegen(context, builder, sig, args):
        if not isinstance(mask, Mask):
            return args[0]
        zeros, parts = ir.Constant(args[0].type, None), []
        for start in range(0, x.lanes, x.lanes // x.times):
            lanes = range(start, start + x.lanes // x.times)
            value, nothing = (taken(builder, each, lanes) for each in (args[0], zeros))
            if lanes.stop > mask.known:
                value = builder.select(taken(builder, args[1], lanes), value, nothing)
            parts.append(nothing if lanes.start >= mask.end else value)
        return joined(builder, parts)

    return x(x, mask), codegen


def larger(builder, a, b):
    """a where a > b, b elsewhere, as LLVM is told it."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@intrinsic
def maximum(typingctx, x, y):
    """x where x > y, y elsewhere: a NaN in x is passed over, one in y stays."""
    wide = widest(x, y)
    return wide(wide, wide), lambda context, builder, sig, args: larger(builder, *args)


def _reinterpretation(instruction, target, doc):
    def typing(typingctx, x):
        result = target(x)

        def codegen(context, builder, sig, args):
            return instruction(builder, args[0], context.get_value_type(result))

        return result(x), codegen

    typing.__doc__ = doc
    return intrinsic(typing)


bits = _reinterpretation(ir.IRBuilder.bitcast, lambda x: x.as_ints, "The lanes' bits, as integers.")
from_bits = _reinterpretation(ir.IRBuilder.bitcast, lambda x: x.as_floats, "The floats that have these bits.")
to_float = _reinterpretation(ir.IRBuilder.sitofp, lambda x: x.as_floats, "Integers as floats.")


@intrinsic
def horner(typingctx, x, coefficients):
    """c₀ xⁿ + … + cₙ by fused multiply-adds, with the coefficients for the dtype of x.

    More than five of them go by x², in pairs c x + c′ that do not wait for one another: float64's functions take 0.8 to
    0.95 of the time. Fewer gain nothing, and gelu of float32 would be more than 4 ulp off.
    """
    values = coefficients.values[x.itemsize]

    def codegen(context, builder, sig, args):
        point, vector = args[0], args[0].type

        def multiply_add(a, b, c):
            return call(builder, "llvm.fma.{}", vector, [a, b, c])

        terms = [ir.Constant(vector, [value] * x.lanes) for value in values]
        if len(terms) > 5:
            odd = len(terms) % 2
            pairs = zip(terms[odd::2], terms[odd + 1 :: 2], strict=True)
            terms = terms[:odd] + [multiply_add(point, high, low) for high, low in pairs]
            point = builder.fmul(point, point)
        total = terms[0]
        for term in terms[1:]:
            total = multiply_add(point, total, term)
        return total

    return x(x, coefficients), codegen


@intrinsic
def of_dtype(typingctx, single, double, *vectors):
    """single(…) or double(…) of these vectors, by their dtype."""
    function = single if vectors[0].itemsize == 4 else double
    called = function.get_call_type(typingctx, vectors, {})

    def codegen(context, builder, sig, args):
        return context.get_function(function, called)(builder, cgutils.unpack_tuple(builder, args[2]))

    return called.return_type(single, double, types.BaseTuple.from_types(vectors)), codegen
