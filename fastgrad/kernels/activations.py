"""The activations and their gradients, element by element over arrays that are seen as one axis.

silu and gelu are x σ(z(x)) and x Φ(x). Both are formed on the side of −|x|, where they are small, without any
cancellation, and reflected: f(x) = x + f(−x), so f′(x) = 1 − f′(−x). There they are a product 2ᵏ y with y of ordinary
size, so that in the far tail nothing is lost before the last multiplication by 2ᵏ.
"""

import numpy as np
from numba import prange

from ._jit import ARITHMETIC, inlined, kernel
from ._loads import load_masked, store, store_masked
from ._math import at_most, exp_parts_of_product, normal_tail, sigmoid_parts
from ._math import sigmoid as _sigmoid
from ._pack import ceil_div, share
from ._scale import scale, scale_down
from ._signature import Signature
from ._simd import absolute, first, fma, lanes, rint, select, splat
from ._tanh import tanh as _tanh
from ._vec import PAIR, Constant

FORWARD = Signature("X(...) -> Y(...)", inplace=True)
VJP_OF_OUTPUT = Signature("dY(...) Y(...) -> dX(...)", inplace=True)
VJP_OF_INPUT = Signature("dY(...) X(...) -> dX(...)", inplace=True)

_EXP = ARITHMETIC / 8  # nanoseconds a byte

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
def _part_of(A, part, parts):
    """Where one of several equal parts starts and stops: at whole pairs of vectors."""
    pair = 2 * lanes(A)
    start, stop = share(ceil_div(A.size, pair), part, parts)
    return start * pair, min(A.size, stop * pair)


@inlined
def _each(function, X, Y, part, parts):
    """Y[i] = function(X[i]) over one part"""
    L = lanes(X)
    start, stop = _part_of(X, part, parts)
    whole = stop - (stop - start) % (2 * L)
    for i in range(start, whole, 2 * L):
        store(Y, i, function(load_masked(X, i, PAIR, splat(X, 0))))
    for i in range(whole, stop, L):
        inside = first(X, stop - i)
        store_masked(Y, i, function(load_masked(X, i, inside, splat(X, 0))), inside)


@inlined
def _each_pair(function, dY, A, dX, part, parts):
    """dX[i] = function(dY[i], A[i]) over one part"""
    L, zeros = lanes(A), splat(A, 0)
    start, stop = _part_of(A, part, parts)
    whole = stop - (stop - start) % (2 * L)
    for i in range(start, whole, 2 * L):
        store(dX, i, function(load_masked(dY, i, PAIR, zeros), load_masked(A, i, PAIR, zeros)))
    for i in range(whole, stop, L):
        inside = first(A, stop - i)
        value = function(load_masked(dY, i, inside, zeros), load_masked(A, i, inside, zeros))
        store_masked(dX, i, value, inside)


# --- forward ---------------------------------------------------------------------------------------------------------


@inlined
def _relu(x):
    return select(x <= 0.0, splat(x, 0), x)


@inlined
def _gated_tail(a, z, correction):
    """a σ(−z − correction)"""
    k, _, D = sigmoid_parts(z, correction)
    return scale(a / D, -k)


@inlined
def _reflected(x, tail):
    """f(x) from its tail −f(−|x|)"""
    return select(x < 0.0, -tail, x - tail)  # −0 where the tail underflows


@inlined
def _silu(x):
    a = at_most(absolute(x), SILU_LARGEST)
    return _reflected(x, _gated_tail(a, a, None))


@inlined
def _gelu(x):
    a = at_most(absolute(x), GELU_LARGEST)
    k, p = exp_parts_of_product(a, a * -0.5)
    _, y = normal_tail(a)
    return _reflected(x, scale_down(fma(y, p, y), k - 1.0))


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
def _gelu_tanh(x):
    a = at_most(absolute(x), GELU_TANH_LARGEST)
    z, low = _tanh_argument(a)
    return _reflected(x, _gated_tail(a, z, low))


@kernel(FORWARD, cost=0)
def relu(X, Y, threads):
    """Y[i] = max(X[i], 0)"""
    for part in prange(threads):
        _each(_relu, X, Y, np.intp(part), threads)


@kernel(FORWARD, cost=_EXP)
def sigmoid(X, Y, threads):
    """Y[i] = 1 / (1 + exp(−X[i]))"""
    for part in prange(threads):
        _each(_sigmoid, X, Y, np.intp(part), threads)


@kernel(FORWARD, cost=_EXP)
def tanh(X, Y, threads):
    """Y[i] = tanh X[i]"""
    for part in prange(threads):
        _each(_tanh, X, Y, np.intp(part), threads)


@kernel(FORWARD, cost=_EXP)
def silu(X, Y, threads):
    """Y[i] = X[i] σ(X[i])"""
    for part in prange(threads):
        _each(_silu, X, Y, np.intp(part), threads)


