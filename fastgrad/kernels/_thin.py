"""Products C[i, j] = Σ_k A[i, k] B[k, j] of few rows, or of few columns as Cᵀ: B is read once, and where it is.

Where B is given by rows, the few rows of A are packed, and all columns of B that a chunk has pass them, some rows of B
at a time, while the chunk's sums stay in the first cache; where it is given by columns, they are multiplied where they
lie. The order of summation is that of `_product.py`.
"""

import numpy as np

from ._arrays import compact, flat
from ._dots import DOTS_PARTS, SPAN, add_dots, first_absent_of_dots
from ._jit import device, inlined
from ._loads import load, load_masked, store, store_masked
from ._pack import ceil_div, finish, pack, terms_of_block
from ._parts import absent, part
from ._simd import first, lanes, select, splat
from ._tile import (
    BLOCK,
    SUMS,
    TILE_ROWS,
    TILE_VECS,
    TURNED,
    TileShape,
    tile_add,
    tile_load,
    tile_load_masked,
    tile_prefetch,
    tile_product,
    tile_rank1,
    tile_rows,
    tile_splat,
    tile_store,
    tile_width,
    tile_zeros,
)
from ._transpose import tile_store_turned, to_lines, to_rows

CACHE_WAY = 4096  # bytes: what lies multiples of it apart meets in one set of the first cache, which holds few
# So many rows, and TILE_ROWS where there are more, have sums of their own: for each, some loops are compiled. Six of
# eight rows take 0.74 to 0.9 of the time of all eight.
FEW_ROWS, MORE_ROWS = 4 if TILE_ROWS % 4 == 0 else 2, TILE_ROWS * 3 // 4
_CHUNK = 8 * TILE_ROWS * TILE_VECS  # vectors of sums: eight strips that fill the registers

_PLAN = (int, int, int, bool, int, int, int, int, int, int)
TASK = 2, bool, 2, bool, 2, 1, bool, _PLAN, int, 1, int  # what the task of a product takes

