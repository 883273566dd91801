"""The products of a vector and the Jacobian of softmax, for rows of many classes, a vector of classes at a time.

h is shift − G, where the shift is G_m, m the largest class, or serves as well, and not G − shift: what is subtracted
may be read from memory by the same instruction. T holds a few numbers a row; no bit depends on how many rows there are.

Where m has little of Y, G_m can be far from all others, and rounding h loses up to 1 / Y_m times what may be lost. Then
the mean Σ Y G is the shift: |G_i − Σ Y G| ≤ Σ_j Y_j |G_i − G_j|, the size of the entry over Y_i. It need not be exact.
"""

import numpy as np

from ._across import lane, lane_sum, place_of_largest, vector_dot, vector_sum
from ._arrays import compact, separate
from ._fetch import are_fetched_of_product, are_large, fetch, row_ahead
from ._jit import device, inlined
from ._loads import element, load_masked, store_masked
from ._long_rows import FOUR, SIX, THREE, TWO
from ._simd import absolute, are_registers_for, first_of, fma, lanes, not_whole, only_known, read_anew, splat, width
from ._sums import along_row, row_argmax, row_totals
from ._vec import NONE, PAIR, Times

# How many vectors a row takes, beside those of `_long_rows.py`.
SEVEN, EIGHT = Times(8, 6, 7), Times(8, 7)
TEN, TWELVE, FOURTEEN = Times(16, 8, 10), Times(16, 10, 12), Times(16, 12, 14)
FEW = 14  # vectors or less
_LITTLE = 0.125  # of Y or less


@inlined
def _add_weighted_shift(total, size, data, j, inside):
    """Σ_j Y_j h_j and Σ_j Y_j |h_j|. So many vectors of `out` are fetched meanwhile, for each pair."""
    G, Y, i, shift, fetched, out = data
    fetch(fetched, (out,), i, j)
    y, h = load_masked(Y, (i, j), inside, splat(Y, 0)), shift - load_masked(G, (i, j), inside, shift)
    return fma(y, h, total), fma(y, absolute(h), size)


@inlined
def _times_shifted(data, j, inside):
    """Y_j (mean − h_j). So many vectors of a later row are fetched meanwhile, for each pair."""
    G, Y, i, shift, mean, fetched, later = data
    fetch(fetched, (Y, G), later, j)
    zeros = splat(Y, 0)
    h = shift - load_masked(G, (i, j), inside, zeros)
    return load_masked(Y, (i, j), inside, zeros) * (mean - h)


@inlined
def are_together(Y):
    """Whether softmax_product takes a few rows together through each pass."""
    return not are_large(Y) and Y.shape[1] <= FEW * lanes(Y)


@inlined
def _row(A, i, inside):
    return load_masked(A, (i, 0), inside, splat(A, 0))


@inlined
def _shifted_row(G, i, inside, shift):
    return splat(G, shift) - _row(G, i, inside)


@inlined
def _less(shift, mean):
    """shift − mean, but where an entry is infinite, the shift: that makes the others infinite, or NaN, as it should."""
    return shift - mean if abs(mean) < np.inf else shift


@inlined
def _shift_of_few(vectors, G, Y, i, inside):
    """G_m, or the mean. Of two largest classes that differ in their last nine bits alone, either is m: it has to spare
    the sum from cancelling, no more, and is found in half the time."""
    y = _row(Y, i, inside)
    m = min(place_of_largest(vectors, y), Y.shape[1] - 1)
    shift = element(G, (i, m))
    if element(Y, (i, m)) <= _LITTLE:
        shift = _less(shift, lane_sum(vector_dot(vectors, y, _shifted_row(G, i, inside, shift))))
    return shift


@inlined
def _product_of_few(vectors, G, Y, out, start, stop, T):
    """softmax_product for rows of so many vectors at most.

    The chain from a row to its gradient is too long for a CPU to see the next row behind it: G_m is looked for in all
    rows before the sum of the first; in one at a time, where rows come from memory, as all arrays are to be read at the
    same time. The vectors that may not be whole are worked out from the end of the row on, over those before: it takes
    less than a masked store. Of a row that does not fit into the registers, two are worked out at a time.
    """
    k, inside, rest = Y.shape[1], first_of(vectors, Y, Y.shape[1]), not_whole(vectors)
    large, end = are_large(Y), k - width(rest, Y)
    ready = start + 1 if large else stop
    for i in range(start, ready):
        T[i - start] = _shift_of_few(vectors, G, Y, i, inside)
    for i in range(start, stop):
        if large and k > 2 * lanes(Y):  # shorter rows are worked out more slowly than they come
            fetch(vectors, (G, Y, out), row_ahead(Y, i, 1), 0)
        shift = T[i - start]
        mean = lane_sum(vector_dot(vectors, _row(Y, i, inside), _shifted_row(G, i, inside, shift)))
        if ready < stop:
            T[ready - start] = _shift_of_few(vectors, G, Y, ready, inside)
            ready += 1
        row = G, Y, i, splat(G, shift), splat(Y, mean), NONE, i
        if are_registers_for(vectors):
            i = read_anew(vectors, i)
            value = _row(Y, i, inside) * (splat(Y, mean) - _shifted_row(G, i, inside, shift))
            last = _times_shifted(row, end, rest)
            store_masked(out, (i, 0), value, only_known(inside))
            store_masked(out, (i, end), last, rest)
        else:
            along_row(_times_shifted, row, out, i)


