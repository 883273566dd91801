"""Products C[i, j] = Σ_k A[k, i] B[k, j] of long sums and few rows or columns, as the dW of a large batch: a task is a
block of terms, not a part of C, so that A and B are read once and from end to end.

The sums of a block go to a slot, and slots are added to the totals in the order of the blocks, by whichever worker has
just finished one while no other adds. The order of summation is that of `_product.py`, for any number of workers.

A strip of B touches 64 bytes of every row, which memory gives at half its speed. So a block is cut into runs of few
rows; while the strips of one run are read from the second cache, the next is fetched from end to end: dW of 16384 × 784
× 10 took 10.2 ms without, 4.7 ms with it. Copying B into panels instead takes longer.
"""

import numpy as np

from ._arrays import add_to, compact, flag, flat
from ._jit import device
from ._pack import ceil_div, finish, pack
from ._panels import FEW, NARROW, TILE
from ._parts import part
from ._simd import first, lanes, load, load_masked, splat, store
from ._thin import BLOCK, CACHE_WAY, FEW_ROWS, TASK, add_by_rows, rows_meet
from ._tile import TILE_ROWS, TILE_VECS, tile_load, tile_prefetch, tile_rank1, tile_store, tile_width, tile_zeros

_LONG = 4 * BLOCK  # terms, or more
_FEW = 64  # rows or columns, or less: of more, panels are used often enough to pay for packing
_FEW_OF_MEETING = 32  # the same where rows of B meet in one place of the caches
# Of one or two rows, the tiles are loaded and stored as often as they have terms: with so many columns or more, whole
# rows of B are added, as to other products of few rows, in two thirds of the time.
_TWO, _WIDE = 2, 256
_TOTALS = 2**19  # bytes of C, or less, which stay in the second cache
# Rows of B in a run, if memory is to give them in time for up to so many rows of C, where twice as many are up to 10 %
# slower; and in one for more rows of C, where the totals are loaded and stored as often; and in one of rows that meet.
_RUN, _RUN_OF_MANY, _MANY, _RUN_OF_MEETING = 16, 64, 32, 8

# The numbers that workers share, at the start of the workspace, behind that of tasks taken: of workers whose blocks are
# to be added, of blocks that were, and a bit for each slot that holds a block.
_ADDING, _ADDED, _FILLED = 1, 2, 3
_SLOTS, _SLOT_BYTES = 32, 2**22  # so many, and of that size together, at most: none waits for another's block


@device
def is_tall(over_rows, m, n, K, itemsize):
    """Whether a product, whose terms are the rows of both factors or are not, is one of these."""
    few = _FEW if max(m, n) * itemsize % CACHE_WAY else _FEW_OF_MEETING
    return over_rows and K >= _LONG and 0 < min(m, n) <= few and m * n * itemsize <= _TOTALS


@device
def is_by_whole_rows(m, n):
    """Whether one of these is computed by one_by_rows or two_by_rows."""
    return min(m, n) <= _TWO and max(m, n) >= _WIDE


