"""Products C[i, j] = Σ_k A[k, i] B[k, j] of long sums and few rows or columns, as the dW of a large batch: a task is a
block of terms or some, not a part of C, so that A and B are read once and from end to end.

The sums of a task go to a slot, and slots are added to the totals in the order of the blocks, by whichever worker has
just finished one while no other adds. The order of summation is that of `_product.py`, for any number of workers.

A strip of B touches 64 bytes of every row, which memory gives at half its speed. So a block is cut into runs of few
rows; while the strips of one run are read from the second cache, the next is fetched from end to end: dW of 16384 × 784
× 10 took 10.2 ms without, 4.7 ms with it. Copying B into panels instead takes longer.
"""

import numpy as np

from ._arrays import add_to, compact, flag, flat
from ._by_rows import BY_ROWS, FEW_ROWS, MORE_ROWS, part_by_rows
from ._high import TEN
from ._jit import device, inlined
from ._loads import load, load_masked, store
from ._pack import ceil_div, finish, pack
from ._panels import FEW, MEDIUM, NARROW, TILE
from ._parts import part
from ._simd import first, lanes, splat
from ._task import TALL, TASK, Plan
from ._thin import meet
from ._tile import (
    BLOCK,
    TILE_ROWS,
    TILE_VECS,
    TileShape,
    tile_fma,
    tile_rank1,
    tile_rows,
    tile_splat,
    tile_width,
    tile_zeros,
)
from ._tile_loads import tile_load, tile_prefetch, tile_store

_LONG = 4 * BLOCK  # terms, or more
_FEW = 64  # rows or columns, or less: of more, panels are used often enough to pay for packing
_FEW_OF_MEETING = 32  # the same where rows of B meet in one place of the caches
# Of one or two rows, the tiles are loaded and stored as often as they have terms: with so many columns or more, whole
# rows of B are added, as to other products of few rows, in two thirds of the time.
_TWO, _WIDE = 2, 256
# Of fewer columns, the sums of both rows are in registers, in tiles that repeat the only one.
_PAIR, _NARROW_PAIR = TileShape(_TWO, TILE_VECS), TileShape(_TWO, 1)
# Smaller tiles for few rows, or what is left of more: of six rows, they take 0.8 of the time, of four, in two vectors,
# 0.6.
_MORE, _MORE_MEDIUM = TileShape(MORE_ROWS, TILE_VECS), TileShape(MORE_ROWS, min(TILE_VECS, 2))
_FEW_MEDIUM = TileShape(FEW_ROWS, min(TILE_VECS, 2))
# One row of columns that fill no more than two vectors, or two of one, leaves each sum waiting four cycles for each of
# its terms: so many blocks are summed side by side, in half to a third of the time. Of more, this takes as long or
# longer.
_BLOCKS, _BLOCKS_OF_FOUR = TileShape(4, 1), TileShape(4, 1, 4)
_TOTALS = 2**19  # bytes of C, or less, which stay in the second cache
# Rows of B in a run, if memory is to give them in time for up to so many rows of C, where twice as many are up to 10 %
# slower; and in one for more rows of C, where the totals are loaded and stored as often; and in one of rows that meet.
# More rows where they have so few bytes in all: 16 of them take up to 1.3 times as long, if tiles are not narrow.
_RUN, _RUN_OF_MANY, _MANY, _RUN_OF_MEETING = 16, 64, 32, 8
_RUN_BYTES = 2**14 if TILE_VECS > 1 else 0

# The numbers that workers share, at the start of the workspace, behind that of tasks taken: of workers whose tasks are
# to be added, of tasks that were, and a bit for each slot that holds a task's sums.
_ADDING, _ADDED, _FILLED = 1, 2, 3
_SLOTS, _SLOT_BYTES = 32, 2**22  # so many, and of that size together, at most: none waits for another


@device
def is_tall(over_rows, m, n, K, itemsize):
    """Whether a product, whose terms are the rows of both factors or are not, is one of these."""
    few = _FEW_OF_MEETING if meet(max(m, n), itemsize) else _FEW
    return over_rows and K >= _LONG and 0 < min(m, n) <= few and m * n * itemsize <= _TOTALS


@device
def is_by_whole_rows(m, n):
    """Whether one of these is computed by one_by_rows or two_by_rows."""
    return min(m, n) <= _TWO and max(m, n) >= _WIDE


@device
def _blocks_of_task(m, n, L):
    """How many blocks of terms a task is."""
    return tile_rows(_BLOCKS) if min(m, n) <= _TWO and m * n <= 2 * L else np.intp(1)


