"""Which kind of task suits a matrix product of `_product.py`, by its shape alone, and where its factors lie."""

import numpy as np

from ._by_rows import FEW_ROWS, MORE_ROWS
from ._few import are_few_columns
from ._high import HIGH_ROWS
from ._jit import device
from ._pack import ceil_div
from ._task import FEW_COLUMNS, FEW_TERMS, TILED
from ._thin import meet
from ._tile import BLOCK, SUMS, TILE_ROWS, TILE_VECS, TURNED
from ._vec import VECTOR_BYTES

FEW_TERMS_BY_COLUMNS = 48  # or less are few, of a B by columns, which is transposed as a whole before
_TURNED_COLUMNS = 6  # or less, or half a vector: a B by rows is turned, to lie along the sum


@device
def _is_half(n, itemsize):
    """Whether so many columns are half a vector or less."""
    return n * itemsize <= VECTOR_BYTES // 2


@device
def sums_along(C, K):
    """How many sums side by side a block of the K terms is, of products whose factors lie along the sum, in C order.

    Columns of half a vector or less leave so many lanes idle that dots, which compute two at a time, pay for fewer
    terms: 9077 × 24 × 1 takes 0.43 of the time.
    """
    n, itemsize, most = C.shape[1], C.itemsize, np.intp(FEW_TERMS_BY_COLUMNS)
    if _is_half(n, itemsize):
        most = 3 * (1 + (n if n == 1 else ceil_div(n, 2) * 2)) * itemsize // 4
    return np.intp(SUMS if most < K else 1)


@device
def sums_across(C, K):
    """The same where the second factor lies across: a few columns of it are turned."""
    few = C.shape[1] <= _TURNED_COLUMNS or _is_half(C.shape[1], C.itemsize)
    return sums_along(C, K) if few else np.intp(1)


_DOTS_COLUMNS = 12  # or less of C, or they leave many lanes idle, do not pay for transposing A
# So many columns or less, and so many beside an A of more bytes than _LARGE_FACTOR: an A by rows is read from end to
# end where Cᵀ is computed, but tiles of C read a few elements of each row. Forward of 4096 × 784 × 10, X by columns,
# takes 0.4 of the time.
_TURNED_BY_ROWS, _TURNED_OF_LARGE, _LARGE_FACTOR = 2 * TILE_ROWS, 4 * TILE_ROWS, 2**19


