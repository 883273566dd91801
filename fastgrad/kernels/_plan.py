"""How a matrix product of `_product.py` is computed and cut into tasks, by the shapes alone."""

from math import gcd

import numpy as np

from ._arrays import compact
from ._by_rows import FEW_ROWS, MORE_ROWS
from ._few import WHOLE, are_few_columns
from ._high import HIGH_ROWS, high_plan
from ._jit import device, inlined
from ._pack import ceil_div, sum_apart, terms_of_block
from ._simd import lanes
from ._tall import is_tall, tall_plan
from ._thin import meet, thin_plan
from ._tile import BLOCK, SUMS, TILE_ROWS, TILE_VECS, TURNED
from ._vec import VECTOR_BYTES

WORKSPACE = 2**24  # bytes for panels and totals, over all threads
GROUP = 2**18  # bytes of A's panels that are packed at a time: half as many cost 2 %, twice as many gain nothing
# UNPACKED_ROWS or less do not pay for packing B, of up to UNPACKED_BYTES; UNPACKED_MORE times as many, for packing a B
# half as large, unless its rows meet in one place of the caches: dX of 24 × 784 × 256 takes 0.84 times as long. Strips
# of one vector come slowly from memory: dW of 30000 × 300 × 12 took 12.2 ms, packed 7.6.
UNPACKED_ROWS = 2 * TILE_ROWS
UNPACKED_BYTES, UNPACKED_MORE = (2**62, 3) if TILE_VECS > 1 else (2**23, 2)
FEW_COLUMNS = 6  # or less, or half a vector: a B by rows is turned, to lie along the sum
DOTS_ROWS = 18  # or less, where B lies along the sum, do not pay for transposing it
DOTS_COLUMNS = 12  # or less: the same for A, or they leave many lanes idle
# So many columns or less, and so many beside an A of more bytes than LARGE_FACTOR: an A by rows is read from end to end
# where Cᵀ is computed, but tiles of C read a few elements of each row. Forward of 4096 × 784 × 10, X by columns, takes
# 0.4 of the time.
TURNED_BY_ROWS, TURNED_OF_LARGE, LARGE_FACTOR = 2 * TILE_ROWS, 4 * TILE_ROWS, 2**19
# So many terms or less of a B by rows: C is written from end to end, and B is read where it is, once for each strip of
# C; FEW_TERMS_OF_LARGE, if B has more than FEW_BYTES and C more than a few rows, or C two; FEW_TERMS, if C has one; and
# FEW_TERMS_OF_MORE, if C has just more than a few, for which there are tiles that waste fewer lanes.
# Packed, dX of 64 × 784 × 256 takes 1.13 times as long, of 33 × 1000 × 5 1.4 times. More than FEW_TERMS_OF_MEETING rows
# of B that meet push each other out of the first cache: packed, dW of 24 × 1024 × 512 takes 0.4 times as long.
# But more than _MANY_ROWS of C pay for packing more terms than of a large B: dW of 167 × 882 from 221 rows takes 0.6 of
# the time; and more than FEW_TERMS_OF_MANY, if B has more than MANY_BYTES: dW of 596 × 674 from 61 rows, of float64,
# takes 0.8 of the time.
FEW_TERMS_BY_ROWS, FEW_TERMS_OF_LARGE, FEW_TERMS_OF_MANY = (BLOCK, 80, 48) if TILE_VECS > 1 else (48, 48, 48)
_MANY_ROWS, MANY_BYTES = 12 * TILE_ROWS, 2**18
FEW_TERMS_OF_MORE, FEW_TERMS_OF_MEETING, FEW_BYTES = 40, 8, 3 * 2**19
# The same of a B by columns, which is transposed as a whole before.
FEW_TERMS_BY_COLUMNS, FEW_TERMS = 48, 24
# But a few rows beside so many terms or more are multiplied in the registers in which a B by columns is turned, where
# its squares are whole vectors: forward of 1 × 48 × 1000, of float64, takes half the time.
_SQUARES = 24 if TILE_VECS > 1 else FEW_TERMS_BY_COLUMNS
# Of fewer bytes of columns, B pays for packing: dX of 600 × 8 × 8 takes 0.7 of the time, forward of 150 × 48 × 24, of
# float32, 0.65. But not beside a few rows: those that do not pay for packing a small B by rows, or _FEW_TURNED beside
# one by columns.
_LEAST_COLUMNS = TILE_VECS * VECTOR_BYTES if TILE_VECS > 1 else VECTOR_BYTES + 1
_FEW_TURNED = 3 * TILE_ROWS