@device
def _rows_of_run(rows, columns, itemsize):
    """How many rows of B, of so many columns, a run has for so many rows of C."""
    if meet(columns, itemsize):
        return np.intp(_RUN_OF_MEETING)
    if rows > _MANY:
        return np.intp(_RUN_OF_MANY)
    return min(np.intp(_RUN_OF_MANY), max(np.intp(_RUN), _RUN_BYTES // (columns * itemsize)))


@device
def _room_of_block(rows, columns, L, itemsize):
    """How far apart the rows of the sums of a block are, and the size of all"""
    stride = ceil_div(columns, L) * L
    if meet(stride, itemsize):
        stride += L
    return stride, stride * (ceil_div(rows, TILE_ROWS) * TILE_ROWS if rows > _TWO else FEW_ROWS)


@device
def tall_plan(m, n, K, threads, L, itemsize):
    """The plan of one of these."""
    turned, none = n < m, np.intp(0)
    rows, columns = (n, m) if turned else (m, n)
    stride, size = _room_of_block(rows, columns, L, itemsize)
    together = _blocks_of_task(m, n, L)
    tasks, slots = ceil_div(K, together * BLOCK), np.intp(1)
    if threads > 1:
        slots = min(tasks, np.intp(_SLOTS), max(_SLOT_BYTES // (together * size * itemsize), threads))
    own, shared = 2 * BLOCK + 2 * L, (slots * together + 1) * size
    copied = _rows_of_run(rows, columns, itemsize) * stride
    if columns < L:  # the last rows are copied: of less than a vector, by two tasks at the same time
        own = max(own, copied)
    else:
        shared += copied
    return Plan(
        kind=TALL,
        tasks=tasks,
        own=own,
        shared=shared,
        turned=turned,
        sums=np.intp(1),
        rows=m,
        columns=n,
        across=none,
        group=none,
        right=none,
        totals=none,
        slots=slots,
    )


@device
def _add_run(shape, A, a, rows, B, b, apart, terms, far, step, work, t, stride, opens):
    """work[t + p stride + q] (+)= Σ_k A[a + k · A's columns + p] · B[b + k apart + q]; B[far + k step:] is fetched,
    but nothing from behind B."""
    compact()
    acc = tile_zeros(B, shape)
    if not opens:
        acc = tile_load(work, t, stride, shape)
    for k in range(terms):
        tile_prefetch(shape, B, min(far + k * step, B.size))
        acc = tile_rank1(acc, flat(A), a + k * A.shape[1], np.intp(1), rows, B, b + k * apart)
    tile_store(acc, work, t, stride)


@inlined
def _add_run_of_tile(vectors, left, right, target):
    """_add_run in the tile of so many vectors that wastes least of its rows"""
    rows = left[2]
    if TILE_VECS == 1 or vectors == TILE_VECS:  # of tiles of one vector, nothing else is compiled
        if rows <= _TWO:
            _add_run(_PAIR, *left, *right, *target)
        elif rows <= FEW_ROWS:
            _add_run(FEW, *left, *right, *target)
        elif rows <= MORE_ROWS:
            _add_run(_MORE, *left, *right, *target)
        else:
            _add_run(TILE, *left, *right, *target)
    elif vectors == 2:
        if rows <= FEW_ROWS:
            _add_run(_FEW_MEDIUM, *left, *right, *target)
        elif rows <= MORE_ROWS:
            _add_run(_MORE_MEDIUM, *left, *right, *target)
        else:
            _add_run(MEDIUM, *left, *right, *target)
    elif rows <= _TWO:
        _add_run(_NARROW_PAIR, *left, *right, *target)
    else:
        _add_run(NARROW, *left, *right, *target)


@device
def _ends_behind(B, stop):
    """Whether whole vectors of B's rows up to `stop` would end behind B."""
    (K, columns), L = B.shape, lanes(B)
    return (stop - 1) * columns + ceil_div(columns, L) * L > K * columns


@device
def _sums_of_block(A, B, k0, stop, work, t, stride, spare):
    """work[t + p stride + q] = Σ_k A[k, p] B[k, q] from k0 to stop"""
    compact()
    L, zeros = lanes(B), splat(B, 0)
    columns, rows = B.shape[1], A.shape[1]
    run, ten = _rows_of_run(rows, columns, B.itemsize), TILE_ROWS < rows <= tile_rows(TEN)
    most = np.intp(tile_width(TEN, B) // L if ten else TILE_VECS)
    # Of four vectors that remain, twice two: tiles of one are slow. dW of 8192 × 64 × 16 takes 0.9 of the time.
    in_pairs = TILE_VECS > 2 and rows > _TWO
    for k in range(k0, stop, run):
        terms, opens = min(run, stop - k), k == k0
        source, start, apart = flat(B), k * columns, columns
        if _ends_behind(B, k + terms):
            for row in range(terms):
                for q in range(0, columns, L):
                    value = load_masked(B, (k + row, q), first(B, columns - q), zeros)
                    store(work, spare + row * stride + q, value)
            source, start, apart = work, spare, stride
        q = np.intp(0)
        while q < columns:
            remaining = ceil_div(columns - q, L)
            vectors = np.intp(2) if in_pairs and remaining == TILE_VECS + 1 else min(remaining, most)
            # The first tiles of each strip fetch the next run, from end to end; the others fetch what is there.
            right, step = (source, start + q, apart, terms, (k + run) * columns + q * run), vectors * L
            # Of nine or ten rows, strips are read once, in 0.8 to 1 of the time; of twelve, up to 1.3 times it.
            if ten and vectors == most:
                _add_run(TEN, A, k * rows, rows, *right, step, work, t + q, stride, opens)
            else:
                for p in range(0, rows, TILE_ROWS):
                    left, target = (A, k * rows + p, rows - p), (work, t + p * stride + q, stride, opens)
                    _add_run_of_tile(vectors, left, (*right, step), target)
                    step = np.intp(0)
            q += vectors * L


@device
def _blocks_side_by_side(shape, A, B, k0, work, t, size, stride):
    """work[t + b size + p stride + q] = Σ_k A[k, p] B[k, q] over block b of those from k0 on, in row b of the shape"""
    compact()
    rows, columns = A.shape[1], B.shape[1]
    for p in range(rows):
        for q in range(0, columns, tile_width(shape, B)):
            acc = tile_zeros(B, shape)
            for k in range(k0, k0 + BLOCK):
                left = tile_splat(flat(A), k * rows + p, BLOCK * rows, shape)
                acc = tile_fma(left, tile_load(flat(B), k * columns + q, BLOCK * columns, shape), acc)
            tile_store(acc, work, t + p * stride + q, size)


@device
def _sums_of_task(A, B, k0, stop, together, work, t, size, stride, own, spare):
    """The same over all blocks from k0 to stop, for any number of columns"""
    compact()
    columns, rows = B.shape[1], A.shape[1]
    if is_by_whole_rows(rows, columns):
        pack(A, flag(True), np.intp(0), rows, k0, stop - k0, np.intp(1), rows, work, own)
        of_rows = work, own, stop - k0, flat(B), k0 * columns, columns, columns, t, t, stride, flag(True)
        BY_ROWS(part_by_rows(rows), *of_rows)
    elif together == 1 or stop - k0 < together * BLOCK or _ends_behind(B, stop):
        for k in range(k0, stop, BLOCK):
            _sums_of_block(A, B, k, min(k + BLOCK, stop), work, t + (k - k0) // BLOCK * size, stride, spare)
    elif columns <= tile_width(_BLOCKS_OF_FOUR, B):
        _blocks_side_by_side(_BLOCKS_OF_FOUR, A, B, k0, work, t, size, stride)
    else:
        _blocks_side_by_side(_BLOCKS, A, B, k0, work, t, size, stride)


@device
def _add_slots(work, slots, together, size, blocks):
    """Adds blocks to the totals, which stand before the slots, as far as each next task's are there."""
    compact()
    L, task, done = lanes(work), add_to(work, _ADDED, 0), False
    total, first_slot = L, L + size
    while (add_to(work, _FILLED, 0) >> (task % slots)) & 1:
        for block in range(task * together, min((task + 1) * together, blocks)):
            place = first_slot + block % (slots * together) * size
            for at in range(0, size, L):
                value = load(work, place + at)
                if block > 0:
                    value = load(work, total + at) + value
                store(work, total + at, value)
        add_to(work, _FILLED, -(1 << (task % slots)))
        task += 1
        add_to(work, _ADDED, 1)
        done = task * together >= blocks
    return done


@part(*TASK)
def tall_task(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, task, work, left):
    """A block of the terms of C (+)= A B + bias, or some; the worker that adds the last one to the totals writes C."""
    compact()
    L, turned, slots = lanes(C), plan.turned, plan.slots
    if turned:  # Cᵀ = Bᵀ A
        A, B = B, A
    stride, size = _room_of_block(A.shape[1], B.shape[1], L, C.itemsize)
    K, slot, together = A.shape[0], task % slots, _blocks_of_task(A.shape[1], B.shape[1], L)
    totals, first_slot = L, L + size
    spare = left if B.shape[1] < L else first_slot + slots * together * size
    while task - add_to(work, _ADDED, 0) >= slots:
        pass  # the slot is still in use: a worker, which the system keeps from running, has a task as old
    k0, t = task * together * BLOCK, first_slot + slot * together * size
    _sums_of_task(A, B, k0, min(k0 + together * BLOCK, K), together, work, t, size, stride, left, spare)
    add_to(work, _FILLED, 1 << slot)
    missed, done = np.intp(1 if add_to(work, _ADDING, 1) == 0 else 0), False
    while missed > 0:  # blocks may be finished while others are added: who adds looks once more before it leaves
        if _add_slots(work, slots, together, size, ceil_div(K, BLOCK)):
            done = True
        missed = add_to(work, _ADDING, -missed) - missed
    if done:
        if turned:
            for i in range(C.shape[0]):
                for j in range(C.shape[1]):
                    value = work[totals + j * stride + i]
                    if bias.size:
                        value += bias[j]
                    C[i, j] = C[i, j] + value if accumulate else value
        else:
            finish(work, totals, stride, C, np.intp(0), np.intp(0), C.shape[0], C.shape[1], bias, accumulate)