@device
def is_turned(a_by_rows, b_by_rows, sums, m, n, K, itemsize):
    """Whether Cᵀ is computed in place of C: few columns leave most lanes idle."""
    if a_by_rows:
        most = TILE_ROWS
        if sums > 1:
            most = _TURNED_OF_LARGE if m * K * itemsize > _LARGE_FACTOR else _TURNED_BY_ROWS
        return n <= most and n < m
    few = n <= _TURNED_COLUMNS or _is_half(n, itemsize)
    if sums == 1:  # of no more rows than squares have
        return few and n <= TILE_ROWS and n < m and K > FEW_TERMS_BY_COLUMNS
    if b_by_rows and few:
        return True
    # Vectors, or nearly, are as good: 7 or 8 columns of float64, where there are no dots of eight rows.
    fill = TILE_VECS == 1 and (n + 1) % (VECTOR_BYTES // itemsize) <= 1
    return n <= _DOTS_COLUMNS and n < m and not fill


_DOTS_ROWS = 18  # or less, where B lies along the sum, do not pay for transposing it
# Few rows beside so many terms or more are multiplied in the registers in which a B by columns is turned, where its
# squares are whole vectors: forward of 1 × 48 × 1000, of float64, takes half the time.
_SQUARES = 24 if TILE_VECS > 1 else FEW_TERMS_BY_COLUMNS


@device
def is_thin(b_by_rows, sums, m, n, K, itemsize):
    """Whether a product that is not turned is one of `_thin.py`."""
    if sums > 1:
        return m <= (TILE_ROWS if b_by_rows else _DOTS_ROWS)
    squares = not b_by_rows and K >= _SQUARES and TURNED * itemsize >= VECTOR_BYTES
    return m <= TILE_ROWS and (squares or not are_few_terms(b_by_rows, m, n, K, itemsize, False))


# Two tiles of ten or twelve rows, one lying over the other, read a B of so many bytes of columns where it is, unless
# these fill one of eight rows: dX of 10 × 17 from 516 columns, of float64, takes 0.66 of the time.
_LEAST_OF_HIGH = 2 * VECTOR_BYTES


@device
def is_high(b_by_rows, sums, m, n, K, itemsize):
    """Whether a product that is neither tall nor thin is one of `_high.py`."""
    few = n * itemsize < _LEAST_OF_HIGH or n * itemsize == TILE_VECS * VECTOR_BYTES
    if not b_by_rows or sums > 1 or m <= TILE_ROWS or m > HIGH_ROWS or few:
        return False
    return not are_few_terms(b_by_rows, m, n, K, itemsize, meet(n, itemsize))


# Few terms of a B by rows: C is written from end to end, and B is read where it is, once for each strip of C. Packed,
# dX of 64 × 784 × 256 takes 1.13 times as long, of 33 × 1000 × 5 1.4 times. How many are few depends on C's rows:
_OF_ONE_ROW = 24
_OF_SOME_ROWS = BLOCK if TILE_VECS > 1 else 48
_OF_MORE_ROWS = 40  # just more than a few, for which there are tiles that waste fewer lanes
# _MANY_ROWS pay for packing a B of more than _MANY_BYTES: dW of 596 × 674 from 61 rows, of float64, takes 0.8 of the
# time.
_MANY_ROWS, _MANY_BYTES, _OF_MANY_ROWS = 12 * TILE_ROWS, 2**18, 48
# A B of more than _LARGE_BYTES beside more rows than a tile has, or a smaller one beside many rows, or any beside two:
# dW of 167 × 882 from 221 rows takes 0.6 of the time.
_LARGE_BYTES, _OF_LARGE = 3 * 2**19, 80 if TILE_VECS > 1 else 48
# More rows of B that meet push each other out of the first cache: packed, dW of 24 × 1024 × 512 takes 0.4 times as
# long.
_OF_MEETING = 8


@device
def _few_terms_by_rows(m, size, met):
    """How many terms of a B by rows, of so many bytes, are few beside m rows of C; rows of B may meet in one place of
    the caches."""
    if met and m > TILE_ROWS:  # else B is read but once
        return np.intp(_OF_MEETING)
    if m == 1:
        return np.intp(_OF_ONE_ROW)
    most = np.intp(_OF_LARGE)
    if 2 < m <= (TILE_ROWS if size > _LARGE_BYTES else _MANY_ROWS):
        most = np.intp(_OF_SOME_ROWS)
    elif m > _MANY_ROWS and size > _MANY_BYTES:
        most = np.intp(_OF_MANY_ROWS)
    return min(most, np.intp(_OF_MORE_ROWS)) if FEW_ROWS < m <= MORE_ROWS else most


# So many rows or less do not pay for packing a B of up to so many bytes; _UNPACKED_MORE times as many, for one half as
# large, unless its rows meet in one place of the caches: dX of 24 × 784 × 256 takes 0.84 times as long. Strips of one
# vector come slowly from memory: dW of 30000 × 300 × 12 took 12.2 ms, packed 7.6.
_UNPACKED_ROWS = 2 * TILE_ROWS
_UNPACKED_BYTES, _UNPACKED_MORE = (2**62, 3) if TILE_VECS > 1 else (2**23, 2)
# Of fewer bytes of columns, B pays for packing: dX of 600 × 8 × 8 takes 0.7 of the time, forward of 150 × 48 × 24, of
# float32, 0.65. But not beside a few rows: those that do not pay for packing a small B by rows, or _FEW_TURNED beside
# one by columns.
_LEAST_COLUMNS = TILE_VECS * VECTOR_BYTES if TILE_VECS > 1 else VECTOR_BYTES + 1
_FEW_TURNED = 3 * TILE_ROWS


@device
def are_few_terms(b_by_rows, m, n, K, itemsize, met):
    """Whether so few terms, for m rows and n columns, are a product of `few_terms` whatever else; rows of B may meet in
    one place of the caches."""
    width = n * itemsize
    if not b_by_rows:
        return K <= FEW_TERMS_BY_COLUMNS and width >= (VECTOR_BYTES if m <= _FEW_TURNED else _LEAST_COLUMNS)
    few = m <= _UNPACKED_MORE * _UNPACKED_ROWS and (K <= _OF_ONE_ROW or width % VECTOR_BYTES == 0)
    return _few_terms_by_rows(m, K * width, met) >= K and width >= (VECTOR_BYTES if few else _LEAST_COLUMNS)


@device
def is_unpacked(b_by_rows, m, n, K, itemsize):
    """Whether strips of whole vectors of B are read where they are, as so few rows do not pay for packing."""
    size, rows = n * K * itemsize, _UNPACKED_ROWS
    if 2 * size <= _UNPACKED_BYTES and not meet(n, itemsize):
        rows *= _UNPACKED_MORE
    return b_by_rows and m <= rows and size <= _UNPACKED_BYTES


@device
def kind_of_rectangle(b_by_rows, sums, rows, columns, last, n, K, C):
    """The kind of a task of so many rows, and so many columns, or those of the last one, of n in all."""
    met = meet(n, C.itemsize)
    if sums == 1 and are_few_terms(b_by_rows, rows, columns, K, C.itemsize, met):
        if are_few_terms(b_by_rows, rows, last, K, C.itemsize, met):
            return np.intp(FEW_TERMS)
    few = are_few_columns(columns, K, C) and not is_unpacked(b_by_rows, rows, n, K, C.itemsize)
    return np.intp(FEW_COLUMNS if few else TILED)
