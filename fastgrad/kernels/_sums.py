"""Sums and maxima along one row of a matrix, each in one order that depends on the length of the row alone.

Two vectors at a time, even and odd pairs are summed on their own, so that none waits for the one before. After each
block these sums are added by TwoSum (the rounding of each addition is kept and added at the end, so the error does not
grow with the row). What fills no two vectors is added to their halves; the lanes are added by the fixed tree
of `lane_sum`.
"""

import numpy as np

from ._across import first_true, halves, lane, lane_max, lane_sum
from ._arrays import as_rows, flat
from ._jit import device, inlined
from ._loads import element, load_masked, past_line, store, store_masked
from ._math import INFINITY
from ._simd import first, first_of, lane_numbers, lanes, maximum, repeated, select, splat
from ._vec import PAIR, QUAD, Times

UP_TO_OCTET = Times(8, 4)
_BLOCK = 16  # vectors, four to each sum: of 64, a lane that begins with most of the sum would lose 16 eps
_LONG_BLOCK = 2048  # elements, of sums that tolerate so many roundings


@inlined
def row_total(add, data, k):
    """Σ_j of what add(total, data, j, mask) adds to a total: terms of the lanes from j on where the mask is true."""
    L = lanes(data[0])
    step, zeros = 2 * L, splat(data[0], 0)
    high = low = one = other = repeated(PAIR, zeros)
    whole, block = k // (2 * step) * (2 * step), _BLOCK * L
    for j in range(0, whole, 2 * step):
        one, other = add(one, data, j, PAIR), add(other, data, j + step, PAIR)
        if (j + 2 * step) % block == 0:  # asked in the loop: of two loops, LLVM keeps fewer constants in registers
            high, low = _add_exactly(high, low, one + other)
            one = other = repeated(PAIR, zeros)
    if whole + step <= k:
        one = add(one, data, whole, PAIR)
    rest = zeros
    for j in range(k // step * step, k, L):
        rest = add(rest, data, j, first(rest, k - j))
    total = one + other
    if k >= block:
        high, low = _add_exactly(high, low, total)
        total = _exact_sum(high, low)
    return _sum_of_pair(total, rest)


@inlined
def row_totals(add, data, k):
    """The same where add(total, size, data, j, mask) adds to a second sum, too, of which a rough value will do: one
    pair of vectors is enough. Here are two loops, as without AVX-512 the sums alone fill the registers."""
    L = lanes(data[0])
    step, zeros = 2 * L, splat(data[0], 0)
    high = low = size = repeated(PAIR, zeros)
    for start in range(0, k, _LONG_BLOCK):
        stop = min(start + _LONG_BLOCK, k)
        one = other = repeated(PAIR, zeros)
        whole = stop - (stop - start) % (2 * step)
        for j in range(start, whole, 2 * step):
            one, size = add(one, size, data, j, PAIR)
            other, size = add(other, size, data, j + step, PAIR)
        if whole + step <= stop:
            one, size = add(one, size, data, whole, PAIR)
        high, low = _add_exactly(high, low, one + other)
    rest = rest_size = zeros
    for j in range(k // step * step, k, L):
        rest, rest_size = add(rest, rest_size, data, j, first(rest, k - j))
    return _sum_of_pair(_exact_sum(high, low), rest), _sum_of_pair(size, rest_size)


@inlined
def _sum_of_pair(pair, rest):
    first_half, second_half = halves(pair)
    return lane_sum((first_half + second_half) + rest)


@inlined
def _add_exactly(high, low, x):
    """(high + x, low + what that addition rounds away): D. E. Knuth's TwoSum."""
    total = high + x
    part = total - high
    return total, low + ((high - (total - part)) + (x - part))


@inlined
def _exact_sum(high, low):
    """The rest of _add_exactly: an infinite sum has lost NaN."""
    return select(low == low, high + low, high)


@inlined
def row_max(A, i):
    """max_j A[i, j], NaN passed over; −∞ for a row that holds nothing else."""
    k, step = A.shape[1], 2 * lanes(A)
    lowest = repeated(PAIR, -splat(A, INFINITY))
    best = other = lowest
    for j in range(0, k - step, step):
        best, other = other, maximum(load_masked(A, (i, j), PAIR, lowest), best)
    if k >= step:  # the last ones lie over those before
        best = maximum(load_masked(A, (i, k - step), PAIR, lowest), best)
    else:
        best = maximum(load_masked(A, (i, 0), first_of(PAIR, A, k), lowest), best)
    return lane_max(maximum(best, other))


@inlined
def _larger_of_pair(vectors, best):
    a, b = halves(vectors)
    return maximum(b, maximum(a, best))  # NaN in the second place would win


@inlined
def _argmax_of_few(vectors, A, i):
    lowest = -splat(A, INFINITY)
    x = maximum(load_masked(A, (i, 0), first_of(vectors, A, A.shape[1]), lowest), lowest)
    return min(first_true(x == splat(A, lane_max(x))), A.shape[1] - 1)


@inlined
def row_argmax(A, i):
    """A j with the largest A[i, j], NaN passed over: of several, one that depends on the row alone; any where there is
    nothing above −∞.

    Four vectors are looked at together, and the place is sought among the four at the end: it takes half the time of
    remembering a place for each.
    """
    k, step = A.shape[1], 4 * lanes(A)
    if k <= step:
        return _argmax_of_few(QUAD, A, i)
    if k <= 2 * step:
        return _argmax_of_few(UP_TO_OCTET, A, i)
    best = one = other = -splat(A, INFINITY)
    numbers = lane_numbers(A)
    four = where = numbers - numbers  # which four, not which element: that could be more than 2³¹
    for j in range(0, k, step):
        at = min(j, k - step)  # the last four lie over those before
        pair, others = halves(load_masked(A, (i, at), QUAD, best))
        one, other = _larger_of_pair(pair, one), _larger_of_pair(others, other)
        larger = maximum(one, other)
        where = select(larger > best, four, where)
        best = larger
        four = four + 1
    top = lane_max(best)
    of_top = first_true(best == splat(A, top))
    m = min(np.intp(lane(where, of_top)) * step, k - step) + of_top
    second, third = m + lanes(A), m + 2 * lanes(A)
    found = m + 3 * lanes(A)  # without branches, which no CPU would foresee
    found = third if element(A, (i, third)) == top else found
    found = second if element(A, (i, second)) == top else found
    return m if element(A, (i, m)) == top else found


@inlined
def along_row(value, data, out, i):
    """out[i, j] = value(data, j, mask), two vectors at a time. The last two lie over those before, as a masked store
    takes long on some CPUs; and the first two over the next, which start where a line of the cache does: NumPy's arrays
    do not, and what lies over two lines takes as long as two (softmax_vjp of 512 × 1000, a seventh). Each are stored
    after the next are worked out, as `out` may be what that is done from."""
    k, step = out.shape[1], 2 * lanes(out)
    if k < step:
        inside = first_of(PAIR, out, k)
        store_masked(out, (i, 0), value(data, 0, inside), inside)
        return
    ready = value(data, 0, PAIR)
    past = past_line(out, (i, 0)) if k >= 2 * step else 0  # of fewer, the last would lie over the first
    for j in range(step - past, k, step):
        following = value(data, min(j, k - step), PAIR)
        store(out, (i, max(j - step, 0)), ready)
        ready = following
    store(out, (i, k - step), ready)


@inlined
def times(data, j, inside):
    """A[i, j] · factor"""
    A, i, factor = data
    return load_masked(A, (i, j), inside, factor) * factor


@inlined
def _sum(data, j, inside):
    A, B = data
    zeros = splat(A, 0)
    return load_masked(A, (0, j), inside, zeros) + load_masked(B, (0, j), inside, zeros)


@device
def add_rows(rows, out):
    """out += rows, of the same shape"""
    one, other = as_rows(flat(rows), 1, rows.size), as_rows(flat(out), 1, out.size)
    along_row(_sum, (one, other), other, 0)


@inlined
def is_element(like, j, m):
    """The mask of the lane that holds element m, in a vector of the elements from j on. Lanes have 32 bits, maybe, but
    m and j 64."""
    return lane_numbers(like) == max(min(m - j, 2**31 - 1), -1)


@inlined
def omit(x, j, m):
    """x with 0 in the lane of element m, in a vector of the elements from j on."""
    return select(is_element(x, j, m), splat(x, 0), x)


@inlined
def scalar(function, like, x):
    """A vector function of one number."""
    return lane(function(splat(like, x)), 0)
