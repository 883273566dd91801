"""The products of a vector and the Jacobian of softmax, for rows of many classes, a vector of classes at a time.

m is the largest class, h is G_m − G and not G − G_m: what is subtracted may be read from memory by the same
instruction. T holds a few numbers a row; no bit depends on how many rows there are.
"""

from ._across import lane_sum, place_of_largest, vector_dot
from ._arrays import compact
from ._jit import device, inlined
from ._loads import element, load_masked, prefetch, store_masked
from ._long_rows import FOUR, SIX, THREE
from ._simd import are_registers_for, first_of, fma, lanes, not_whole, only_known, read_anew, splat, width
from ._sums import along_row, row_argmax, row_argmax_and_fetch, row_total
from ._vec import NONE, PAIR, Times, cpu_features

# How many vectors a row takes, beside those of `_long_rows.py`.
TWO, SEVEN, EIGHT = Times(2, 1), Times(8, 6, 7), Times(8, 7)
TEN, TWELVE, FOURTEEN, SIXTEEN = Times(16, 8, 10), Times(16, 10, 12), Times(16, 12, 14), Times(16, 14)
TWENTY, TWENTY_FOUR = Times(32, 16, 20), Times(32, 20, 24)


@inlined
def _add_weighted_shift(total, data, j, inside):
    """So many vectors of `out` are fetched meanwhile, for each pair."""
    G, Y, i, shift, fetched, out = data
    prefetch(fetched, out, (i, j))
    return fma(load_masked(Y, (i, j), inside, splat(Y, 0)), shift - load_masked(G, (i, j), inside, shift), total)


@inlined
def _times_shifted(data, j, inside):
    """So many vectors of a later row of Y are fetched meanwhile, for each pair."""
    G, Y, i, shift, mean, fetched, later = data
    prefetch(fetched, Y, (later, j))
    zeros = splat(Y, 0)
    h = shift - load_masked(G, (i, j), inside, zeros)
    return load_masked(Y, (i, j), inside, zeros) * (mean - h)


@inlined
def _times_shifted_and_fetch(data, j, inside):
    """The same, while G is fetched, too: a pass along one array alone leaves the memory idle."""
    G, later = data[0], data[-1]
    prefetch(PAIR, G, (later, j))
    return _times_shifted(data, j, inside)


@inlined
def _fetch_row(A, i):
    for j in range(0, A.shape[1], 2 * lanes(A)):
        prefetch(PAIR, A, (i, j))


# Bytes of an array from which on its rows are fetched, and classes up to which they stay in the cache until they are
# read: 1000 × 1000 of float32 take 400 µs in place of 640 on one core, 200 × 500 no less.
_FETCHED, _FETCHED_CLASSES, _ROW_BY_ROW = 3 * 2**20, 4096, False
# CPUs with AVX-512 have larger caches, and see far enough ahead that the next row need not be worked on meanwhile: to
# do so takes 1.1 times as long there, and not to do it 1.2 times without AVX-512. There, all rows of so large arrays
# are fetched, and of others those of so few bytes: 134 × 1058 take 0.9 of the time, 64 × 4000 would take 1.1 times it.
if "avx512f" in cpu_features():
    _FETCHED, _ROW_BY_ROW = 6 * 2**20, True
ROW_IN_CACHE = 2**13  # bytes of a row: that much of each array stays in the fastest cache
FEW = 24  # vectors


@inlined
def are_fetched(Y):
    """Whether the arrays of softmax_product are so large."""
    return Y.size * Y.itemsize > _FETCHED


@inlined
def are_together(Y):
    """Whether softmax_product takes a few rows together through each pass."""
    return not are_fetched(Y) and Y.shape[1] <= FEW * lanes(Y)


@inlined
def _row(A, i, inside):
    return load_masked(A, (i, 0), inside, splat(A, 0))


@inlined
def _shifted_row(G, i, inside, shift):
    return splat(G, shift) - _row(G, i, inside)


