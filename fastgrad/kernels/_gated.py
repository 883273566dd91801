"""silu, gelu and their derivatives on vectors: x σ(z(x)) and x Φ(x).

Both are formed on the side of −|x|, where they are small, without any cancellation, and reflected: f(x) = x + f(−x), so
f′(x) = 1 − f′(−x). Where they are not polynomials from a table, they are a product 2ᵏ y there with y of ordinary size,
so that in the far tail nothing is lost before the last multiplication by 2ᵏ.
"""

from ._across import any_true
from ._jit import inlined
from ._lookup import polynomial
from ._math import at_most, exp_parts, exp_parts_of_product, normal_tail
from ._normal import NEAR, SLOPE, TAIL, far_tail, interval_of
from ._scale import scale, scale_down
from ._simd import absolute, fma, of_dtype, rint, select, splat
from ._vec import Constant

SILU_LARGEST = Constant(115.0, 800.0)  # silu(-x) is 0 above
GELU_LARGEST = Constant(15.0, 38.625)  # gelu(-x) is 0 above
GELU_SLOPE_LARGEST = Constant(15.0, 40.0)  # its gradient is not, where dY is large
GELU_TANH_LARGEST = Constant(12.75, 25.0)
# 2 √(2/π) and 0.044715 times it, each in two parts
LINEAR = Constant(1.5957691669464111, 1.5957691216057308)
LINEAR_LOW = Constant(-4.534068054340423e-08, -9.96930880911092e-17)
CUBIC = Constant(0.07135481387376785, 0.07135481627260025)
CUBIC_LOW = Constant(2.3988324659995897e-09, -6.175149918155315e-19)
ROOT_2_OVER_PI = Constant(0.7978845834732056, 0.7978845608028654)


@inlined
def _sigmoid_parts(x, correction):
    """k, p and D with σ(−z) = 2⁻ᵏ / D and σ(z) = (1 + p) / D, for z = x + correction, x ≥ 0."""
    k, p = exp_parts(x, correction)
    # The first sum waits for nothing, and loses half an ulp of 1 at most.
    return k, p, (1.0 + scale(splat(x, 1), -k)) + p


# --- values ----------------------------------------------------------------------------------------------------------


@inlined
def _reflected(x, tail):
    """f(x) from its tail −f(−|x|)"""
    return select(x < 0.0, -tail, x - tail)  # −0 where the tail underflows


@inlined
def _gated_tail(a, z, correction):
    """a σ(−z − correction)"""
    k, _, D = _sigmoid_parts(z, correction)
    return scale(a, -k) / D


@inlined
def silu(x):
    """x σ(x)"""
    a = at_most(absolute(x), SILU_LARGEST)
    return _reflected(x, _gated_tail(a, a, None))


@inlined
def _normal_tail_by_exponential(a):
    a = at_most(a, GELU_LARGEST)
    k, p = exp_parts_of_product(a, a * -0.5)
    _, y = of_dtype(far_tail, normal_tail, a)
    return scale_down(fma(y, p, y), k - 1.0)


@inlined
def _normal_tail_by_table(a):
    interval, t = interval_of(a)
    tail = a * polynomial(interval, t, TAIL)
    far = a > splat(a, NEAR)
    if any_true(far):
        tail = select(far, _normal_tail_by_exponential(a), tail)
    return tail


@inlined
def gelu(x):
    """x Φ(x)"""
    return _reflected(x, of_dtype(_normal_tail_by_table, _normal_tail_by_exponential, absolute(x)))


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
def _reflected_slope(dy, x, k, tail):
    """dy f′(x), from f′(−|x|) = 2ᵏ tail"""
    # In two steps, as 2ᵏ may underflow where dy is large. What is subnormal here is rounded twice, on every CPU alike:
    # by powers that are normal numbers, as `scale` itself rounds dy twice without AVX-512.
    one, half = splat(x, 1), rint(k * 0.5)
    below = dy * scale(one, half) * tail * scale(one, k - half)
    return select(x < 0.0, below, dy * fma(-tail, scale(one, k), one))


@inlined
def _gated_slope(dy, x, w, z, correction):
    """dy f′(x) for f(x) = x σ(z(x)), where w = x z′(x): f′(−a) = σ(−z) (1 − w σ(z))"""
    k, p, D = _sigmoid_parts(z, correction)
    inverse = 1.0 / D
    return _reflected_slope(dy, x, -k, fma(-w, 1.0 + p, D) * (inverse * inverse))


@inlined
def silu_vjp(dy, x):
    """dy (x σ(x))′"""
    a = at_most(absolute(x), SILU_LARGEST)
    return _gated_slope(dy, x, a, a, None)


@inlined
def _normal_slope_by_exponential(dy, x):
    a = at_most(absolute(x), GELU_SLOPE_LARGEST)
    k, p = exp_parts_of_product(a, a * -0.5)
    tail, _ = of_dtype(far_tail, normal_tail, a)
    slope = fma(a, splat(x, ROOT_2_OVER_PI), -tail)
    return _reflected_slope(dy, x, k - 1.0, -fma(slope, p, slope))  # Φ(−a) − a φ(a)


@inlined
def _normal_slope_by_table(dy, x):
    a = absolute(x)
    interval, t = interval_of(a)
    slope = polynomial(interval, t, SLOPE)
    dx = dy * select(x < 0.0, slope, 1.0 - slope)
    far = a > splat(a, NEAR)
    if any_true(far):
        dx = select(far, _normal_slope_by_exponential(dy, x), dx)
    return dx


@inlined
def gelu_vjp(dy, x):
    """dy (x Φ(x))′"""
    return of_dtype(_normal_slope_by_table, _normal_slope_by_exponential, dy, x)


@inlined
def gelu_tanh_vjp(dy, x):
    """dy (x σ(2 √(2/π) (x + 0.044715 x³)))′"""
    a = at_most(absolute(x), GELU_TANH_LARGEST)
    z, low = _tanh_argument(a)
    w = a * fma(a * a, splat(x, CUBIC) * 3.0, splat(x, LINEAR))
    return _gated_slope(dy, x, w, z, low)