@device
def tall_plan(m, n, K, threads, L, itemsize):
    """Tasks, elements of each worker's room, of the room they share; whether Cᵀ is computed in place of C; slots, their
    size, and how far apart their rows are"""
    turned = n < m
    rows, columns = (n, m) if turned else (m, n)
    stride = ceil_div(columns, L) * L
    if stride * itemsize % CACHE_WAY == 0:
        stride += L
    size, blocks = ceil_div(rows, TILE_ROWS) * TILE_ROWS * stride, ceil_div(K, BLOCK)
    slots = np.intp(1) if threads == 1 else min(blocks, np.intp(_SLOTS), max(_SLOT_BYTES // (size * itemsize), threads))
    own = max(_RUN_OF_MANY * stride, 2 * BLOCK + 2 * L)
    return blocks, own, (slots + 1) * size, turned, slots, size, stride


@device
def _add_run(shape, A, a, rows, B, b, apart, terms, far, step, work, t, stride, opens):
    """work[t + p stride + q] (+)= Σ_k A[a + k · A's columns + p] · B[b + k apart + q]; B[far + k step:] is fetched."""
    compact()
    acc = tile_zeros(B, shape)
    if not opens:
        acc = tile_load(work, t, stride, shape)
    for k in range(terms):
        tile_prefetch(shape, B, far + k * step)
        acc = tile_rank1(acc, flat(A), a + k * A.shape[1], np.intp(1), rows, B, b + k * apart)
    tile_store(acc, work, t, stride)


@device
def _sums_of_block(A, B, k0, stop, work, t, stride, own):
    """work[t + p stride + q] = Σ_k A[k, p] B[k, q] from k0 to stop"""
    compact()
    L, zeros = lanes(B), splat(B, 0)
    (K, columns), rows, width = B.shape, A.shape[1], tile_width(TILE, B)
    run = np.intp(_RUN_OF_MANY if rows > _MANY else _RUN)
    if rows_meet(B):
        run = np.intp(_RUN_OF_MEETING)
    for k in range(k0, stop, run):
        terms, opens = min(run, stop - k), k == k0
        source, start, apart = flat(B), k * columns, columns
        if (k + terms - 1) * columns + ceil_div(columns, L) * L > K * columns:  # whole vectors would end behind B
            for row in range(terms):
                for q in range(0, columns, L):
                    value = load_masked(B, (k + row, q), first(B, columns - q), zeros)
                    store(work, own + row * stride + q, value)
            source, start, apart = work, own, stride
        q = np.intp(0)
        while q < columns:
            wide = columns - q > (TILE_VECS - 1) * L
            for p in range(0, rows, TILE_ROWS):
                # The first tiles of each strip fetch the next run, from end to end; the others fetch what is there.
                far, step = (k + run) * columns + q * run, np.intp(0)
                if p == 0:
                    step = width if wide else L
                left = A, k * rows + p, rows - p
                right = source, start + q, apart, terms, far, step
                target = work, t + p * stride + q, stride, opens
                if not wide:
                    _add_run(NARROW, *left, *right, *target)
                elif rows - p > FEW_ROWS:
                    _add_run(TILE, *left, *right, *target)
                else:
                    _add_run(FEW, *left, *right, *target)
            q += width if wide else L


@device
def _add_slots(work, slots, first_slot, size, blocks):
    """Adds blocks to the totals, which stand behind the slots, as far as each next one is there."""
    compact()
    L, total, block, done = lanes(work), first_slot + slots * size, add_to(work, _ADDED, 0), False
    while (add_to(work, _FILLED, 0) >> (block % slots)) & 1:
        slot = first_slot + block % slots * size
        for at in range(0, size, L):
            value = load(work, slot + at)
            if block > 0:
                value = load(work, total + at) + value
            store(work, total + at, value)
        add_to(work, _FILLED, -(1 << (block % slots)))
        block += 1
        add_to(work, _ADDED, 1)
        done = block == blocks
    return done


@part(*TASK)
def tall_task(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, task, work, left):
    """A block of the terms of C (+)= A B + bias; the worker that adds the last one to the totals writes C."""
    compact()
    turned, slots, size, stride = plan[3:7]
    if turned:  # Cᵀ = Bᵀ A
        A, B = B, A
    K, first_slot = A.shape[0], lanes(C)
    while task - add_to(work, _ADDED, 0) >= slots:
        pass  # the slot is still in use: a worker, which the system keeps from running, has a block as old
    k0, slot = task * BLOCK, task % slots
    terms, t, rows, columns = min(K - k0, BLOCK), first_slot + slot * size, A.shape[1], B.shape[1]
    if is_by_whole_rows(rows, columns):
        pack(A, a_by_rows, np.intp(0), rows, k0, terms, rows, work, left)
        add_by_rows(rows, work, left, terms, flat(B), k0 * columns, columns, columns, t, t, stride, flag(True))
    else:
        _sums_of_block(A, B, k0, k0 + terms, work, t, stride, left)
    add_to(work, _FILLED, 1 << slot)
    missed, done = np.intp(1 if add_to(work, _ADDING, 1) == 0 else 0), False
    while missed > 0:  # blocks may be finished while others are added: who adds looks once more before it leaves
        if _add_slots(work, slots, first_slot, size, plan[0]):
            done = True
        missed = add_to(work, _ADDING, -missed) - missed
    if done:
        totals = first_slot + slots * size
        if turned:
            for i in range(C.shape[0]):
                for j in range(C.shape[1]):
                    value = work[totals + j * stride + i]
                    if bias.size:
                        value += bias[j]
                    C[i, j] = C[i, j] + value if accumulate else value
        else:
            finish(work, totals, stride, C, np.intp(0), np.intp(0), C.shape[0], C.shape[1], bias, accumulate)
