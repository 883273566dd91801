"""silu, gelu and their derivatives on vectors: x σ(z(x)) and x Φ(x).

Both are formed on the side of −|x|, where they are small, without any cancellation, and reflected: f(x) = x + f(−x), so
f′(x) = 1 − f′(−x). There they are a product 2ᵏ y with y of ordinary size, so that in the far tail nothing is lost
before the last multiplication by 2ᵏ.

Polynomials from a table up to |x| = 4, as tanh has them, would take gelu of float32 0.6 of the time with AVX-512 if all
numbers are below, but more than all of it if a few are not, and with AVX2 from 1.5 to 2.8 times as long. A polynomial
for the logarithm of Φ(−x) e^(x²/2), of degree 11 up to 5.5, spares the division and gains nothing.
"""

from ._jit import inlined
from ._math import at_most, exp_parts, exp_parts_of_product, has_minus, normal_tail
from ._scale import power, scale_down
from ._simd import absolute, fma, rint, select, splat
from ._vec import Constant

# f(−x) is 0 above for silu, gelu and gelu by tanh; their gradients are not, where dY is large.
SILU_LARGEST, SILU_SLOPE_LARGEST = Constant(115.0, 752.75), Constant(115.0, 800.0)
GELU_LARGEST, GELU_SLOPE_LARGEST = Constant(15.0, 38.625), Constant(15.0, 40.0)
GELU_TANH_LARGEST, GELU_TANH_SLOPE_LARGEST = Constant(10.875, 21.5625), Constant(12.75, 25.0)
MINUS_0 = Constant(-0.0, -0.0)
# 2 √(2/π) and 0.044715 times it, each in two parts
LINEAR = Constant(1.5957691669464111, 1.5957691216057308)
LINEAR_LOW = Constant(-4.534068054340423e-08, -9.96930880911092e-17)
CUBIC = Constant(0.07135481387376785, 0.07135481627260025)
CUBIC_LOW = Constant(2.3988324659995897e-09, -6.175149918155315e-19)
ROOT_HALF_OVER_PI = Constant(0.3989422917366028, 0.3989422804014327)


@inlined
def _sigmoid_denominator(u, p):
    """D with σ(−z) = u / D and σ(z) = (1 + p) / D, where u = 2⁻ᵏ and eᶻ = 2ᵏ (1 + p)"""
    return (1.0 + u) + p  # the first sum waits for nothing, and loses half an ulp of 1 at most


# --- values ----------------------------------------------------------------------------------------------------------


@inlined
def _reflected(x, tail):
    """f(x) from its tail −f(−|x|)"""
    return select(has_minus(x), splat(x, MINUS_0), x) - tail  # −0 where the tail underflows


@inlined
def _gated_tail(a, z, correction):
    """a σ(−z − correction)"""
    k, p = exp_parts(z, correction)
    return scale_down(a, -k) / _sigmoid_denominator(scale_down(splat(a, 1), -k), p)


@inlined
def silu(x):
    """x σ(x)"""
    a = at_most(absolute(x), SILU_LARGEST)
    return _reflected(x, _gated_tail(a, a, None))


@inlined
def gelu(x):
    """x Φ(x)"""
    a = at_most(absolute(x), GELU_LARGEST)
    k, p = exp_parts_of_product(a, a * -0.5)
    _, y = normal_tail(a)
    return _reflected(x, scale_down(fma(y, p, y), k))


@inlined
def _tanh_argument(a):
    """2 √(2/π) (a + 0.044715 a³), and what rounding it loses"""
    square = a * a
    cubic = square * splat(a, CUBIC)
    slope = splat(a, LINEAR) + cubic
    part = slope - cubic
    low = (splat(a, LINEAR) - part) + (cubic - (slope - part)) + splat(a, LINEAR_LOW)
    low = low + fma(square, splat(a, CUBIC), -cubic)
    low = low + fma(fma(a, a, -square), splat(a, CUBIC), square * splat(a, CUBIC_LOW))
    z = a * slope
    return z, fma(a, low, fma(a, slope, -z))


@inlined
def gelu_tanh(x):
    """x σ(2 √(2/π) (x + 0.044715 x³))"""
    a = at_most(absolute(x), GELU_TANH_LARGEST)
    z, low = _tanh_argument(a)
    return _reflected(x, _gated_tail(a, z, low))


# --- derivatives, times dy -------------------------------------------------------------------------------------------


@inlined
def _two_powers(k):
    """Two powers of two, whose product is 2ᵏ, which itself may underflow where dy is large."""
    half = rint(k * 0.5)
    return power(half), power(k - half)


@inlined
def _reflected_slope(dy, x, first, second, tail):
    """dy f′(x), from f′(−|x|) = first second tail"""
    below = first * tail
    return select(has_minus(x), dy * below * second, dy * fma(-below, second, splat(x, 1)))


@inlined
def _gated_slope(dy, x, w, z, correction):
    """dy f′(x) for f(x) = x σ(z(x)), where w = x z′(x): f′(−a) = σ(−z) (1 − w σ(z))"""
    k, p = exp_parts(z, correction)
    first, second = _two_powers(-k)
    D = _sigmoid_denominator(first * second, p)
    inverse = 1.0 / D
    return _reflected_slope(dy, x, first, second, fma(-w, 1.0 + p, D) * (inverse * inverse))


@inlined
def silu_vjp(dy, x):
    """dy (x σ(x))′"""
    a = at_most(absolute(x), SILU_SLOPE_LARGEST)
    return _gated_slope(dy, x, a, a, None)


@inlined
def gelu_vjp(dy, x):
    """dy (x Φ(x))′"""
    a = at_most(absolute(x), GELU_SLOPE_LARGEST)
    k, p = exp_parts_of_product(a, a * -0.5)
    tail, _ = normal_tail(a)
    slope = fma(a, splat(x, ROOT_HALF_OVER_PI), -tail)
    return _reflected_slope(dy, x, *_two_powers(k), -fma(slope, p, slope))  # Φ(−a) − a φ(a)


@inlined
def gelu_tanh_vjp(dy, x):
    """dy (x σ(2 √(2/π) (x + 0.044715 x³)))′"""
    a = at_most(absolute(x), GELU_TANH_SLOPE_LARGEST)
    z, low = _tanh_argument(a)
    w = a * fma(a * a, splat(x, CUBIC) * 3.0, splat(x, LINEAR))
    return _gated_slope(dy, x, w, z, low)
