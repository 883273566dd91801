"""Products C[i, j] = Σ_k A[i, k] B[k, j] of few rows, or of few columns as Cᵀ: B is read once, and where it is.

Where B is given by rows, all columns of B that a chunk has pass the few rows of A, some rows of B at a time
(`_by_rows.py`). Where it is given by columns, they are multiplied where they lie: as dots, if a block is several sums
(`_dots.py`), and in squares that are turned, if it is one (`_turned.py`). The order of summation is that of
`_product.py`.
"""

import numpy as np

from ._arrays import compact, flat
from ._by_rows import BY_ROWS, first_absent_of_by_rows, part_by_rows, rows_at_a_time, to_line
from ._dots import DOTS, SPAN, part_of_dots
from ._jit import device
from ._loads import load, load_masked, store, store_masked
from ._pack import ceil_div, finish, pack, sum_apart, terms_of_block
from ._parts import absent_of, part
from ._simd import first, lanes, select, splat
from ._task import TASK
from ._tile import BLOCK, SUMS, TILE_ROWS, TILE_VECS, TURNED, TileShape, tile_rows
from ._tile_loads import tile_load
from ._transpose import tile_store_turned, to_lines, to_rows
from ._turned import SQUARES, part_of_squares, rows_turned

CACHE_WAY = 4096  # bytes: what lies multiples of it apart meets in one set of the first cache, which holds few
_CHUNK = 8 * TILE_ROWS * TILE_VECS  # vectors of sums: eight strips that fill the registers

_SOME_TURNED = TileShape(4, 1)  # of so many rows or more, each piece of a column that is written is whole


@device
def meet(columns, itemsize):
    """Whether rows of so many elements lie a multiple of CACHE_WAY apart."""
    return columns * itemsize % CACHE_WAY == 0


@device
def rows_meet(array):
    """Whether rows of the array do."""
    return meet(array.shape[1], array.itemsize)


@device
def thin_room(m, n, K, by_rows, sums, like):
    """Columns of a chunk, where in the workspace its sums, totals and spare elements start, and the workspace's size,
    for at most n columns, and blocks of so many sums"""
    compact()
    L, R, block = lanes(like), rows_at_a_time(min(m, TILE_ROWS)), terms_of_block(K, sums)
    most, together = min(K, block), R
    if m > TILE_ROWS or not by_rows:
        R = ceil_div(m, TILE_ROWS) * TILE_ROWS
    if not by_rows:
        most = min(K, SPAN * block)
    chunk = min(np.intp(_CHUNK // R * L), ceil_div(n, L) * L)
    width = chunk + L
    if by_rows:
        own = sums * sum_apart(most, sums, together, L) + L * together
        totals = own + width * (2 if sums == 1 else together + 2)
    elif sums == 1:
        own = (most + L) * R
        totals = own + L * TURNED
    else:
        own = totals = m * (most + L)
    spare = totals + width * max(R, tile_rows(_SOME_TURNED))
    return chunk, own, totals, spare, spare + L * (max(m, TURNED) + 2)


THIN_PARTS = *BY_ROWS.parts, *DOTS.parts, *SQUARES.parts
_BEFORE_DOTS, _BEFORE_SQUARES = len(BY_ROWS.parts), len(BY_ROWS.parts + DOTS.parts)


@device
def first_absent_of_thin(m, by_rows, sums, like):
    """Which of the THIN_PARTS, counted from 1, m rows beside a B by rows or by columns need and is not linked, or 0"""
    if by_rows:
        before, missing = 0, first_absent_of_by_rows(m, like)
    elif sums > 1:
        before, missing = _BEFORE_DOTS, absent_of(DOTS, part_of_dots(m), like)
    else:
        before, missing = _BEFORE_SQUARES, absent_of(SQUARES, part_of_squares(m), like)
    return before + missing if missing else 0


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
def _add_by_rows(A, a_by_rows, B, j, m, K, sums, columns, work, left, totals, own, width):
    """The totals of some columns from j on, of a B by rows; each sum of a block is one of every so many rows of B."""
    compact()
    L, stride, block = lanes(B), B.shape[1], terms_of_block(K, sums)
    of_block = own + 2 * width
    for k in range(0, max(K, 1), block):
        terms, apart = min(K - k, block), sums > 1 and k > 0
        for i in range(0, m, TILE_ROWS):
            rows, total = min(m - i, TILE_ROWS), totals + i * width
            R, t = rows_at_a_time(rows), of_block if apart else total
            pack(A, a_by_rows, i, rows, k, terms, sums, R, work, left)
            each = sum_apart(terms, sums, R, L)
            for s in range(sums):
                place, opens = (k + s) * stride + j, s == 0 and (apart or k == 0)
                of_sum = work, left + s * each, ceil_div(terms - s, sums), flat(B), place, sums * stride
                BY_ROWS(part_by_rows(rows), *of_sum, columns, t, own, width, opens)
            for p in range(R if apart else 0):
                for q in range(p * width, p * width + columns, L):
                    store(work, total + q, load(work, total + q) + load(work, of_block + q))


@device
def _add_turned(A, a_by_rows, B, j, m, K, columns, work, left, totals, spare, width):
    """The same of a B by columns, for blocks of one sum"""
    compact()
    most = np.intp(SPAN * BLOCK)
    for k in range(0, max(K, 1), most):
        terms = min(K - k, most)
        pack(A, a_by_rows, np.intp(0), m, k, terms, np.intp(1), rows_turned(m), work, left)
        of_block = work, left, flat(B), j * K + k, K, columns, terms, totals, width, spare, k == 0
        SQUARES(part_of_squares(m), *of_block)


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
        of_blocks = *factor, m, flat(B), place, K, columns, terms, block, work, totals, width, k0 == 0
        DOTS(part_of_dots(m), *of_blocks)


@part(*TASK)
def thin_task(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, task, work, left):
    """A task of a product of few rows: some columns of C (+)= A B + bias; or of few columns, where Cᵀ is computed."""
    compact()
    turned, most, sums, K = plan.turned, plan.columns, plan.sums, A.shape[0] if a_by_rows else A.shape[1]
    if turned:  # Cᵀ = Bᵀ Aᵀ
        A, a_by_rows, B, b_by_rows = B, b_by_rows, A, a_by_rows
    m, n = (C.shape[1], C.shape[0]) if turned else C.shape
    j0 = task * most
    n = min(n - j0, most)
    chunk, own, totals, spare, _ = thin_room(m, n, K, b_by_rows, sums, C)
    own, totals, spare, width = left + own, left + totals, left + spare, chunk + lanes(C)
    c, columns = np.intp(0), min(chunk, to_line(B, j0, n) if b_by_rows else n)
    while c < n:
        j = j0 + c
        if b_by_rows:
            _add_by_rows(A, a_by_rows, B, j, m, K, sums, columns, work, left, totals, own, width)
        elif sums == 1:
            _add_turned(A, a_by_rows, B, j, m, K, columns, work, left, totals, own, width)
        else:
            _add_by_columns(A, a_by_rows, B, j, m, K, columns, work, left, totals, width)
        if turned:
            finish_turned(work, totals, width, spare, C, j, columns, bias, accumulate)
        else:
            finish(work, totals, width, C, np.intp(0), j, m, columns, bias, accumulate)
        c += columns
        columns = min(chunk, n - c)
