"""The softmax family on rows of many classes, a vector of classes at a time.

A few rows are taken together through each pass, so that none waits for the sum or maximum of the one before, and what
is one number a row is worked out for a vector of them. T holds such numbers, M classes; no bit depends on how many rows
there are.
"""

import numpy as np

from ._across import first_true, lane_max, lane_sum, place_of_largest, vector_dot, vector_max, vector_sum
from ._arrays import compact, flat
from ._fetch import are_fetched, fetch, later_row, row_ahead
from ._jit import device, inlined
from ._loads import element, load_masked, store_masked
from ._math import INFINITY, exp, exp_of_difference, expm1, log1p
from ._simd import first, first_of, fma, kept, lanes, select, splat
from ._sums import along_row, omit, row_argmax, row_max, row_total, row_totals, times
from ._vec import NONE, PAIR, Times

# How many vectors a row takes: a power of two, of which so many are whole, and others empty.
TWO, THREE, FOUR = Times(2, 1), Times(4, 2, 3), Times(4, 3)
SIX, SEVEN_OR_EIGHT = Times(8, 4, 6), Times(8, 6)


@inlined
def row_exp(S, i, j, inside, largest):
    """exp(S[i, j] − S_m), and 1 behind the last class: exp(−∞) would underflow, which takes some CPUs 50 cycles."""
    return exp_of_difference(load_masked(S, (i, j), inside, largest) - largest)


@inlined
def row_total_fetching(add, row, i, together):
    """`row_total` of add(total, (*row, vectors, later), j, mask), which fetches so many vectors of a later row than i,
    of so many that are taken together; none where row[0] is not fetched: to fetch what is at hand, too, would take up
    to a tenth longer."""
    k = row[0].shape[1]
    if are_fetched(row[0]):
        return row_total(add, (*row, PAIR, row_ahead(row[0], i, together)), k)
    return row_total(add, (*row, NONE, i), k)


@inlined
def _add_exp_into(total, data, j, inside):
    S, Y, i, largest, later = data  # fetched, where it is at hand, too: of two loops, AVX2 would take a tenth longer
    fetch(PAIR, (S, Y), later, j)
    e = row_exp(S, i, j, inside, largest)
    store_masked(Y, (i, j), e, inside)
    return total + kept(e, inside)


@inlined
def _softmax_of_few(vectors, S, Y, start, stop, T):
    """softmax for rows of so many vectors at most, without a pass to memory in between: half to two thirds of the time.
    The order of the sum is that of longer rows."""
    lowest, inside = -splat(S, INFINITY), first_of(vectors, S, S.shape[1])
    fetched = are_fetched(S)
    for i in range(start, stop):
        if fetched:
            fetch(vectors, (S, Y), row_ahead(S, i, 1), 0)
        largest = splat(S, lane_max(vector_max(vectors, load_masked(S, (i, 0), inside, lowest))))
        e = kept(row_exp(S, i, 0, inside, largest), inside)
        inverse = 1 / lane_sum(vector_sum(vectors, e))
        store_masked(Y, (i, 0), e * splat(S, inverse), inside)


@inlined
def _softmax_of_many(S, Y, start, stop, T):
    k = S.shape[1]
    for i in range(start, stop):
        T[i - start] = row_max(S, i)
    for i in range(start, stop):
        later = later_row(S, i, stop - start)
        T[i - start] = 1 / row_total(_add_exp_into, (S, Y, i, splat(S, T[i - start]), later), k)
    for i in range(start, stop):
        along_row(times, (Y, i, splat(S, T[i - start])), Y, i)


@inlined
def _by_width(of_few, of_many, data, k, L):
    """of_few(vectors, *data) for rows of three to eight vectors, of_many(*data) for longer ones."""
    if k <= 3 * L:
        of_few(THREE, *data)
    elif k <= 4 * L:
        of_few(FOUR, *data)
    elif k <= 6 * L:
        of_few(SIX, *data)
    elif k <= 8 * L:
        of_few(SEVEN_OR_EIGHT, *data)
    else:
        of_many(*data)


@device
def softmax(S, Y, start, stop, T, M):
    """Y[i, j] = exp(S[i, j] − S_m) / Σ_c exp(S[i, c] − S_m)"""
    compact()
    _by_width(_softmax_of_few, _softmax_of_many, (S, Y, start, stop, T), S.shape[1], lanes(S))


@inlined
def _add_other(total, data, j, inside):
    A, i, m = data
    return total + omit(load_masked(A, (i, j), inside, splat(A, 0)), j, m)