@inlined
def _typical(G, i):
    """The mean of the first few."""
    return lane_sum(vector_sum(PAIR, load_masked(G, (i, 0), PAIR, splat(G, 0)))) / width(PAIR, G)


@device
def _mean(G, Y, i, shift):
    """Σ_j Y_j h_j with h = shift − G"""
    separate()
    mean, _ = row_totals(_add_weighted_shift, (G, Y, i, splat(G, shift), NONE, Y), Y.shape[1])
    return mean


@device
def _product_of_one(G, Y, out, i, shift):
    """Row i with h = shift − G; a shift of NaN stands for G_m, or the mean. Not copied into the loop over the rows,
    which it would leave too few registers."""
    separate()
    if shift != shift:
        m = row_argmax(Y, i)
        shift = element(G, (i, m))
        if element(Y, (i, m)) <= _LITTLE:
            shift = _less(shift, _mean(G, Y, i, shift))
    mean = _mean(G, Y, i, shift)
    along_row(_times_shifted, (G, Y, i, splat(G, shift), splat(G, mean), NONE, i), out, i)


@inlined
def _product_of_many(fetched, G, Y, out, start, stop):
    """softmax_product without looking for m, which would take a third of the time, where another shift will do.

    Rounding h and its sum loses a few eps of Σ Y |h|. A few of Σ_j Y_j |h_j − Σ_c Y_c h_c| may be lost, which is at
    least Σ Y |h| − |Σ Y h|: enough where |Σ Y h| ≤ ¾ Σ Y |h|. Else one class has much of Y, or the entries taken for
    typical are not, and the row is worked out anew by its mean; from G_m on, if that is too rough.
    A row's shift is known before it is needed: 0.95 of the time.
    """
    later_shift, last = _typical(G, start), Y.shape[0] - 1
    for i in range(start, stop):
        later = row_ahead(Y, i, 1)
        shift = splat(G, later_shift)
        mean, size = row_totals(_add_weighted_shift, (G, Y, i, shift, fetched, out), Y.shape[1])
        later_shift = _typical(G, min(i + 1, last))
        if size - abs(mean) >= size / 4:
            along_row(_times_shifted, (G, Y, i, shift, splat(G, mean), fetched, later), out, i)
        else:
            close = size - abs(mean) >= size / 1024
            _product_of_one(G, Y, out, i, lane(shift, 0) - mean if close else np.nan)


@device
def softmax_product(G, Y, out, start, stop, T):
    """out[i, j] = Y_j (Σ_c Y_c h_c − h_j) with h = shift − G"""
    compact()
    k, L = Y.shape[1], lanes(Y)
    if k <= 2 * L:
        _product_of_few(TWO, G, Y, out, start, stop, T)
    elif k <= 3 * L:
        _product_of_few(THREE, G, Y, out, start, stop, T)
    elif k <= 4 * L:
        _product_of_few(FOUR, G, Y, out, start, stop, T)
    elif k <= 6 * L:
        _product_of_few(SIX, G, Y, out, start, stop, T)
    elif k <= 7 * L:
        _product_of_few(SEVEN, G, Y, out, start, stop, T)
    elif k <= 8 * L:
        _product_of_few(EIGHT, G, Y, out, start, stop, T)
    elif k <= 10 * L:
        _product_of_few(TEN, G, Y, out, start, stop, T)
    elif k <= 12 * L:
        _product_of_few(TWELVE, G, Y, out, start, stop, T)
    elif k <= FEW * L:
        _product_of_few(FOURTEEN, G, Y, out, start, stop, T)
    elif are_fetched_of_product(Y):
        _product_of_many(PAIR, G, Y, out, start, stop)
    else:
        _product_of_many(NONE, G, Y, out, start, stop)
