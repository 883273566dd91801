"""Rows of large arrays, fetched into the cache while earlier ones are worked on.

A row takes so many instructions that a CPU sees no further than the next; and where rows have a few vectors, what
fetches ahead by itself does not see that they follow each other: softmax of 46875 × 64, float64, takes 0.3 of the time.
A few kilobytes ahead is best: with half as many or twice, less is gained.
"""

from ._jit import inlined
from ._loads import prefetch
from ._simd import lanes
from ._vec import Times, cpu_features

ONE = Times(1)
# Bytes of an array from which on it is fetched: where two or three of them no longer stay in the last cache.
# softmax_vjp of 2048 × 4000, float32, takes 0.8 of the time; 512 × 1000 would take 1.1 times it. Without AVX-512 (on
# Zen 3, with 32 MB), 22000 × 40 would take 1.6 times it, but 16000 × 100 takes 0.4.
_LARGE = 6 * 2**20 if "avx512f" in cpu_features() else 4 * 2**20
_AHEAD = 6 * 2**10  # bytes
# Bytes of the longest row: it is read twice, so it has to stay in the second cache beside what is fetched. softmax_vjp
# of 20 × 200000 would take 1.4 times as long.
_LONGEST = 2**18
# The same of rows that are multiplied, where `out` is fetched as well: without AVX-512, second caches have half a
# megabyte or less, and softmax_vjp of 64 × 32000 would take 1.3 to 1.6 times as long.
_LONGEST_OF_PRODUCT = _LONGEST if "avx512f" in cpu_features() else 3 * 2**14
_FEW = 16  # classes: rows so short are worked out more slowly than they come
# Bytes of an array that alone does not stay in the last cache, and of its longest row where rows are multiplied: longer
# ones are read side by side, and come in time.
_ALONE, _LONGEST_FACTOR = 18 * 2**20, 2**11


@inlined
def are_large(A):
    """Whether an array is to be fetched: one of rows of up to two vectors, which take longest, from twice as many bytes
    on."""
    large = 2 * _LARGE if A.shape[1] <= 2 * lanes(A) else _LARGE
    return A.size * A.itemsize > large and A.shape[1] * A.itemsize <= _LONGEST


@inlined
def are_fetched_of_product(A):
    """Whether rows of many vectors are fetched, where they are multiplied by those of another array."""
    return are_large(A) and A.shape[1] * A.itemsize <= _LONGEST_OF_PRODUCT


@inlined
def are_fetched(A):
    """Whether the rows of an array are fetched, where they are worked out by exponentials."""
    return A.shape[1] > _FEW and are_large(A)


@inlined
def row_ahead(A, i, together):
    """The row to fetch while row i is worked on, of so many that are taken together. To fetch from behind an array,
    where there may be no memory, takes long."""
    n, k = A.shape
    return max(0, min(i + max(together, _AHEAD // (k * A.itemsize)), n - together))


@inlined
def later_row(A, i, together):
    """The same where rows are fetched; else row i itself, which is at hand: to ask for each vector takes longer."""
    return row_ahead(A, i, together) if are_fetched(A) else i


@inlined
def fetch(vectors, arrays, i, j):
    """So many vectors of each array, from element j of row i on."""
    for A in arrays:
        prefetch(vectors, A, (i, j))


@inlined
def are_factors_fetched(A, row):
    """Whether a vector of rows of so many elements, which are multiplied a few rows at a time, is fetched."""
    return A.size * A.itemsize > _ALONE and row * A.itemsize <= _LONGEST_FACTOR


@inlined
def fetch_factors(A, start, count):
    """As many elements of such a vector as are multiplied meanwhile, which are `count` from `start` on."""
    start += max(count, _AHEAD // A.itemsize)
    for j in range(start, min(start + count, A.size), lanes(A)):
        prefetch(ONE, A, j)
