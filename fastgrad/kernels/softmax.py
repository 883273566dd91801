"""The loops of the softmax family, over rows of logits S, probabilities Y and log-probabilities L.

Rows of few classes are worked on a vector of rows at a time (`_short_rows.py`), rows of many a vector of classes at a
time (`_long_rows.py`, `_long_products.py`). Which it is depends on the number of classes alone, so a row has the same
bits in any batch. In both, m is the largest class; gradients are shifted by its entry, so that nothing cancels where
Y_m is close to 1.

The classes of a row lie `inner` elements apart: 1 along the last axis, else the product of the axes behind. Then a
vector of rows at a time is turned into a buffer, worked on there, and turned back; of the whole array there is no copy.
"""

import numpy as np
from numba import prange

from . import _long_products as products
from . import _long_rows as long
from . import _short_rows as short
from ._arrays import as_rows, borrowed, compact, give_back, separate, some_rows
from ._jit import ARITHMETIC, device, inlined, kernel, several_rows
from ._pack import ceil_div, share
from ._region import settled
from ._signature import Signature
from ._simd import lanes
from ._sums import add_rows
from ._transpose import copy_to_lines, copy_to_rows, to_lines, to_rows

SOFTMAX = Signature("S(...,k) -> Y(...,k)", inplace=True)
SOFTMAX_VJP = Signature("dY(...,k) Y(...,k) -> dS(...,k)", inplace=True)
SOFTMAX_JVP = Signature("dS(...,k) Y(...,k) -> dY(...,k)", inplace=True)
SOFTMAX_JACOBIAN = Signature("Y(...,k) -> J(...,k,k)")
LOG_SOFTMAX = Signature("S(...,k) -> L(...,k)", inplace=True)
LOG_SOFTMAX_VJP = Signature("dL(...,k) L(...,k) -> dS(...,k)", inplace=True)
LOG_SOFTMAX_JVP = Signature("dS(...,k) L(...,k) -> dL(...,k)", inplace=True)
LOGSUMEXP = Signature("S(...,k) -> l(...)")

_EXP, _PRODUCT = ARITHMETIC / 12, ARITHMETIC / 18  # nanoseconds a byte
_WORKSPACE = 2**24  # bytes for rows that are turned, over all threads
# Vectors of long rows that are worked on together, so that none waits for the one before: of two arrays, half of the
# fastest cache. A vjp that works on one row already looks at the next.
_GROUP, _ROWS_AHEAD = 128, 16