# Two tiles of ten or twelve rows, one lying over the other, read a B of so many bytes of columns where it is, unless
# these fill one of eight rows: dX of 10 × 17 from 516 columns, of float64, takes 0.66 of the time.
_LEAST_OF_HIGH = 2 * VECTOR_BYTES

_TALL_ENOUGH = 4 * TILE_ROWS  # rows for each thread that are worth cutting

REGISTERS = TILE_ROWS * TILE_VECS  # vectors of a tile

THIN, HIGH, FEW_TERMS_KIND, FEW_COLUMNS_KIND = 0, -1, -2, -3  # kinds of tasks


@device
def cut(size, step, most, pieces):
    """How many elements a piece of `size` gets: a multiple of step, at most about `most`, for a multiple of `pieces`
    equal pieces."""
    if size <= step:
        return step
    pieces *= ceil_div(size, most * pieces)
    return ceil_div(size, pieces * step) * step


@device
def _large_plan(m, n, L, itemsize, threads, workspace):
    """Rows and columns of a task, tasks across, tasks in all."""
    # Elements of the totals: B's panels, beside those of A, take less than as much again; where threads are many, more.
    most = max(workspace // threads - 2 * GROUP, workspace // (4 * threads)) // (2 * itemsize)
    # Each piece of the columns reads all of A, and each piece of the rows all of B: with more columns than rows, these
    # are cut. A third of dW of 1000 × 3000 × 500 was reading B twice.
    pieces = np.intp(1)
    while threads % (2 * pieces) == 0 and 2 * pieces * pieces * m < threads * n:
        pieces *= 2
    # Between vectors, not tiles, or one of two threads has 432 of 784 columns: products of 100 to 300 rows and columns
    # take 0.87 to 1 of the time.
    columns = cut(n, L, np.intp(most**0.5), pieces)
    across = ceil_div(n, columns)
    # As many rows as there is room for: B is packed anew for each piece. Pieces of 256 rows of float64 took 3 to 5 %
    # longer. But as many tasks for each thread: nine of 2000 × 2000 × 2000 took two threads as long as ten. Totals have
    # room for whole tiles.
    width = TILE_VECS * L
    rows = cut(m, TILE_ROWS, most // (ceil_div(columns, width) * width), threads // gcd(threads, across))
    if ceil_div(m, rows) * across < threads:  # one row of tiles, of a sum over a tall array
        columns = cut(n, L, columns, threads)
        across = ceil_div(n, columns)
    return rows, columns, across, ceil_div(m, rows) * across


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
    few = C.shape[1] <= FEW_COLUMNS or _is_half(C.shape[1], C.itemsize)
    return sums_along(C, K) if few else np.intp(1)


@device
def is_turned(a_by_rows, b_by_rows, sums, m, n, K, itemsize):
    """Whether Cᵀ is computed in place of C: few columns leave most lanes idle."""
    if a_by_rows:
        most = TILE_ROWS
        if sums > 1:
            most = TURNED_OF_LARGE if m * K * itemsize > LARGE_FACTOR else TURNED_BY_ROWS
        return n <= most and n < m
    few = n <= FEW_COLUMNS or _is_half(n, itemsize)
    if sums == 1:  # of no more rows than squares have
        return few and n <= TILE_ROWS and n < m and K > FEW_TERMS_BY_COLUMNS
    if b_by_rows and few:
        return True
    # Vectors, or nearly, are as good: 7 or 8 columns of float64, where there are no dots of eight rows.
    fill = TILE_VECS == 1 and (n + 1) % (VECTOR_BYTES // itemsize) <= 1
    return n <= DOTS_COLUMNS and n < m and not fill


@device
def is_thin(a_by_rows, b_by_rows, sums, m, n, K, itemsize):
    """Whether a product is one of `_thin.py`."""
    if sums > 1:
        few = m <= (TILE_ROWS if b_by_rows else DOTS_ROWS)
    else:
        squares = not b_by_rows and K >= _SQUARES and TURNED * itemsize >= VECTOR_BYTES
        few = m <= TILE_ROWS and (squares or not are_few_terms(b_by_rows, m, n, K, itemsize, False))
    return few or is_turned(a_by_rows, b_by_rows, sums, m, n, K, itemsize)


@device
def is_high(b_by_rows, sums, m, n, K, itemsize):
    """Whether a product that is neither tall nor thin is one of `_high.py`."""
    few = n * itemsize < _LEAST_OF_HIGH or n * itemsize == TILE_VECS * VECTOR_BYTES
    if not b_by_rows or sums > 1 or m <= TILE_ROWS or m > HIGH_ROWS or few:
        return False
    return not are_few_terms(b_by_rows, m, n, K, itemsize, meet(n, itemsize))


@device
def are_few_terms(b_by_rows, m, n, K, itemsize, met):
    """Whether so few terms, for m rows and n columns, are a product of `few_terms` whatever else; rows of B may meet in
    one place of the caches."""
    if not b_by_rows:
        least = VECTOR_BYTES if m <= _FEW_TURNED else _LEAST_COLUMNS
        return K <= FEW_TERMS_BY_COLUMNS and n * itemsize >= least
    most, size = FEW_TERMS if m == 1 else FEW_TERMS_OF_LARGE, K * n * itemsize
    if m > 2 and (m <= TILE_ROWS or (m <= _MANY_ROWS and size <= FEW_BYTES)):
        most = FEW_TERMS_BY_ROWS
    elif m > _MANY_ROWS and size > MANY_BYTES:
        most = FEW_TERMS_OF_MANY
    if FEW_ROWS < m <= MORE_ROWS:
        most = min(most, FEW_TERMS_OF_MORE)
    if met and m > TILE_ROWS:  # else B is read but once
        most = FEW_TERMS_OF_MEETING
    least = _LEAST_COLUMNS
    if m <= UNPACKED_MORE * UNPACKED_ROWS and (K <= FEW_TERMS or n * itemsize % VECTOR_BYTES == 0):
        least = VECTOR_BYTES
    return n * itemsize >= least and most >= K


@device
def _is_cut_by_rows(b_by_rows, sums, m, n, K, itemsize, threads, workspace):
    """Whether a product is written so fast that each thread is given whole rows of it: of half of each row, CPUs fetch
    the beginning of the other half, which another core has just written. dW of 1 × 1000 × 1000 takes 0.45 of the time.
    """
    panels = (K + 1) * n * itemsize
    fits = sums == 1 and panels <= WHOLE and 2 * panels * threads <= workspace
    return fits and m >= _TALL_ENOUGH * threads and are_few_terms(b_by_rows, m, n, K, itemsize, meet(n, itemsize))


@device
def is_unpacked(b_by_rows, m, n, K, itemsize):
    """Whether strips of whole vectors of B are read where they are, as so few rows do not pay for packing."""
    size, rows = n * K * itemsize, UNPACKED_ROWS
    if 2 * size <= UNPACKED_BYTES and not meet(n, itemsize):
        rows *= UNPACKED_MORE
    return b_by_rows and m <= rows and size <= UNPACKED_BYTES


@device
def _kind(b_by_rows, sums, rows, columns, last, n, K, C):
    """The kind of a task that is neither thin nor high, or 0 for blocks of terms. It has so many rows, and so many
    columns, or those of the last one, of n in all."""
    met = meet(n, C.itemsize)
    if sums == 1 and are_few_terms(b_by_rows, rows, columns, K, C.itemsize, met):
        if are_few_terms(b_by_rows, rows, last, K, C.itemsize, met):
            return np.intp(FEW_TERMS_KIND)
    few = are_few_columns(columns, K, C) and not is_unpacked(b_by_rows, rows, n, K, C.itemsize)
    return np.intp(FEW_COLUMNS_KIND if few else 0)


@device
def plan(C, K, sums, a_by_rows, b_by_rows, threads, workspace):
    """How C (+)= A B, of K terms in blocks of so many sums, is cut into tasks: as large as so many bytes of workspace
    allow, so that packing is seldom, but one a thread. The terms are the rows of either factor, or are not. (tasks in
    all, size of a worker's room and of that which workers share; whether Cᵀ is computed in place of C; rows and columns
    of a task, tasks across, panels of A at a time or the kind of the tasks, where in the room the panels of B and the
    totals start; or as `tall_plan` has them; and the sums)
    """
    compact()
    (m, n), L, none = C.shape, lanes(C), np.intp(0)
    if is_tall(a_by_rows and b_by_rows and sums == 1, m, n, K, C.itemsize):
        return *tall_plan(m, n, K, threads, L, C.itemsize), none, none, none, sums
    turned = is_turned(a_by_rows, b_by_rows, sums, m, n, K, C.itemsize)
    if is_thin(a_by_rows, b_by_rows, sums, m, n, K, C.itemsize):
        if turned:
            m, n = n, m
        columns = n if threads == 1 else cut(n, 2 * L, n, threads)
        across = ceil_div(n, max(columns, 1))
        size = thin_plan(m, columns, K, a_by_rows if turned else b_by_rows, sums, C)[-1]
        tasks, kind = across if m else m, np.intp(THIN)
        return tasks, size, none, turned, np.intp(TILE_ROWS), columns, across, kind, none, none, sums
    if is_high(b_by_rows, sums, m, n, K, C.itemsize):
        # Half of the workspace is for totals.
        columns = cut(n, 2 * L, np.intp(workspace // (2 * threads * HIGH_ROWS * C.itemsize)), threads)
        across, (right, totals, size) = ceil_div(n, columns), high_plan(columns, K, C)
        return across, size, none, turned, np.intp(HIGH_ROWS), columns, across, np.intp(HIGH), right, totals, sums
    if threads == 1 and m * n <= 2**14:  # no divisions where they would be felt
        rows, columns = ceil_div(m, TILE_ROWS) * TILE_ROWS, ceil_div(n, TILE_VECS * L) * TILE_VECS * L
        across, tasks = np.intp(1), np.intp(min(m * n, 1))
    elif _is_cut_by_rows(b_by_rows, sums, m, n, K, C.itemsize, threads, workspace):
        rows, columns, across = cut(m, TILE_ROWS, m, threads), n, np.intp(1)
        tasks = ceil_div(m, rows)
    else:
        rows, columns, across, tasks = _large_plan(m, n, L, C.itemsize, threads, workspace)
    tall, wide = rows // TILE_ROWS, ceil_div(columns, TILE_VECS * L)
    held_of_A = min(np.intp(GROUP), workspace // (8 * threads))
    group = max(np.intp(1), min(tall, held_of_A // (BLOCK * TILE_ROWS * C.itemsize)))
    block = min(K, terms_of_block(K, sums))
    panel = sums * sum_apart(block, sums, np.intp(TILE_ROWS), L)
    right = (group * panel + L * TILE_ROWS + 2 * L) // L * L
    packed = wide if tall > 1 or K <= FEW_TERMS_BY_COLUMNS else np.intp(1)
    held = K if are_few_columns(columns, K, C) else block
    totals = right + packed * TILE_VECS * (held * L + L) + L * TILE_VECS * L
    size = totals + ((tall * wide if block < K else 1) + 1) * REGISTERS * L
    wide = min(n, columns)
    kind = _kind(b_by_rows, sums, min(m, rows), wide, n - (across - 1) * wide, n, K, C)
    return tasks, size, none, turned, rows, columns, across, kind if kind else group, right, totals, sums


@inlined
def larger(one, other):
    """The sizes of the rooms for the tasks of two plans."""
    return max(one[0], other[0]), max(one[1], other[1])


@inlined
def workspaces(sizes, workers, like):
    """Elements of room for the numbers that workers share, for what else they share, and for the panels and totals of
    each; and how far into it, if it starts at a multiple of 64 bytes, the first worker's part and each next one lie."""
    L = lanes(like)
    own, shared = sizes
    start, apart = L + shared, (own + L - 1) // L * L
    return start + workers * apart, start, apart