_VECTOR, _PAIR = TileShape(1, 1), TileShape(1, 2)
# One or two rows of sums in memory, and how many rows of B are added to them at a time: two at a time load and store
# the sums more often, and take up to a quarter longer; to fetch rows ahead takes longer, too.
_ONE_SUM, _TWO_SUMS, _SOME_ROWS = TileShape(1, 1), TileShape(2, 1), TileShape(8, 1)
_SOME_ELEMENTS, _SOME_PAIRS = TileShape(8, 1), TileShape(16, 1)
_SOME_TURNED = TileShape(4, 1)  # of so many rows or more, each piece of a column that is written is whole
# More rows of sums in registers: strips of B as wide as these hold. What is left, of _PAIRED_ROWS or less, is taken two
# vectors at a time: sums of one would wait for each addition, and dW of 4 × 20 from 300 rows takes 0.75 of the time.
_PAIRED_ROWS = MORE_ROWS if TILE_VECS > 1 else FEW_ROWS
_FEW, _MORE, _MANY = TileShape(FEW_ROWS, 1), TileShape(MORE_ROWS, 1), TileShape(TILE_ROWS, 1)
_FEW_STRIP, _MORE_STRIP, _MANY_STRIP = (
    TileShape(rows, TILE_ROWS * TILE_VECS // rows) for rows in (FEW_ROWS, MORE_ROWS, TILE_ROWS)
)


@device
def meet(columns, itemsize):
    """Whether rows of so many elements lie a multiple of CACHE_WAY apart."""
    return columns * itemsize % CACHE_WAY == 0


@device
def rows_meet(array):
    """Whether rows of the array do."""
    return meet(array.shape[1], array.itemsize)


@device
def _rows_at_a_time(m):
    if m <= 2:
        return m
    if m <= FEW_ROWS:
        return np.intp(FEW_ROWS)
    return np.intp(MORE_ROWS if m <= MORE_ROWS else TILE_ROWS)


@device
def thin_plan(m, n, K, by_rows, like):
    """Columns of a chunk, where in the workspace its sums, totals and spare elements start, and the workspace's size,
    for at most n columns"""
    compact()
    L, R = lanes(like), _rows_at_a_time(m)
    if not by_rows:
        R = ceil_div(m, TILE_ROWS) * TILE_ROWS
    chunk = min(np.intp(_CHUNK // R * L), ceil_div(n, L) * L)
    sums = (min(K, BLOCK) + 2 * L) * R
    totals = sums + (chunk + L) * 2
    if not by_rows:
        totals = m * (min(K, SPAN * terms_of_block(K, SUMS)) + L)
    spare = totals + (chunk + L) * max(R, tile_rows(_SOME_TURNED))
    return chunk, sums, totals, spare, spare + L * (max(m, TURNED) + 2)


_BY_ROWS = 1, int, int, 1, int, int, int, int, int, int, bool  # as the next four take it


@device
def _add_rows(sums, elements, work, a, terms, B, b, stride, columns, t, own, width, opens):
    """work[t + p width + q] (+)= Σ_k work[a + k rows + p] · B[b + k stride + q], where (+)= is = if it opens the sum.

    For one or two rows, B is read from end to end, some rows at a time, and the sums are in memory: at `own` if not
    at t.
    """
    compact()
    L, R, some = lanes(B), tile_rows(sums), tile_rows(_SOME_ROWS)
    at = t if opens else own
    for q in range(0, columns, L):
        tile_store(tile_zeros(B, sums), work, at + q, width)
    whole, wide = terms // some * some, columns // L * L
    for k in range(0, whole, some):
        left, row = tile_splat(work, a + R * k, np.intp(1), elements), b + k * stride
        for q in range(0, wide, L):
            total, right = tile_load(work, at + q, width, sums), tile_load(B, row + q, stride, _SOME_ROWS)
            tile_store(tile_product(total, left, 0, right), work, at + q, width)
        if wide < columns:
            right = tile_load_masked(B, row + wide, stride, _SOME_ROWS, first(B, columns - wide))
            total = tile_product(tile_load(work, at + wide, width, sums), left, 0, right)
            tile_store(total, work, at + wide, width)
    for k in range(whole, terms):
        for q in range(0, columns, L):
            right = tile_load_masked(B, b + k * stride + q, stride, _VECTOR, first(B, columns - q))
            total = tile_product(tile_load(work, at + q, width, sums), work, a + R * k, right)
            tile_store(total, work, at + q, width)
    if not opens:
        for q in range(0, columns, L):
            both = tile_load(work, t + q, width, sums), tile_load(work, own + q, width, sums)
            tile_store(tile_add(*both), work, t + q, width)


@part(*_BY_ROWS)
def one_by_rows(work, a, terms, B, b, stride, columns, t, sums, width, opens):
    _add_rows(_ONE_SUM, _SOME_ELEMENTS, work, a, terms, B, b, stride, columns, t, sums, width, opens)


@part(*_BY_ROWS)
def two_by_rows(work, a, terms, B, b, stride, columns, t, sums, width, opens):
    _add_rows(_TWO_SUMS, _SOME_PAIRS, work, a, terms, B, b, stride, columns, t, sums, width, opens)


@inlined
def ahead_in_place(stride, width):
    """How far ahead a B is fetched that is read where it is, in strips of this width: each touches few bytes of many
    pages, which the hardware does not see coming. Eight rows; the next strip, where strips are one vector wide: wider
    ones do not stay in the first cache as long, and dX of 4 × 164 × 639 takes 0.7 to 0.8 of the time."""
    return 8 * stride if TILE_VECS > 1 else np.intp(width)


@inlined
def _keep(shape, sums, work, t, width, opens):
    """work[t + p width + q] (+)= sums[p, q], where (+)= is = if they open the sum."""
    if not opens:
        sums = tile_add(tile_load(work, t, width, shape), sums)
    tile_store(sums, work, t, width)


@device
def _add_strips(vector, strip, work, a, terms, B, b, stride, columns, t, width, opens):
    """The same for more rows, with the sums in registers: strips of B as wide as these hold."""
    compact()
    L, R, across = lanes(B), tile_rows(vector), tile_width(strip, B)
    whole, ahead = columns // across * across, ahead_in_place(stride, across)
    for q in range(0, whole, across):
        acc = tile_zeros(B, strip)
        for k in range(terms):
            place = b + k * stride + q
            tile_prefetch(strip, B, place + ahead)
            acc = tile_rank1(acc, work, a + k * R, np.intp(1), R, B, place)
        _keep(strip, acc, work, t + q, width, opens)
    while R <= _PAIRED_ROWS and columns - whole > L:
        inside = first(B, columns - whole - L)
        some = other = tile_zeros(B, vector)
        for k in range(terms):
            place = b + k * stride + whole
            tile_prefetch(_PAIR, B, place + ahead)
            some = tile_product(some, work, a + k * R, tile_load(B, place, stride, _VECTOR))
            other = tile_product(other, work, a + k * R, tile_load_masked(B, place + L, stride, _VECTOR, inside))
        _keep(vector, some, work, t + whole, width, opens)
        _keep(vector, other, work, t + whole + L, width, opens)
        whole += 2 * L
    for q in range(whole, columns, L):
        inside = first(B, columns - q)
        some = tile_zeros(B, vector)
        for k in range(terms):
            place = b + k * stride + q
            if R > _PAIRED_ROWS:  # fewer rows would wait for it
                tile_prefetch(_VECTOR, B, place + ahead)
            some = tile_product(some, work, a + k * R, tile_load_masked(B, place, stride, _VECTOR, inside))
        _keep(vector, some, work, t + q, width, opens)


@part(*_BY_ROWS)
def few_by_rows(work, a, terms, B, b, stride, columns, t, sums, width, opens):
    _add_strips(_FEW, _FEW_STRIP, work, a, terms, B, b, stride, columns, t, width, opens)


@part(*_BY_ROWS)
def more_by_rows(work, a, terms, B, b, stride, columns, t, sums, width, opens):
    _add_strips(_MORE, _MORE_STRIP, work, a, terms, B, b, stride, columns, t, width, opens)


@part(*_BY_ROWS)
def many_by_rows(work, a, terms, B, b, stride, columns, t, sums, width, opens):
    _add_strips(_MANY, _MANY_STRIP, work, a, terms, B, b, stride, columns, t, width, opens)


@device
def add_by_rows(m, work, a, terms, B, b, stride, columns, t, sums, width, opens):
    """The part for m rows beside a B by rows."""
    args = work, a, terms, B, b, stride, columns, t, sums, width, opens
    if m > MORE_ROWS:
        many_by_rows(*args)
    elif m > FEW_ROWS:
        more_by_rows(*args)
    elif m > 2:
        few_by_rows(*args)
    elif m > 1:
        two_by_rows(*args)
    else:
        one_by_rows(*args)


THIN_PARTS = one_by_rows, two_by_rows, few_by_rows, more_by_rows, many_by_rows, *DOTS_PARTS


@device
def first_absent_of_thin(m, by_rows, like):
    """Which of the THIN_PARTS, counted from 1, m rows beside a B by rows or by columns need and is not linked, or 0"""
    if not by_rows:
        missing = first_absent_of_dots(m, like)
        return 5 + missing if missing else 0
    if m > MORE_ROWS:
        missing = 5 * absent(many_by_rows, like)
    elif m > FEW_ROWS:
        missing = 4 * absent(more_by_rows, like)
    elif m > 2:
        missing = 3 * absent(few_by_rows, like)
    elif m > 1:
        missing = 2 * absent(two_by_rows, like)
    else:
        missing = 1 * absent(one_by_rows, like)
    return missing


@device
def finish_turned(work, t, width, spare, C, j, columns, bias, accumulate):
    """C[j : j + columns, :] (+)= totals transposed + bias"""
    compact()
    L, m = lanes(C), C.shape[1]
    zeros = splat(C, 0)
    for q in range(0, columns, L):
        if bias.size:
            for p in range(m):
                at = t + p * width + q
                # Of the totals alone: what memory held before may be subnormal, which takes long.
                total = load_masked(work, at, first(C, columns - q), zeros)
                store(work, at, total + splat(C, bias[p]))
        direct = q + 2 * L <= columns and not accumulate  # what spills over the last row is overwritten by the next
        target, at = (flat(C), (j + q) * m) if direct else (work, spare)
        if m == 1:
            store(target, at, load(work, t + q))
        elif m < tile_rows(_SOME_TURNED):
            tile_store_turned(tile_load(work, t + q, width, _SOME_TURNED), target, at, m)
        else:
            to_rows(work, t + q, width, target, at, m, L)
        if direct:
            continue
        end = min(L, columns - q) * m
        for at in range(0, end, L):
            place, inside = (j + q) * m + at, first(C, end - at)
            with_old = first(C, L * accumulate) & inside
            value = load_masked(work, spare + at, inside, zeros)
            value = select(with_old, load_masked(flat(C), place, with_old, zeros) + value, value)
            store_masked(flat(C), place, value, inside)


@device
def _add_by_rows(A, a_by_rows, B, j, m, K, columns, work, left, totals, sums, width):
    """The totals of some columns from j on, of a B by rows"""
    compact()
    for k in range(0, max(K, 1), BLOCK):
        terms = min(K - k, BLOCK)
        pack(A, a_by_rows, np.intp(0), m, k, terms, np.intp(1), _rows_at_a_time(m), work, left)
        place = k * B.shape[1] + j
        add_by_rows(m, work, left, terms, flat(B), place, B.shape[1], columns, totals, sums, width, k == 0)


@device
def _add_by_columns(A, a_by_rows, B, j, m, K, columns, work, left, totals, width):
    """The same of a B by columns. An A of more than one row, by rows, is transposed before."""
    compact()
    L, block = lanes(B), terms_of_block(K, SUMS)
    for k0 in range(0, max(K, 1), SPAN * block):
        terms, place = min(K - k0, SPAN * block), j * K + k0
        factor = flat(A), k0, K
        if a_by_rows and m > 1:
            factor = work, left, terms + L
            for k in range(0, terms, L):
                to_lines(A, (k0 + k) * m, m, terms - k, work, left + k, terms + L)
        add_dots(m, *factor, flat(B), place, K, columns, terms, block, work, totals, width, k0 == 0)


@part(*TASK)
def thin_task(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, task, work, left):
    """A task of a product of few rows: some columns of C (+)= A B + bias; or of few columns, where Cᵀ is computed."""
    compact()
    turned, most, K = plan[3], plan[5], A.shape[0] if a_by_rows else A.shape[1]
    if turned:  # Cᵀ = Bᵀ Aᵀ
        A, a_by_rows, B, b_by_rows = B, b_by_rows, A, a_by_rows
    m, n = (C.shape[1], C.shape[0]) if turned else C.shape
    j0 = task * most
    n = min(n - j0, most)
    chunk, sums, totals, spare, _ = thin_plan(m, n, K, b_by_rows, C)
    sums, totals, spare, width = left + sums, left + totals, left + spare, chunk + lanes(C)
    for c in range(0, n, chunk):
        columns, j = min(chunk, n - c), j0 + c
        if b_by_rows:
            _add_by_rows(A, a_by_rows, B, j, m, K, columns, work, left, totals, sums, width)
        else:
            _add_by_columns(A, a_by_rows, B, j, m, K, columns, work, left, totals, width)
        if turned:
            finish_turned(work, totals, width, spare, C, j, columns, bias, accumulate)
        else:
            finish(work, totals, width, C, np.intp(0), j, m, columns, bias, accumulate)
