"""Products of vectors and powers of two, with the bits of AVX-512's instruction for them on every CPU."""

from llvmlite import ir
from numba.extending import intrinsic

from ._vec import I32, call, cpu_features, joined, taken


def _by_parts(builder, function, vectors, count):
    """The function of vectors of so many lanes, applied to each part of these, put together again."""
    lanes = vectors[0].type.count
    pieces = [range(start, start + count) for start in range(0, lanes, count)]
    return joined(builder, [function(*(taken(builder, v, piece) for v in vectors)) for piece in pieces])


def _scaled_at_once(builder, x, k):
    """x 2ᵏ by one instruction of AVX-512, rounded once."""
    kind, count = ("ps", 16) if x.type.element == ir.FloatType() else ("pd", 8)
    every = ir.Constant(ir.IntType(count), 2**count - 1)
    name = f"llvm.x86.avx512.mask.scalef.{kind}.512"

    def scaled(a, b):
        return call(builder, name, a.type, [a, b, a, every, ir.Constant(I32, 4)])

    return _by_parts(builder, scaled, (x, k), count)


def _to_bias(vector):
    """The number that, added to an integral k, has k and the bias of exponents in its last bits; how many bits a lane
    has, and its mantissa. AVX2 has no instruction that makes 64-bit integers of floats."""
    bits, mantissa = (32, 23) if vector.element == ir.FloatType() else (64, 52)
    return 1.5 * 2**mantissa + (2 ** (bits - mantissa - 2) - 1), bits, mantissa


def _power(builder, biased):
    """2ᵏ, if that is a normal number, from k plus the number above."""
    _, bits, mantissa = _to_bias(biased.type)
    ints = ir.VectorType(ir.IntType(bits), biased.type.count)
    return builder.bitcast(builder.shl(builder.bitcast(biased, ints), _each(ints, mantissa)), biased.type)


def _each(vector, number):
    return ir.Constant(vector, [number] * vector.count)


@intrinsic
def scale(typingctx, x, k):
    """x 2ᵏ for an integral Vec k of the same float type, |k| ≤ 252 (float32) or 2044 (float64), rounded once.

    Where x times the root of 2ᵏ is subnormal, 2ᵏ x is to be 0: without AVX-512 it is rounded on the way.
    """

    def codegen(context, builder, sig, args):
        x, k = args
        if "avx512f" in cpu_features():
            return _scaled_at_once(builder, x, k)
        bias = _each(k.type, _to_bias(k.type)[0])
        half = call(builder, "llvm.fma.{}", k.type, [k, _each(k.type, 0.5), bias])
        rest = builder.fadd(builder.fsub(k, builder.fsub(half, bias)), bias)
        return builder.fmul(builder.fmul(x, _power(builder, half)), _power(builder, rest))

    return x(x, x), codegen


@intrinsic
def scale_down(typingctx, x, k):
    """The same for −190 ≤ k ≤ 62 (float32) or −1086 ≤ k ≤ 958 (float64), if x 2ᵏ⁺⁶⁴ is 0 or a normal number: half the
    work without AVX-512."""

    def codegen(context, builder, sig, args):
        x, k = args
        if "avx512f" in cpu_features():
            return _scaled_at_once(builder, x, k)
        power = _power(builder, builder.fadd(k, _each(k.type, _to_bias(k.type)[0] + 64)))
        return builder.fmul(builder.fmul(x, power), _each(k.type, 2.0**-64))

    return x(x, x), codegen


@intrinsic
def power(typingctx, k):
    """2ᵏ for an integral Vec k, if that is a normal number."""

    def codegen(context, builder, sig, args):
        return _power(builder, builder.fadd(args[0], _each(args[0].type, _to_bias(args[0].type)[0])))

    return k(k), codegen
