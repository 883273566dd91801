"""The softmax family along one row of many classes, a vector of classes at a time."""

import numpy as np

from ._jit import device, inlined
from ._math import INFINITY, exp, expm1, log1p
from ._simd import compact, load_masked, select, splat, store_masked
from ._sums import along_row, is_element, omit, row_argmax, row_max, row_total, scalar


@inlined
def _exp_into(data, j, inside):
    S, Y, i, largest = data
    e = exp(load_masked(S, (i, j), inside, -splat(S, INFINITY)) - largest)
    store_masked(Y, (i, j), e, inside)
    return e


@inlined
def _times(data, j, inside):
    Y, i, factor = data
    store_masked(Y, (i, j), load_masked(Y, (i, j), inside, factor) * factor, inside)


@device
def softmax(S, Y, i):
    """Y[i, j] = exp(S[i, j] − S_m) / Σ_c exp(S[i, c] − S_m)"""
    compact()
    k = S.shape[1]
    largest = splat(S, row_max(S, i))
    inverse = splat(S, 1) / splat(S, row_total(_exp_into, (S, Y, i, largest), k))
    along_row(_times, (Y, i, inverse), k)


@inlined
def _weighted_shift(data, j, inside):
    G, Y, i, shift = data
    return load_masked(Y, (i, j), inside, splat(Y, 0)) * (load_masked(G, (i, j), inside, shift) - shift)


@inlined
def _times_shifted(data, j, inside):
    G, Y, out, i, shift, mean, accumulate = data
    zeros = splat(Y, 0)
    h = load_masked(G, (i, j), inside, zeros) - shift
    value = load_masked(Y, (i, j), inside, zeros) * (h - mean)
    if accumulate:
        value = load_masked(out, (i, j), inside, zeros) + value
    store_masked(out, (i, j), value, inside)


@device
def softmax_product(G, Y, out, i, accumulate):
    """out[i, j] (+)= Y_j (h_j − Σ_c Y_c h_c) with h = G − G_m"""
    compact()
    k = Y.shape[1]
    shift = splat(G, G[i, row_argmax(Y, i)])
    mean = splat(G, row_total(_weighted_shift, (G, Y, i, shift), k))
    along_row(_times_shifted, (G, Y, out, i, shift, mean, accumulate), k)


@inlined
def _others(data, j, inside):
    A, i, m = data
    return omit(load_masked(A, (i, j), inside, splat(A, 0)), j, m)


@device
def softmax_jacobian(Y, J, r):
    """J[r, i, j] = Y[r, i] (δ_ij − Y[r, j]), where 1 − Y[r, m] is the sum of the others"""
    compact()
    k = Y.shape[1]
    m = row_argmax(Y, r)
    rest = row_total(_others, (Y, r, m), k)
    for i in range(k):
        for j in range(k):
            J[r, i, j] = -(Y[r, i] * Y[r, j])
        J[r, i, i] = Y[r, i] * (rest if i == m else 1 - Y[r, i])


@inlined
def _other_exps(data, j, inside):
    S, i, m, largest = data
    return omit(exp(load_masked(S, (i, j), inside, -splat(S, INFINITY)) - largest), j, m)


@inlined
def _log_rest(S, i, m):
    """log Σ_c exp(S[i, c] − S_m), the largest term outside: log1p(Σ_{c≠m} exp(S[i, c] − S_m))"""
    return scalar(log1p, S, row_total(_other_exps, (S, i, m, splat(S, S[i, m])), S.shape[1]))


@inlined
def _minus_both(data, j, inside):
    A, out, i, one, other = data
    store_masked(out, (i, j), (load_masked(A, (i, j), inside, one) - one) - other, inside)


@device
def log_softmax(S, L, i):
    """L[i, j] = (S[i, j] − S_m) − log Σ_c exp(S[i, c] − S_m)"""
    compact()
    k = S.shape[1]
    m = row_argmax(S, i)
    largest = splat(S, S[i, m])
    rest = splat(S, _log_rest(S, i, m)) + (largest - largest)  # S_m − S_m: an infinite S_m makes the row NaN
    along_row(_minus_both, (S, L, i, largest, rest), k)


@inlined
def _minus_exp_times(data, j, inside):
    dL, L, dS, i, m, at_m, total, accumulate = data
    zeros = splat(L, 0)
    value = load_masked(dL, (i, j), inside, zeros) - exp(load_masked(L, (i, j), inside, zeros)) * total
    value = select(is_element(L, j, m), at_m, value)
    if accumulate:
        value = load_masked(dS, (i, j), inside, zeros) + value
    store_masked(dS, (i, j), value, inside)


@device
def log_softmax_vjp(dL, L, dS, i, accumulate):
    """dS[i, j] (+)= dL_j − exp(L_j) Σ_c dL_c; at m as dL_m (1 − exp L_m) − exp(L_m) Σ_{c≠m} dL_c"""
    compact()
    k = L.shape[1]
    m = row_argmax(L, i)
    others = row_total(_others, (dL, i, m), k)
    largest = dL[i, m]
    at_m = splat(L, -largest * scalar(expm1, L, L[i, m]) - scalar(exp, L, L[i, m]) * others)
    total = splat(L, others + largest)
    along_row(_minus_exp_times, (dL, L, dS, i, m, at_m, total, accumulate), k)


@inlined
def _exp_weighted_shift(data, j, inside):
    dS, L, i, shift = data
    p = exp(load_masked(L, (i, j), inside, -splat(L, INFINITY)))
    return p * (load_masked(dS, (i, j), inside, shift) - shift)


@device
def log_softmax_jvp(dS, L, dL, i):
    """dL[i, j] = h_j − Σ_c exp(L_c) h_c with h = dS − dS_m"""
    compact()
    k = L.shape[1]
    shift = splat(L, dS[i, row_argmax(L, i)])
    mean = splat(L, row_total(_exp_weighted_shift, (dS, L, i, shift), k))
    along_row(_minus_both, (dS, dL, i, shift, mean), k)


@inlined
def _nan_alone(data, j, inside):
    S, i = data
    zeros = splat(S, 0)
    x = load_masked(S, (i, j), inside, zeros)
    return select(x == x, zeros, x)


@device
def logsumexp(S, sums, i):
    """sums[i] = S_m + log Σ_c exp(S[i, c] − S_m); an infinite S_m is the answer itself"""
    compact()
    m = row_argmax(S, i)
    if np.isinf(S[i, m]):
        sums[i] = S[i, m] + row_total(_nan_alone, (S, i), S.shape[1])
    else:
        sums[i] = S[i, m] + _log_rest(S, i, m)
