"""How a matrix product of `_product.py` is cut into tasks, by its shape alone, and where its factors lie."""

from math import gcd

import numpy as np

from ._arrays import compact, flag
from ._few import WHOLE, are_few_columns
from ._high import HIGH_ROWS, high_room
from ._jit import device, inlined
from ._kinds import FEW_TERMS_BY_COLUMNS, are_few_terms, is_high, is_thin, is_turned, kind_of_rectangle
from ._pack import ceil_div, sum_apart, terms_of_block
from ._simd import lanes
from ._tall import is_tall, tall_plan
from ._task import HIGH, THIN, Plan
from ._thin import meet, thin_room
from ._tile import BLOCK, TILE_ROWS, TILE_VECS

WORKSPACE = 2**24  # bytes for panels and totals, over all threads
_GROUP = 2**18  # bytes of A's panels that are packed at a time: half as many cost 2 %, twice as many gain nothing
_TALL_ENOUGH = 4 * TILE_ROWS  # rows for each thread that are worth cutting

REGISTERS = TILE_ROWS * TILE_VECS  # vectors of a tile


@device
def cut(size, step, most, pieces):
    """How many elements a piece of `size` gets: a multiple of step, at most about `most`, for a multiple of `pieces`
    equal pieces."""
    if size <= step:
        return step
    pieces *= ceil_div(size, most * pieces)
    return ceil_div(size, pieces * step) * step


@device
def _large_rectangles(m, n, L, itemsize, threads, workspace):
    """Rows and columns of a task, tasks across, tasks in all."""
    # Elements of the totals: B's panels, beside those of A, take less than as much again; where threads are many, more.
    most = max(workspace // threads - 2 * _GROUP, workspace // (4 * threads)) // (2 * itemsize)
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
def _is_cut_by_rows(b_by_rows, sums, m, n, K, itemsize, threads, workspace):
    """Whether a product is written so fast that each thread is given whole rows of it: of half of each row, CPUs fetch
    the beginning of the other half, which another core has just written. dW of 1 × 1000 × 1000 takes 0.45 of the time.
    """
    panels = (K + 1) * n * itemsize
    fits = sums == 1 and panels <= WHOLE and 2 * panels * threads <= workspace
    return fits and m >= _TALL_ENOUGH * threads and are_few_terms(b_by_rows, m, n, K, itemsize, meet(n, itemsize))


@inlined
def _thin_plan(C, K, sums, turned, by_rows, threads):
    """The plan of a product of `_thin.py`: a task is some columns of C, or of Cᵀ, whose second factor lies by rows or
    not."""
    (m, n), none = C.shape, np.intp(0)
    if turned:
        m, n = n, m
    columns = n if threads == 1 else cut(n, 2 * lanes(C), n, threads)
    across = ceil_div(n, max(columns, 1))
    own, tasks = thin_room(m, columns, K, by_rows, sums, C)[-1], across if m else m
    return Plan(
        kind=THIN,
        tasks=tasks,
        own=own,
        shared=none,
        turned=turned,
        sums=sums,
        rows=np.intp(TILE_ROWS),
        columns=columns,
        across=across,
        group=none,
        right=none,
        totals=none,
        slots=none,
    )


@inlined
def _high_plan(C, K, sums, threads, workspace):
    """The plan of a product of `_high.py`: a task is some columns of C."""
    n, none = C.shape[1], np.intp(0)
    most = np.intp(workspace // (2 * threads * HIGH_ROWS * C.itemsize))  # half of the workspace is for totals
    columns = cut(n, 2 * lanes(C), most, threads)
    across, (right, totals, own) = ceil_div(n, columns), high_room(columns, K, C)
    no = flag(False)
    return Plan(
        kind=HIGH,
        tasks=across,
        own=own,
        shared=none,
        turned=no,
        sums=sums,
        rows=np.intp(HIGH_ROWS),
        columns=columns,
        across=across,
        group=none,
        right=right,
        totals=totals,
        slots=none,
    )


@inlined
def _rectangles(C, K, sums, b_by_rows, threads, workspace):
    """Rows and columns of a task, tasks across, tasks in all."""
    (m, n), L = C.shape, lanes(C)
    if threads == 1 and m * n <= 2**14:  # no divisions where they would be felt
        rows, columns = ceil_div(m, TILE_ROWS) * TILE_ROWS, ceil_div(n, TILE_VECS * L) * TILE_VECS * L
        return rows, columns, np.intp(1), np.intp(min(m * n, 1))
    if _is_cut_by_rows(b_by_rows, sums, m, n, K, C.itemsize, threads, workspace):
        rows = cut(m, TILE_ROWS, m, threads)
        return rows, n, np.intp(1), ceil_div(m, rows)
    return _large_rectangles(m, n, L, C.itemsize, threads, workspace)


@inlined
def _plan_of_rectangles(C, K, sums, b_by_rows, threads, workspace):
    """The plan of any other product: a task is a rectangle of C."""
    (m, n), L = C.shape, lanes(C)
    rows, columns, across, tasks = _rectangles(C, K, sums, b_by_rows, threads, workspace)
    tall, wide = rows // TILE_ROWS, ceil_div(columns, TILE_VECS * L)
    held_of_A = min(np.intp(_GROUP), workspace // (8 * threads))
    group = max(np.intp(1), min(tall, held_of_A // (BLOCK * TILE_ROWS * C.itemsize)))
    block = min(K, terms_of_block(K, sums))
    panel = sums * sum_apart(block, sums, np.intp(TILE_ROWS), L)
    right = (group * panel + L * TILE_ROWS + 2 * L) // L * L
    packed = wide if tall > 1 or K <= FEW_TERMS_BY_COLUMNS else np.intp(1)
    held = K if are_few_columns(columns, K, C) else block
    totals = right + packed * TILE_VECS * (held * L + L) + L * TILE_VECS * L
    own = totals + ((tall * wide if block < K else 1) + 1) * REGISTERS * L
    first = min(n, columns)
    kind = kind_of_rectangle(b_by_rows, sums, min(m, rows), first, n - (across - 1) * first, n, K, C)
    none, no = np.intp(0), flag(False)
    return Plan(
        kind=kind,
        tasks=tasks,
        own=own,
        shared=none,
        turned=no,
        sums=sums,
        rows=rows,
        columns=columns,
        across=across,
        group=group,
        right=right,
        totals=totals,
        slots=none,
    )


@device
def plan(C, K, sums, a_by_rows, b_by_rows, threads, workspace):
    """How C (+)= A B, of K terms in blocks of so many sums, is cut into tasks: as large as so many bytes of workspace
    allow, so that packing is seldom, but one a thread. The terms are the rows of either factor, or are not."""
    compact()
    (m, n), itemsize = C.shape, C.itemsize
    if is_tall(a_by_rows and b_by_rows and sums == 1, m, n, K, itemsize):
        return tall_plan(m, n, K, threads, lanes(C), itemsize)
    turned = is_turned(a_by_rows, b_by_rows, sums, m, n, K, itemsize)
    if turned or is_thin(b_by_rows, sums, m, n, K, itemsize):
        return _thin_plan(C, K, sums, turned, a_by_rows if turned else b_by_rows, threads)
    if is_high(b_by_rows, sums, m, n, K, itemsize):
        return _high_plan(C, K, sums, threads, workspace)
    return _plan_of_rectangles(C, K, sums, b_by_rows, threads, workspace)