@device
def softmax_jacobian(Y, J, r):
    """J[r, i, j] = Y[r, i] (δ_ij − Y[r, j]), where 1 − Y[r, m] is the sum of the others"""
    compact()
    k = Y.shape[1]
    m = row_argmax(Y, r)
    rest = row_total(_add_other, (Y, r, m), k)
    for i in range(k):
        for j in range(k):
            J[r, i, j] = -(Y[r, i] * Y[r, j])
        J[r, i, i] = Y[r, i] * (rest if i == m else 1 - Y[r, i])


@inlined
def add_other_exp(total, data, j, inside):
    S, i, m, largest, arrays, fetched, later = data
    fetch(fetched, arrays, later, j)
    return total + kept(omit(row_exp(S, i, j, inside, largest), j, m), inside)


@inlined
def _log_rests(arrays, S, start, count, T, M):
    """T[r] = S_m and T[count + r] = log Σ_c exp(S_c − S_m), the largest term outside: log1p(Σ_{c≠m} exp(S_c − S_m))"""
    for r in range(count):
        M[r] = row_argmax(S, start + r)
        T[r] = element(S, (start + r, M[r]))
    for r in range(count):
        i = start + r
        T[count + r] = row_total_fetching(add_other_exp, (S, i, M[r], splat(S, T[r]), arrays), i, count)
    for r in range(0, count, lanes(T)):
        inside = first(T, count - r)
        store_masked(T, count + r, log1p(load_masked(T, count + r, inside, splat(T, 0))), inside)


@inlined
def _minus_both(data, j, inside):
    A, i, one, other = data
    return (load_masked(A, (i, j), inside, one) - one) - other


@device
def log_softmax(S, L, start, stop, T, M):
    """L[i, j] = (S[i, j] − S_m) − log Σ_c exp(S[i, c] − S_m)"""
    compact()
    count = stop - start
    _log_rests((S, L), S, start, count, T, M)
    for r in range(count):
        rest = T[count + r] + (T[r] - T[r])  # S_m − S_m: an infinite S_m makes the row NaN
        along_row(_minus_both, (S, start + r, splat(S, T[r]), splat(S, rest)), L, start + r)


@inlined
def _minus_exp_times(data, j, inside):
    dL, L, i, total = data
    zeros = splat(L, 0)
    return fma(-exp(load_masked(L, (i, j), inside, zeros)), total, load_masked(dL, (i, j), inside, zeros))


@inlined
def _has_most(logs):
    """Where a class has more than exp(−½) = 0.6 of a row, as one at most can have."""
    return logs > -0.5


@inlined
def _add_less_likely(total, size, data, j, inside):
    """The sum of dL over classes that have not most of the row; 1½ to 2 for one that has."""
    dL, L, i = data
    zeros = splat(L, 0)
    logs, g = load_masked(L, (i, j), inside, zeros - 1), load_masked(dL, (i, j), inside, zeros)
    most = _has_most(logs)
    return total + select(most, zeros, g), size + select(most, logs + 2, zeros)


@inlined
def _note(dL, L, i, m, others, noted, T, M):
    """Remembers what the entry of class m, which has most of row i, is worked out from: behind `noted` such rows."""
    T[noted], T[M.size + noted], T[2 * M.size + noted] = element(L, (i, m)), element(dL, (i, m)), others
    M[noted] = i * L.shape[1] + m
    return noted + 1


@inlined
def _set_noted(dS, noted, T, M):
    """dS_m = dL_m (1 − exp L_m) − exp(L_m) Σ_{c≠m} dL_c"""
    for r in range(0, noted, lanes(T)):
        inside, zeros = first(T, noted - r), splat(T, 0)
        largest, of_m = load_masked(T, r, inside, zeros), load_masked(T, M.size + r, inside, zeros)
        others = load_masked(T, 2 * M.size + r, inside, zeros)
        store_masked(T, r, fma(-of_m, expm1(largest), -exp(largest) * others), inside)
    entries = flat(dS)
    for r in range(noted):
        entries[M[r]] = T[r]


