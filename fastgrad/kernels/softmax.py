"""The loops of the softmax family, over rows of logits S, probabilities Y and log-probabilities L.

Rows of few classes are worked on a vector of rows at a time (`_short_rows.py`), rows of many a vector of classes at a
time (`_long_rows.py`). Which it is depends on the number of classes alone, so a row has the same bits in any batch.
In both, m is the largest class; gradients are shifted by its entry, so that nothing cancels where Y_m is close to 1.
"""

import numpy as np
from numba import prange

from . import _long_rows as long
from . import _short_rows as short
from ._jit import inlined, kernel
from ._signature import Signature
from ._simd import lanes

SOFTMAX = Signature("S(...,k) -> Y(...,k)", inplace=True)
SOFTMAX_VJP = Signature("dY(...,k) Y(...,k) -> dS(...,k)", inplace=True)
SOFTMAX_JVP = Signature("dS(...,k) Y(...,k) -> dY(...,k)", inplace=True)
SOFTMAX_JACOBIAN = Signature("Y(...,k) -> J(...,k,k)")
LOG_SOFTMAX = Signature("S(...,k) -> L(...,k)", inplace=True)
LOG_SOFTMAX_VJP = Signature("dL(...,k) L(...,k) -> dS(...,k)", inplace=True)
LOG_SOFTMAX_JVP = Signature("dS(...,k) L(...,k) -> dL(...,k)", inplace=True)
LOGSUMEXP = Signature("S(...,k) -> l(...)")

_EXP = 1 / 12  # nanoseconds a byte
_GROUP = 128


@inlined
def is_short(A):
    """Up to 40 classes of float32, 24 of float64: where softmax and its gradient take as long together either way."""
    return A.shape[1] <= 8 + 2 * lanes(A)


@inlined
def share_of(A, part, parts, short_rows):
    """Of the rows of A, those of one part: the first, the one behind the last, how many to work on together, and two
    buffers for those."""
    n, k = A.shape
    together = lanes(A) if short_rows else max(1, _GROUP * lanes(A) // k)
    groups = (n + together - 1) // together if k else 0
    start, stop = groups * part // parts * together, min(n, groups * (part + 1) // parts * together)
    T = np.empty(2 * short.MOST * lanes(A) if short_rows else 3 * together, A.dtype)
    return start, stop, together, T, np.empty(0 if short_rows else together, np.int64)


@kernel(SOFTMAX, cost=_EXP)
def softmax(S, Y, threads):
    """Y[i, j] = exp(S[i, j]) / Σ_c exp(S[i, c])"""
    for part in prange(threads):
        start, stop, together, T, M = share_of(S, np.intp(part), threads, is_short(S))
        for i in range(start, stop, together):
            if is_short(S):
                short.softmax(S, Y, i, T)
            else:
                long.softmax(S, Y, i, min(i + together, stop), T, M)


@kernel(SOFTMAX_VJP, cost=_EXP)
def softmax_product(G, Y, out, accumulate, threads):
    """out[i, j] (+)= Σ_c G[i, c] Y[i, c] (δ_cj − Y[i, j]): the Jacobian is symmetric, so this is vjp and jvp in one"""
    for part in prange(threads):
        start, stop, together, T, M = share_of(Y, np.intp(part), threads, False)
        for i in range(start, stop, together):
            long.softmax_product(G, Y, out, i, min(i + together, stop), T, M, accumulate)


@kernel(SOFTMAX_JACOBIAN, cost=_EXP)
def softmax_jacobian(Y, J, threads):
    """J[r, i, j] = Y[r, i] (δ_ij − Y[r, j])"""
    for r in prange(Y.shape[0] * min(Y.shape[1], 1)):
        long.softmax_jacobian(Y, J, np.intp(r))


@kernel(LOG_SOFTMAX, cost=_EXP)
def log_softmax(S, L, threads):
    """L[i, j] = S[i, j] − log Σ_c exp(S[i, c])"""
    for part in prange(threads):
        start, stop, together, T, M = share_of(S, np.intp(part), threads, is_short(S))
        for i in range(start, stop, together):
            if is_short(S):
                short.log_softmax(S, L, i, T)
            else:
                long.log_softmax(S, L, i, min(i + together, stop), T, M)


@kernel(LOG_SOFTMAX_VJP, cost=_EXP)
def log_softmax_vjp(dL, L, dS, accumulate, threads):
    """dS[i, j] (+)= dL[i, j] − exp(L[i, j]) Σ_c dL[i, c]"""
    for part in prange(threads):
        start, stop, together, T, M = share_of(L, np.intp(part), threads, is_short(L))
        for i in range(start, stop, together):
            if is_short(L):
                short.log_softmax_vjp(dL, L, dS, i, T, accumulate)
            else:
                long.log_softmax_vjp(dL, L, dS, i, min(i + together, stop), T, M, accumulate)


@kernel(LOG_SOFTMAX_JVP, cost=_EXP)
def log_softmax_jvp(dS, L, dL, threads):
    """dL[i, j] = dS[i, j] − Σ_c exp(L[i, c]) dS[i, c]"""
    for part in prange(threads):
        start, stop, together, T, M = share_of(L, np.intp(part), threads, is_short(L))
        for i in range(start, stop, together):
            if is_short(L):
                short.log_softmax_jvp(dS, L, dL, i, T)
            else:
                long.log_softmax_jvp(dS, L, dL, i, min(i + together, stop), T, M)


@kernel(LOGSUMEXP, cost=_EXP)
def logsumexp(S, sums, threads):
    """sums[i] = log Σ_c exp(S[i, c])"""
    if S.shape[1] == 0:
        sums[:] = -np.inf
    for part in prange(threads):
        start, stop, together, T, M = share_of(S, np.intp(part), threads, is_short(S))
        for i in range(start, stop, together):
            if is_short(S):
                short.logsumexp(S, sums, i, T)
            else:
                long.logsumexp(S, sums, i, min(i + together, stop), T, M)