@inlined
def _in_cache(A):
    """How many long rows are worked on together."""
    return max(1, _GROUP * lanes(A) // max(A.shape[1], 1))


@inlined
def _short_for_logs(A):
    """Up to 63 classes of float32, 31 of float64: where log_softmax takes as long either way."""
    return A.shape[1] < 4 * lanes(A)


@inlined
def _cut(A, many, short_rows, apart, parts):
    """How many rows are worked on together: a vector of short ones, `many` long ones; a vector of those that are worked
    out `apart`, in a room of their own, which is so many elements for each of three arrays."""
    (n, k), L = A.shape, lanes(A)
    together = L if short_rows else max(1, min(many, ceil_div(n, parts)))
    if apart:
        together = max(1, min(L, _WORKSPACE // max(3 * parts * k * A.itemsize, 1)))
    return together, short_rows, apart, together * k if apart else 0


@inlined
def _put_back(result, out, start, accumulate, inner, room):
    """Rows of out, from the first on, (+)= result"""
    count, k = result.shape
    if accumulate:
        so_far = some_rows(out, start, start + count)
        if inner != 1:
            so_far = as_rows(room, count, k)
            turn(out, start, inner, so_far, False)
        add_rows(result, so_far)
        result = so_far
    if inner != 1:
        turn(out, start, inner, result, True)


@inlined
def _work(rows, cut, inputs, A, B, out, accumulate, inner, rooms, part, parts):
    """rows(A, B, out, start, stop, T, M) on one part of the rows, a few at a time, where T and M have room for a few
    numbers and places for each. The classes of a row lie `inner` elements apart. One input stands for B, too.

    What is added to `out` is worked out apart: to ask in each row would take a quarter of the time of short ones.
    """
    (n, k), L = A.shape, lanes(A)
    together, short_rows, apart, turned = cut
    T = borrowed(A, 2 * short.MOST * L if short_rows else 3 * together)
    M = borrowed(np.int64, 0 if short_rows else together)
    own = some_rows(rooms, part * 3 * turned, (part + 1) * 3 * turned)
    a, b, result = A, B, out
    at_once = together if apart or short_rows else 1  # that no two parts have rows of
    start, stop = share(ceil_div(n, at_once) if k else 0, part, parts)
    end = min(stop * at_once, n)
    for first_row in range(start * at_once, end, together):
        i = first_row
        count = min(together, end - i)
        if apart:
            i, a, b = 0, some_rows(A, first_row, first_row + count), some_rows(B, first_row, first_row + count)
            if inner != 1:
                a = b = as_rows(own, count, k)
                turn(A, first_row, inner, a, False)
                if inputs > 1:
                    b = as_rows(some_rows(own, turned, 3 * turned), count, k)
                    turn(B, first_row, inner, b, False)
            if out.ndim == 1:
                result = some_rows(out, first_row, n)
            else:
                result = as_rows(some_rows(own, 2 * turned, 3 * turned), count, k)
        rows(a, b, result, i, i + count, T, M)
        if out.ndim > 1 and apart:
            _put_back(result, out, first_row, accumulate, inner, own)
    give_back(T)
    give_back(M)


@device
def turn(A, start, inner, rows, back):
    """rows[r, c] = element c of row start + r of A, whose rows are `inner` side by side; or `back` into A"""
    compact()
    separate()
    (count, k), L = rows.shape, lanes(A)
    r = 0
    while r < count:
        outer, i = (start + r) // inner, (start + r) % inner
        some, at = min(inner - i, count - r), outer * k * inner + i
        if some == L:
            if back:
                to_lines(rows, r * k, k, L, A, at, inner)
            else:
                to_rows(A, at, inner, rows, r * k, k, L)
        elif back:
            copy_to_lines(rows, r * k, k, some, A, at, inner)
        else:
            copy_to_rows(A, at, inner, rows, r * k, k, some)
        r += some


@inlined
def _short_for_softmax(S):
    """Up to 32 classes of float32, 16 of float64: of a few more, a row fits into registers."""
    return S.shape[1] <= 2 * lanes(S)


@inlined
def _softmax(S, _, Y, start, stop, T, M):
    if _short_for_softmax(S):
        short.softmax(S, Y, start, T)
    else:
        long.softmax(S, Y, start, stop, T, M)


@kernel(SOFTMAX, cost=_EXP, divides=several_rows, options=(int,))
def softmax(S, Y, inner, threads):
    """Y[i, j] = exp(S[i, j]) / Σ_c exp(S[i, c])"""
    cut = _cut(S, _in_cache(S), _short_for_softmax(S), inner != 1, threads)
    rooms = borrowed(S, threads * 3 * cut[-1])
    for part in prange(threads):
        _work(_softmax, cut, 1, S, S, Y, False, inner, rooms, settled(part), threads)
    give_back(rooms)


@inlined
def _short_for_product(Y):
    """Less than a vector of classes: there are two arrays to turn, and little to compute. 20 to 64 classes of float32
    would take 1.1 to 1.7 times as long."""
    return Y.shape[1] < lanes(Y)


@inlined
def _softmax_product(G, Y, out, start, stop, T, M):
    if _short_for_product(Y):
        short.softmax_product(G, Y, out, start, T)
    else:
        products.softmax_product(G, Y, out, start, stop, T)


@kernel(SOFTMAX_VJP, cost=_PRODUCT, divides=several_rows, options=(bool, int))
def softmax_product(G, Y, out, accumulate, inner, threads):
    """out[i, j] (+)= Σ_c G[i, c] Y[i, c] (δ_cj − Y[i, j]): the Jacobian is symmetric, so this is vjp and jvp in one"""
    many = _in_cache(Y) if products.are_together(Y) else _ROWS_AHEAD
    cut = _cut(Y, many, _short_for_product(Y), accumulate or inner != 1, threads)
    rooms = borrowed(Y, threads * 3 * cut[-1])
    for part in prange(threads):
        _work(_softmax_product, cut, 2, G, Y, out, accumulate, inner, rooms, settled(part), threads)
    give_back(rooms)


@kernel(SOFTMAX_JACOBIAN, cost=_PRODUCT)
def softmax_jacobian(Y, J, threads):
    """J[r, i, j] = Y[r, i] (δ_ij − Y[r, j])"""
    for r in prange(Y.shape[0] * min(Y.shape[1], 1)):
        long.softmax_jacobian(Y, J, settled(r))


@inlined
def _log_softmax(S, _, L, start, stop, T, M):
    if _short_for_logs(S):
        short.log_softmax(S, L, start, T)
    else:
        long.log_softmax(S, L, start, stop, T, M)


@kernel(LOG_SOFTMAX, cost=_EXP, divides=several_rows, options=(int,))
def log_softmax(S, L, inner, threads):
    """L[i, j] = S[i, j] − log Σ_c exp(S[i, c])"""
    cut = _cut(S, _in_cache(S), _short_for_logs(S), inner != 1, threads)
    rooms = borrowed(S, threads * 3 * cut[-1])
    for part in prange(threads):
        _work(_log_softmax, cut, 1, S, S, L, False, inner, rooms, settled(part), threads)
    give_back(rooms)


@inlined
def _log_softmax_vjp(dL, L, dS, start, stop, T, M):
    if _short_for_product(L):
        short.log_softmax_vjp(dL, L, dS, start, T)
    else:
        long.log_softmax_vjp(dL, L, dS, start, stop, T, M)


@kernel(LOG_SOFTMAX_VJP, cost=_EXP, divides=several_rows, options=(bool, int))
def log_softmax_vjp(dL, L, dS, accumulate, inner, threads):
    """dS[i, j] (+)= dL[i, j] − exp(L[i, j]) Σ_c dL[i, c]"""
    cut = _cut(L, _in_cache(L), _short_for_product(L), accumulate or inner != 1, threads)
    rooms = borrowed(L, threads * 3 * cut[-1])
    for part in prange(threads):
        _work(_log_softmax_vjp, cut, 2, dL, L, dS, accumulate, inner, rooms, settled(part), threads)
    give_back(rooms)


@inlined
def _log_softmax_jvp(dS, L, dL, start, stop, T, M):
    if _short_for_softmax(L):
        short.log_softmax_jvp(dS, L, dL, start, T)
    else:
        long.log_softmax_jvp(dS, L, dL, start, stop, T, M)


@kernel(LOG_SOFTMAX_JVP, cost=_EXP, divides=several_rows, options=(int,))
def log_softmax_jvp(dS, L, dL, inner, threads):
    """dL[i, j] = dS[i, j] − Σ_c exp(L[i, c]) dS[i, c]"""
    cut = _cut(L, _in_cache(L), _short_for_softmax(L), inner != 1, threads)
    rooms = borrowed(L, threads * 3 * cut[-1])
    for part in prange(threads):
        _work(_log_softmax_jvp, cut, 2, dS, L, dL, False, inner, rooms, settled(part), threads)
    give_back(rooms)


@inlined
def _logsumexp(S, _, sums, start, stop, T, M):
    if _short_for_logs(S):
        short.logsumexp(S, sums, start, T)
    else:
        long.logsumexp(S, sums, start, stop, T, M)


@kernel(LOGSUMEXP, cost=_EXP, divides=several_rows, options=(int,))
def logsumexp(S, sums, inner, threads):
    """sums[i] = log Σ_c exp(S[i, c])"""
    if S.shape[1] == 0:
        sums[:] = -np.inf
    cut = _cut(S, _in_cache(S), _short_for_logs(S), inner != 1, threads)
    rooms = borrowed(S, threads * 3 * cut[-1])
    for part in prange(threads):
        _work(_logsumexp, cut, 1, S, S, sums, False, inner, rooms, settled(part), threads)
    give_back(rooms)