@kernel(FORWARD, cost=_EXP)
def gelu(X, Y, threads):
    """Y[i] = X[i] Φ(X[i])"""
    for part in prange(threads):
        _each(_gelu, X, Y, np.intp(part), threads)


@kernel(FORWARD, cost=_EXP)
def gelu_tanh(X, Y, threads):
    """Y[i] = X[i] σ(2 √(2/π) (X[i] + 0.044715 X[i]³))"""
    for part in prange(threads):
        _each(_gelu_tanh, X, Y, np.intp(part), threads)


# --- backward --------------------------------------------------------------------------------------------------------


@inlined
def _relu_vjp(dy, y):
    return select(y > 0.0, dy, select(y <= 0.0, splat(y, 0), y))


@inlined
def _sigmoid_vjp(dy, y):
    return dy * (1.0 - y) * y


@inlined
def _tanh_vjp(dy, y):
    return dy * fma(-y, y, splat(y, 1))


@inlined
def _reflected_slope(dy, x, k, tail):
    """dy f′(x), from f′(−|x|) = 2ᵏ tail"""
    # In two steps, as 2ᵏ may underflow where dy is large. What is subnormal here is rounded twice, on every CPU alike.
    half = rint(k * 0.5)
    part, rest = scale(tail, half), scale(splat(x, 1), k - half)
    return select(x < 0.0, dy * part * rest, dy * (1.0 - part * rest))


@inlined
def _gated_slope(dy, x, w, z, correction):
    """dy f′(x) for f(x) = x σ(z(x)), where w = x z′(x): f′(−a) = σ(−z) (1 − w σ(z))"""
    k, p, D = sigmoid_parts(z, correction)
    inverse = 1.0 / D
    return _reflected_slope(dy, x, -k, fma(-w, (1.0 + p) * inverse, splat(x, 1)) * inverse)


@inlined
def _silu_vjp(dy, x):
    a = at_most(absolute(x), SILU_LARGEST)
    return _gated_slope(dy, x, a, a, None)


@inlined
def _gelu_vjp(dy, x):
    a = at_most(absolute(x), GELU_SLOPE_LARGEST)
    k, p = exp_parts_of_product(a, a * -0.5)
    tail, _ = normal_tail(a)
    slope = fma(a, splat(x, ROOT_2_OVER_PI), -tail)
    return _reflected_slope(dy, x, k - 1.0, -fma(slope, p, slope))  # Φ(−a) − a φ(a)


@inlined
def _gelu_tanh_vjp(dy, x):
    a = at_most(absolute(x), GELU_TANH_LARGEST)
    z, low = _tanh_argument(a)
    w = a * fma(a * a, splat(x, CUBIC) * 3.0, splat(x, LINEAR))
    return _gated_slope(dy, x, w, z, low)


@kernel(VJP_OF_OUTPUT, cost=0)
def relu_vjp(dY, Y, dX, threads):
    """dX[i] = dY[i] where Y[i] > 0, else 0"""
    for part in prange(threads):
        _each_pair(_relu_vjp, dY, Y, dX, np.intp(part), threads)


@kernel(VJP_OF_OUTPUT, cost=0)
def sigmoid_vjp(dY, Y, dX, threads):
    """dX[i] = dY[i] Y[i] (1 − Y[i])"""
    for part in prange(threads):
        _each_pair(_sigmoid_vjp, dY, Y, dX, np.intp(part), threads)


@kernel(VJP_OF_OUTPUT, cost=0)
def tanh_vjp(dY, Y, dX, threads):
    """dX[i] = dY[i] (1 − Y[i]²)"""
    for part in prange(threads):
        _each_pair(_tanh_vjp, dY, Y, dX, np.intp(part), threads)


@kernel(VJP_OF_INPUT, cost=_EXP)
def silu_vjp(dY, X, dX, threads):
    """dX[i] = dY[i] σ(X[i]) (1 + X[i] (1 − σ(X[i])))"""
    for part in prange(threads):
        _each_pair(_silu_vjp, dY, X, dX, np.intp(part), threads)


@kernel(VJP_OF_INPUT, cost=_EXP)
def gelu_vjp(dY, X, dX, threads):
    """dX[i] = dY[i] (Φ(X[i]) + X[i] φ(X[i]))"""
    for part in prange(threads):
        _each_pair(_gelu_vjp, dY, X, dX, np.intp(part), threads)


@kernel(VJP_OF_INPUT, cost=_EXP)
def gelu_tanh_vjp(dY, X, dX, threads):
    """dX[i] = dY[i] σ(z) (1 + X[i] z′ (1 − σ(z))) with z = 2 √(2/π) (X[i] + 0.044715 X[i]³)"""
    for part in prange(threads):
        _each_pair(_gelu_tanh_vjp, dY, X, dX, np.intp(part), threads)
