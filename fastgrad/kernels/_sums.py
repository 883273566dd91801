"""Sums and maxima along one row of a matrix, each in one order that depends on the length of the row alone.

Lane l of a vector takes the elements l, l + L, l + 2L, …. Four vectors are added as (0 + 1) + (2 + 3), such blocks by
TwoSum (the rounding of each addition is kept and added at the end, so the error does not grow with the row), and the
lanes by the fixed tree of `lane_sum`.
"""

import numpy as np

from ._jit import inlined
from ._math import INFINITY
from ._simd import (
    PAIR,
    first,
    lane,
    lane_max,
    lane_min_int,
    lane_numbers,
    lane_sum,
    lanes,
    load,
    load_masked,
    maximum,
    pair_sum,
    select,
    splat,
)

_REMEMBERED = 32  # vectors: up to here, to read a second row beside the first is faster than to find a place


@inlined
def row_total(term, data, k):
    """Σ_j term(data, j), where term(data, j, mask) gives the lanes from j on, and 0 where the mask is false."""
    L = lanes(data[0])
    high = low = zero = splat(data[0], 0)
    whole = k // (4 * L) * (4 * L)
    for j in range(0, whole, 4 * L):
        high, low = _add_exactly(high, low, pair_sum(term(data, j, PAIR)) + pair_sum(term(data, j + 2 * L, PAIR)))
    if whole < k:
        a = term(data, whole, first(data[0], k - whole))
        b = c = d = zero
        if whole + L < k:
            b = term(data, whole + L, first(data[0], k - whole - L))
        if whole + 2 * L < k:
            c = term(data, whole + 2 * L, first(data[0], k - whole - 2 * L))
        if whole + 3 * L < k:
            d = term(data, whole + 3 * L, first(data[0], k - whole - 3 * L))
        high, low = _add_exactly(high, low, (a + b) + (c + d))
    return lane_sum(select(low == low, high + low, high))  # an infinite sum has lost NaN


@inlined
def _add_exactly(high, low, x):
    """(high + x, low + what that addition rounds away): D. E. Knuth's TwoSum."""
    total = high + x
    part = total - high
    return total, low + ((high - (total - part)) + (x - part))


@inlined
def row_max(A, i):
    """max_j A[i, j], NaN passed over; −∞ for a row that holds nothing else."""
    k, L = A.shape[1], lanes(A)
    lowest = -splat(A, INFINITY)
    best = other = lowest
    whole = k // (2 * L) * (2 * L)
    for j in range(0, whole, 2 * L):
        best = maximum(load_masked(A, (i, j), None, lowest), best)
        other = maximum(load_masked(A, (i, j + L), None, lowest), other)
    for j in range(whole, k, L):
        best = maximum(load_masked(A, (i, j), first(A, k - j), lowest), best)
    return lane_max(maximum(best, other))


@inlined
def row_argmax(A, i):
    """A j with the largest A[i, j], of several always the same; NaN passed over; 0 for a row that holds nothing else.

    Four vectors are looked at together, and the place is sought among the four at the end: it takes half the time of
    remembering a place for each.
    """
    k, L = A.shape[1], lanes(A)
    lowest = -splat(A, INFINITY)
    best = lowest
    numbers = lane_numbers(A)
    four = where = numbers - numbers  # which four, not which element: that could be more than 2³¹
    whole = k // (4 * L) * (4 * L)
    for j in range(0, whole, 4 * L):
        largest = maximum(load(A, (i, j)), lowest)
        for v in range(1, 4):
            largest = maximum(load(A, (i, j + v * L)), largest)
        where = select(largest > best, four, where)
        best = maximum(largest, best)
        four = four + 1
    for j in range(whole, k, L):
        x = load_masked(A, (i, j), first(A, k - j), lowest)
        where = select(x > best, four, where)
        best = maximum(x, best)
    top = lane_max(best)
    none = numbers - numbers + np.int32(2**31 - 1)
    has_top = best == splat(A, top)
    of_four = lane_min_int(select(has_top, where, none))
    m = np.intp(of_four) * (4 * L) + lane_min_int(select(has_top & (where == of_four), numbers, none))
    found = np.intp(0)
    for v in range(3, -1, -1):
        place = min(m + v * L, k - 1)
        found = place if A[i, place] == top else found  # without a branch: it would often be guessed wrong
    return found


@inlined
def row_at_largest(A, B, i):
    """B[i, m] for an m with the largest A[i, m], of several always the same; NaN in A passed over."""
    k, L = A.shape[1], lanes(A)
    if k > _REMEMBERED * L:
        return B[i, row_argmax(A, i)]
    lowest = -splat(A, INFINITY)
    best = there = lowest
    whole = k // L * L
    for j in range(0, whole, L):
        x = load(A, (i, j))
        there = select(x > best, load(B, (i, j)), there)
        best = maximum(x, best)
    if whole < k:
        inside = first(A, k - whole)
        x = load_masked(A, (i, whole), inside, lowest)
        there = select(x > best, load_masked(B, (i, whole), inside, lowest), there)
        best = maximum(x, best)
    return lane_max(select(best == splat(A, lane_max(best)), there, lowest))


@inlined
def along_row(write, data, k):
    """write(data, j, mask) for each vector of a row, from j on, two at a time as far as they go."""
    L = lanes(data[0])
    whole = k // (2 * L) * (2 * L)
    for j in range(0, whole, 2 * L):
        write(data, j, PAIR)
    for j in range(whole, k, L):
        write(data, j, first(data[0], k - j))


@inlined
def is_element(like, j, m):
    """The mask of the lane that holds element m, in a vector of the elements from j on."""
    return lane_numbers(like) == m - j


@inlined
def omit(x, j, m):
    """x with 0 in the lane of element m, in a vector of the elements from j on."""
    return select(is_element(x, j, m), splat(x, 0), x)


@inlined
def scalar(function, like, x):
    """A vector function of one number."""
    return lane(function(splat(like, x)), 0)