@inlined
def _shift_of_few(vectors, G, Y, i, inside):
    """G_m. Of two largest classes that differ in their last nine bits alone, either is m: it has to spare the sum from
    cancelling, no more, and is found in half the time."""
    return element(G, (i, min(place_of_largest(vectors, _row(Y, i, inside)), Y.shape[1] - 1)))


@inlined
def _product_of_few(vectors, G, Y, out, start, stop, T):
    """softmax_product for rows of so many vectors at most.

    The chain from a row to its gradient is too long for a CPU to see the next row behind it: G_m is looked for in all
    rows before the sum of the first; in one at a time, where rows come from memory, as all arrays are to be read at the
    same time. The vectors that may not be whole are worked out from the end of the row on, over those before: it takes
    less than a masked store. Of a row that does not fit into the registers, two are worked out at a time.
    """
    inside, rest = first_of(vectors, Y, Y.shape[1]), not_whole(vectors)
    end, ready = Y.shape[1] - width(rest, Y), start + 1 if are_fetched(Y) else stop
    for i in range(start, ready):
        T[i - start] = _shift_of_few(vectors, G, Y, i, inside)
    for i in range(start, stop):
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
def _product_of_many(G, Y, out, start, stop):
    """softmax_product one row after the other: m of the next row is sought between the sum and the product, so that
    what is worked out across the lanes is waited for meanwhile."""
    k, fetches = Y.shape[1], are_fetched(Y) and Y.shape[1] <= _FETCHED_CLASSES
    later_shift = element(G, (start, row_argmax(Y, start)))
    for i in range(start, stop):
        shift = later_shift
        mean = row_total(_add_weighted_shift, (G, Y, i, splat(G, shift), NONE, out), k)
        if i + 1 < stop:
            if fetches:
                _fetch_row(G, i + 1)
                _fetch_row(out, i + 1)
            later_shift = element(G, (i + 1, row_argmax(Y, i + 1)))
        row = G, Y, i, splat(G, shift), splat(G, mean)
        if fetches:
            along_row(_times_shifted_and_fetch, (*row, PAIR, min(i + 2, Y.shape[0] - 1)), out, i)
        else:
            along_row(_times_shifted, (*row, NONE, i), out, i)


@inlined
def _product_row_by_row(fetched, G, Y, out, start, stop):
    """The same without looking ahead. Each pass may fetch what the next one reads or writes: of vectors that lie over
    two lines of the cache, a CPU foresees little (1600 × 1000 of float64 take 0.8 of the time)."""
    for i in range(start, stop):
        later = min(i + 1, Y.shape[0] - 1)  # to fetch from behind Y, where there may be no memory, takes long
        shift = element(G, (i, row_argmax_and_fetch(Y, i, fetched, G)))
        mean = row_total(_add_weighted_shift, (G, Y, i, splat(G, shift), fetched, out), Y.shape[1])
        along_row(_times_shifted, (G, Y, i, splat(G, shift), splat(G, mean), fetched, later), out, i)


@device
def softmax_product(G, Y, out, start, stop, T):
    """out[i, j] = Y_j (Σ_c Y_c h_c − h_j) with h = G_m − G"""
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
    elif k <= 14 * L:
        _product_of_few(FOURTEEN, G, Y, out, start, stop, T)
    elif k <= 16 * L:
        _product_of_few(SIXTEEN, G, Y, out, start, stop, T)
    elif k <= 20 * L:
        _product_of_few(TWENTY, G, Y, out, start, stop, T)
    elif k <= FEW * L:
        _product_of_few(TWENTY_FOUR, G, Y, out, start, stop, T)
    elif not _ROW_BY_ROW:
        _product_of_many(G, Y, out, start, stop)
    elif are_fetched(Y) or k * Y.itemsize <= ROW_IN_CACHE:
        _product_row_by_row(PAIR, G, Y, out, start, stop)
    else:
        _product_row_by_row(NONE, G, Y, out, start, stop)