@inlined
def _log_softmax_vjp_of_few(vectors, dL, L, dS, start, stop, T, M):
    """log_softmax_vjp for rows of so many vectors at most: each is read once, in half of the time."""
    k, noted = L.shape[1], 0
    inside, zeros = first_of(vectors, L, k), splat(L, 0)
    fetched = are_fetched(L)
    for i in range(start, stop):
        if fetched:
            fetch(vectors, (L, dL, dS), row_ahead(L, i, 1), 0)
        logs, g = load_masked(L, (i, 0), inside, zeros - 1), load_masked(dL, (i, 0), inside, zeros)
        total = splat(L, lane_sum(vector_sum(vectors, g)))
        m = first_true(_has_most(logs))
        if m < k:
            noted = _note(dL, L, i, m, lane_sum(vector_sum(vectors, omit(g, 0, m))), noted, T, M)
        store_masked(dS, (i, 0), fma(-exp(logs), total, g), inside)
    _set_noted(dS, noted, T, M)


@inlined
def _log_softmax_vjp_of_many(dL, L, dS, start, stop, T, M):
    k, noted = L.shape[1], 0
    for i in range(start, stop):
        total, most = row_totals(_add_less_likely, (dL, L, i), k)
        if most > 0:
            m = row_argmax(L, i)
            if most > 2:  # these are no logarithms of probabilities
                total = row_total(_add_other, (dL, i, m), k)
            noted = _note(dL, L, i, m, total, noted, T, M)
            total += element(dL, (i, m))
        along_row(_minus_exp_times, (dL, L, i, splat(L, total)), dS, i)
    _set_noted(dS, noted, T, M)


@device
def log_softmax_vjp(dL, L, dS, start, stop, T, M):
    """dS[i, j] = dL_j − exp(L_j) Σ_c dL_c; where class m has most of the row, its entry is worked out on its own, from
    1 − exp L_m and Σ_{c≠m} dL_c, for many rows at a time"""
    compact()
    k, data = L.shape[1], (dL, L, dS, start, stop, T, M)
    if k <= 2 * lanes(L):
        _log_softmax_vjp_of_few(TWO, *data)
    else:
        _by_width(_log_softmax_vjp_of_few, _log_softmax_vjp_of_many, data, k, lanes(L))


@inlined
def _add_exp_weighted_shift(total, data, j, inside):
    dS, L, i, shift = data
    p = exp(load_masked(L, (i, j), inside, splat(L, 0)))
    return fma(p, load_masked(dS, (i, j), inside, shift) - shift, total)  # 0 behind the last class


@inlined
def _log_softmax_jvp_of_few(vectors, dS, L, dL, start, stop, T, M):
    """log_softmax_jvp for rows of so many vectors at most. Of two largest classes that differ in their last nine bits
    alone, either is m."""
    k, zeros = L.shape[1], splat(L, 0)
    inside = first_of(vectors, L, k)
    fetched = are_fetched(L)
    for i in range(start, stop):
        if fetched:
            fetch(vectors, (L, dS, dL), row_ahead(L, i, 1), 0)
        p = kept(exp(load_masked(L, (i, 0), inside, zeros)), inside)
        shift = splat(L, element(dS, (i, min(place_of_largest(vectors, p), k - 1))))
        h = load_masked(dS, (i, 0), inside, shift) - shift
        store_masked(dL, (i, 0), h - splat(L, lane_sum(vector_dot(vectors, p, h))), inside)


@inlined
def _log_softmax_jvp_of_many(dS, L, dL, start, stop, T, M):
    k, count = L.shape[1], stop - start
    for r in range(count):
        T[r] = element(dS, (start + r, row_argmax(L, start + r)))
    for r in range(count):
        T[count + r] = row_total(_add_exp_weighted_shift, (dS, L, start + r, splat(L, T[r])), k)
    for r in range(count):
        along_row(_minus_both, (dS, start + r, splat(L, T[r]), splat(L, T[count + r])), dL, start + r)


@device
def log_softmax_jvp(dS, L, dL, start, stop, T, M):
    """dL[i, j] = h_j − Σ_c exp(L_c) h_c with h = dS − dS_m"""
    compact()
    data = dS, L, dL, start, stop, T, M
    _by_width(_log_softmax_jvp_of_few, _log_softmax_jvp_of_many, data, L.shape[1], lanes(L))


@inlined
def _add_nan(total, data, j, inside):
    S, i = data
    x = load_masked(S, (i, j), inside, splat(S, 0))
    return select(x == x, total, x)


@device
def logsumexp(S, sums, start, stop, T, M):
    """sums[i] = S_m + log Σ_c exp(S[i, c] − S_m); an infinite S_m is the answer itself"""
    compact()
    count = stop - start
    _log_rests((S,), S, start, count, T, M)
    for r in range(count):
        if np.isinf(T[r]):
            sums[start + r] = T[r] + row_total(_add_nan, (S, start + r), S.shape[1])
        else:
            sums[start + r] = T[r] + T[count + r]
