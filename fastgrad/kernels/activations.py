"""The activations and their gradients, element by element over arrays that are seen as one axis."""

from numba import prange

from . import _gated, _math, _tanh
from ._jit import ARITHMETIC, inlined, kernel
from ._loads import load_masked, past_line, store, store_masked
from ._pack import ceil_div, share
from ._region import settled
from ._signature import Signature
from ._simd import first, fma, lanes, select, splat
from ._vec import PAIR

FORWARD = Signature("X(...) -> Y(...)", inplace=True)
VJP_OF_OUTPUT = Signature("dY(...) Y(...) -> dX(...)", inplace=True)
VJP_OF_INPUT = Signature("dY(...) X(...) -> dX(...)", inplace=True)

_EXP = ARITHMETIC / 8  # nanoseconds a byte


@inlined
def _part_of(A, part, parts):
    """Where one of several equal parts starts and stops: at whole pairs of vectors."""
    pair = 2 * lanes(A)
    start, stop = share(ceil_div(A.size, pair), part, parts)
    return start * pair, min(A.size, stop * pair)


@inlined
def _edges(Y, start, stop):
    """Where pairs of whole vectors of a part of Y begin, at a line of the cache, for what is stored over two of them
    takes twice as long; where they end; and where the loop over single vectors begins that is to work out what is left:
    those behind them and, if there is anything before them, one more."""
    L = lanes(Y)
    begin = min(stop, start + (L - past_line(Y, start)) % L)
    end = stop - (stop - begin) % (2 * L)
    return begin, end, end - L if begin > start else end


@inlined
def _each(function, X, Y, part, parts):
    """Y[i] = function(X[i]) over one part"""
    L, zeros = lanes(X), splat(X, 0)
    start, stop = _part_of(X, part, parts)
    begin, end, rest = _edges(Y, start, stop)
    for i in range(begin, end, 2 * L):
        store(Y, i, function(load_masked(X, i, PAIR, zeros)))
    for j in range(rest, stop, L):
        i, inside = (j, first(X, stop - j)) if j >= end else (start, first(X, begin - start))
        store_masked(Y, i, function(load_masked(X, i, inside, zeros)), inside)


@inlined
def _each_pair(function, dY, A, dX, part, parts):
    """dX[i] = function(dY[i], A[i]) over one part"""
    L, zeros = lanes(A), splat(A, 0)
    start, stop = _part_of(A, part, parts)
    begin, end, rest = _edges(dX, start, stop)
    for i in range(begin, end, 2 * L):
        store(dX, i, function(load_masked(dY, i, PAIR, zeros), load_masked(A, i, PAIR, zeros)))
    for j in range(rest, stop, L):
        i, inside = (j, first(A, stop - j)) if j >= end else (start, first(A, begin - start))
        value = function(load_masked(dY, i, inside, zeros), load_masked(A, i, inside, zeros))
        store_masked(dX, i, value, inside)


# --- forward ---------------------------------------------------------------------------------------------------------


@inlined
def _relu(x):
    return select(x <= 0.0, splat(x, 0), x)


@kernel(FORWARD, cost=0)
def relu(X, Y, threads):
    """Y[i] = max(X[i], 0)"""
    for part in prange(threads):
        _each(_relu, X, Y, settled(part), threads)


@kernel(FORWARD, cost=_EXP)
def sigmoid(X, Y, threads):
    """Y[i] = 1 / (1 + exp(−X[i]))"""
    for part in prange(threads):
        _each(_math.sigmoid, X, Y, settled(part), threads)


@kernel(FORWARD, cost=_EXP)
def tanh(X, Y, threads):
    """Y[i] = tanh X[i]"""
    for part in prange(threads):
        _each(_tanh.tanh, X, Y, settled(part), threads)


@kernel(FORWARD, cost=_EXP)
def silu(X, Y, threads):
    """Y[i] = X[i] σ(X[i])"""
    for part in prange(threads):
        _each(_gated.silu, X, Y, settled(part), threads)


@kernel(FORWARD, cost=_EXP)
def gelu(X, Y, threads):
    """Y[i] = X[i] Φ(X[i])"""
    for part in prange(threads):
        _each(_gated.gelu, X, Y, settled(part), threads)


@kernel(FORWARD, cost=_EXP)
def gelu_tanh(X, Y, threads):
    """Y[i] = X[i] σ(2 √(2/π) (X[i] + 0.044715 X[i]³))"""
    for part in prange(threads):
        _each(_gated.gelu_tanh, X, Y, settled(part), threads)


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


@kernel(VJP_OF_OUTPUT, cost=0)
def relu_vjp(dY, Y, dX, threads):
    """dX[i] = dY[i] where Y[i] > 0, else 0"""
    for part in prange(threads):
        _each_pair(_relu_vjp, dY, Y, dX, settled(part), threads)


@kernel(VJP_OF_OUTPUT, cost=0)
def sigmoid_vjp(dY, Y, dX, threads):
    """dX[i] = dY[i] Y[i] (1 − Y[i])"""
    for part in prange(threads):
        _each_pair(_sigmoid_vjp, dY, Y, dX, settled(part), threads)


@kernel(VJP_OF_OUTPUT, cost=0)
def tanh_vjp(dY, Y, dX, threads):
    """dX[i] = dY[i] (1 − Y[i]²)"""
    for part in prange(threads):
        _each_pair(_tanh_vjp, dY, Y, dX, settled(part), threads)


@kernel(VJP_OF_INPUT, cost=_EXP)
def silu_vjp(dY, X, dX, threads):
    """dX[i] = dY[i] σ(X[i]) (1 + X[i] (1 − σ(X[i])))"""
    for part in prange(threads):
        _each_pair(_gated.silu_vjp, dY, X, dX, settled(part), threads)


@kernel(VJP_OF_INPUT, cost=_EXP)
def gelu_vjp(dY, X, dX, threads):
    """dX[i] = dY[i] (Φ(X[i]) + X[i] φ(X[i]))"""
    for part in prange(threads):
        _each_pair(_gated.gelu_vjp, dY, X, dX, settled(part), threads)


@kernel(VJP_OF_INPUT, cost=_EXP)
def gelu_tanh_vjp(dY, X, dX, threads):
    """dX[i] = dY[i] σ(z) (1 + X[i] z′ (1 − σ(z))) with z = 2 √(2/π) (X[i] + 0.044715 X[i]³)"""
    for part in prange(threads):
        _each_pair(_gated.gelu_tanh_vjp, dY, X, dX, settled(part), threads)
