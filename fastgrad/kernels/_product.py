"""Matrix products C[i, j] = Σ_k A[i, k] B[k, j] as rank-1 updates of register tiles.

One order of summation for every affine function: blocks of at most BLOCK terms are summed one after the other in a
register, and the blocks are added in order. It depends on the number of terms alone, so neither the tile's shape nor
the tasks into which a product is cut change a bit of C.

A task is a rectangle of C. For each block of terms it packs its rows of A and its columns of B into panels, in the
order in which the tiles read them, and adds the block to its totals; the last block goes to C.
"""

import numpy as np

from ._jit import device, inlined
from ._simd import compact, first, flat, lanes, load, load_masked, select, splat, store, store_masked
from ._tile import (
    TILE_ROWS,
    TILE_VECS,
    TURNED,
    TileShape,
    tile_add,
    tile_load,
    tile_prefetch,
    tile_rank1,
    tile_rows,
    tile_store,
    tile_store_rows,
    tile_store_turned,
    tile_turned,
    tile_width,
    tile_zeros,
)

BLOCK = 256  # terms of a sum in one register: |error| ≤ (BLOCK + K / BLOCK + 2) eps Σ|terms|
WORKSPACE = 2**24  # bytes for panels and totals, over all threads
GROUP = 2**18  # bytes of A's panels, which stay in the second cache while B's pass them: twice as many cost 5 %
# With no more, reading B or writing C is most of the work: strips of whole rows.
FEW_ROWS = 4 if TILE_ROWS % 4 == 0 else 2
FEW_TERMS = 16
UNPACKED_TILES = 2  # so many rows of tiles do not pay for packing B
ROW_OF_PANELS = 2**18  # bytes of B's panels that pass one panel of A after the other: C is then written row by row

TILE, NARROW = TileShape(TILE_ROWS, TILE_VECS), TileShape(TILE_ROWS, 1)  # narrow for what is left of the columns
FEW, FEW_NARROW = TileShape(FEW_ROWS, TILE_VECS), TileShape(FEW_ROWS, 1)  # and few for what is left of the rows
# One row, and a few: as many columns as the registers hold, since B is read once, from end to end if may be.
_REGISTERS = TILE_ROWS * TILE_VECS
THIN_1, THIN_FEW = TileShape(1, _REGISTERS), TileShape(FEW_ROWS, _REGISTERS // FEW_ROWS)
# How a row of a source is spread over panels: that many panels, and vectors in a row of each.
_GROUP = 4
_SPREAD_NARROW, _SPREAD_WIDE = TileShape(_GROUP, 1), TileShape(_GROUP, TILE_VECS)


@device
def ceil_div(a, b):
    return (a + b - 1) // b


@device
def cut(size, step, most, pieces):
    """How many elements a piece of `size` gets: a multiple of step, at most about `most`, for a multiple of `pieces`
    equal pieces."""
    if size <= step:
        return step
    pieces *= ceil_div(size, most * pieces)
    return ceil_div(size, pieces * step) * step


@device
def _large_plan(m, n, L, itemsize, threads):
    """Rows and columns of a task, tasks across, tasks in all."""
    most = WORKSPACE // (threads * itemsize * 2)  # elements of the totals: the panels take less than as much again
    columns = cut(n, TILE_VECS * L, int(most**0.5), np.intp(1))
    across = ceil_div(n, columns)
    most = min(most // columns, 2 * GROUP // (BLOCK * itemsize))
    rows = cut(m, TILE_ROWS, most, ceil_div(threads, max(across, 1)))
    if ceil_div(m, rows) * across < threads:  # one row of tiles, of a sum over a tall array
        columns = cut(n, L, columns, threads)
        across = ceil_div(n, columns)
    return rows, columns, across, ceil_div(m, rows) * across


@device
def plan(C, K, threads):
    """How C, of sums of K terms, is cut into tasks: as large as the workspace allows, so that packing is seldom, but
    one a thread. (tasks in all, size of a workspace; whether Cᵀ is computed in place of C; rows and columns of a task,
    tasks across, panels of A at a time, where in the workspace the panels of B and the totals start)
    """
    compact()
    (m, n), L = C.shape, lanes(C)
    turned = 2 * n <= L and n <= TILE_ROWS and n < m  # few columns would leave most lanes idle
    if turned:
        m, n = n, m
    if threads == 1 and m * n <= 2**14:  # no divisions where they would be felt
        rows, columns = ceil_div(m, TILE_ROWS) * TILE_ROWS, ceil_div(n, TILE_VECS * L) * TILE_VECS * L
        across, tasks = np.intp(1), np.intp(min(m * n, 1))
    else:
        rows, columns, across, tasks = _large_plan(m, n, L, C.itemsize, threads)
    tall, wide, block = rows // TILE_ROWS, ceil_div(columns, TILE_VECS * L), min(K, BLOCK)
    group = max(np.intp(1), min(tall, np.intp(GROUP // (BLOCK * TILE_ROWS * C.itemsize))))
    right = (group * (block * TILE_ROWS + L) + L * TILE_ROWS + 2 * L) // L * L + (_REGISTERS + 2) * L
    panels = wide if tall > 1 else np.intp(1)
    totals = right + panels * (block * TILE_VECS * L + L) + L * TILE_VECS * L
    size = totals + (tall * wide if K > BLOCK else 1) * _REGISTERS * L
    return tasks, size, turned, rows, columns, across, group, right, totals


@inlined
def workspaces(size, workers, like):
    """Room for workers to count their tasks in and for the panels and totals of each: a vector of the dtype of `like`
    that starts at a multiple of 64 bytes, and how far into it the first worker's part and each next one lie."""
    L = lanes(like)
    apart = (size + L - 1) // L * L
    raw = np.empty((workers * apart + 2 * L), like.dtype)
    room = raw[(-raw.ctypes.data % 64) // raw.itemsize :]
    room[:2] = 0
    return room, L, apart


@device
def pack(source, by_rows, start, count, k0, terms, width, work, at):
    """Panels of `width`, the one of i at work[at + i // width · apart:]: each holds, row after row of `width` elements,
    source[k0 + k, start + i] (by_rows) or source[start + i, k0 + k] for i < count.

    Whole vectors are copied: what spills over the end of a row of a panel is overwritten by the next. Panels are L
    elements further apart than they are long: multiples of 4096 bytes would push each other out of the cache. By rows,
    four panels at a time: one alone touches too little of each row (half the speed where rows are 4096 bytes apart),
    all at once are too many streams of writes (as slow).
    """
    compact()
    L, stride = lanes(source), source.shape[1]
    zeros = splat(source, 0)
    apart = terms * width + L
    q = 0
    if by_rows:
        vectors, last = ceil_div(width, L) * L, (_GROUP - 1) * width
        while q + last < count and start + q + last + vectors <= stride:
            place, to = k0 * stride + start + q, at + q // width * apart
            if width <= L:
                for k in range(terms):
                    spread = tile_load(source, place + k * stride, width, _SPREAD_NARROW)
                    tile_store(spread, work, to + k * width, apart)
            else:
                for k in range(terms):
                    spread = tile_load(source, place + k * stride, width, _SPREAD_WIDE)
                    tile_store(spread, work, to + k * width, apart)
            q += _GROUP * width
        for rest in range(q, count, width):
            to = at + rest // width * apart
            for p in range(0, min(width, count - rest), L):
                inside = first(source, count - rest - p)
                for k in range(terms):
                    store(work, to + k * width + p, load_masked(source, (k0 + k, start + rest + p), inside, zeros))
    else:
        step = min(width, TURNED)
        for q in range(0, count, step):
            place, to = (start + q) * stride + k0, at + q // width * apart + q % width
            if terms < L:
                tile_store(tile_turned(source, place, stride, count - q, terms), work, to, width)
            else:
                for k_or_more in range(0, terms, L):
                    k = min(k_or_more, terms - L)  # the last square lies over the one before
                    tile_store(tile_turned(source, place + k, stride, count - q, None), work, to + k * width, width)


@device
def update(shape, work, a, B, b, stride, terms, t, width, opens, C, c, rows, direct):
    """One tile of C or of the totals at work[t:]: a block of rank-1 updates, added to the total so far."""
    compact()
    # A strip of B as it lies touches few bytes of many pages, which the hardware does not see coming: while one passes,
    # the next is fetched.
    ahead = 4 * stride if stride == TILE_VECS * lanes(C) else np.intp(width)
    acc = tile_zeros(C, shape)
    for k in range(terms):
        tile_prefetch(shape, B, b + k * stride + ahead)
        acc = tile_rank1(acc, work, a + k * TILE_ROWS, B, b + k * stride)
    if not opens:
        acc = tile_add(tile_load(work, t, width, shape), acc)
    if not direct:
        tile_store(acc, work, t, width)
    elif rows >= tile_rows(shape):
        tile_store(acc, C, c, C.shape[1])
    else:
        tile_store_rows(acc, C, c, C.shape[1], rows)


@device
def finish_turned(work, t, width, C, spare, i, j, rows, columns, bias, accumulate):
    """C[j : j + columns, i : i + rows] (+)= totals transposed + bias[i : i + rows], these being whole rows of C."""
    compact()
    L = lanes(C)
    zeros = splat(C, 0)
    for q in range(0, columns, L):
        at, to = t + q, spare + q * rows
        if bias.size:
            for p in range(rows):
                store(work, at + p * width, load(work, at + p * width) + splat(C, bias[i + p]))
        if rows == 1:
            store(work, to, load(work, at))
        elif rows <= FEW_ROWS:
            tile_store_turned(tile_load(work, at, width, FEW_NARROW), work, to, rows)
        else:
            tile_store_turned(tile_load(work, at, width, NARROW), work, to, rows)
    for at in range(0, columns * rows, L):
        place, inside = j * rows + at, first(C, columns * rows - at)
        with_old = first(C, L * accumulate) & inside
        value = load(work, spare + at)
        value = select(with_old, load_masked(flat(C), place, with_old, zeros) + value, value)
        store_masked(flat(C), place, value, inside)


@device
def finish(work, t, width, C, turned, spare, i, j, rows, columns, bias, accumulate):
    """C[i : i + rows, j : j + columns] (+)= totals + bias[j : j + columns], or Cᵀ where it is turned"""
    compact()
    if turned:
        finish_turned(work, t, width, C, spare, i, j, rows, columns, bias, accumulate)
        return
    L = lanes(C)
    zeros = splat(C, 0)
    for q in range(0, columns, L):
        inside = first(C, columns - q)
        with_bias = first(C, L * bias.size) & inside
        with_old = first(C, L * accumulate) & inside
        shift = load_masked(bias, j + q, with_bias, zeros)
        for p in range(rows):
            value = load(work, t + p * width + q)
            value = select(with_bias, value + shift, value)
            value = select(with_old, load_masked(C, (i + p, j + q), with_old, zeros) + value, value)
            store_masked(C, (i + p, j + q), value, inside)


@device
def thin(
    shape, start, work, a, B, b, stride, terms, t, keep, opens, closes, C, turned, spare, i, j, rows, columns, bias, add
):
    """`rows` rows of the product from (i, j) on, as many at a time as the tile has, B read where it is, in strips as
    wide as the tile, from column `start` on; returns how many of the columns are done."""
    compact()
    width, N = tile_width(shape, C), C.shape[1]
    direct = closes and not add and bias.size == 0 and not turned
    done = start + (columns - start) // width * width
    for p in range(0, rows, tile_rows(shape)):
        left, c = a + p // TILE_ROWS * (terms * TILE_ROWS + lanes(C)) + p % TILE_ROWS, (i + p) * N + j
        for q in range(start, done, width):
            total = t + q * TILE_ROWS if keep else t
            update(shape, work, left, B, b + q, stride, terms, total, width, opens, C, c + q, rows - p, direct)
            if closes and not direct:
                few = min(rows - p, tile_rows(shape))
                finish(work, total, width, C, turned, spare, i + p, j + q, few, width, bias, add)
    return done


@device
def product(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, task, work, left):
    """One task of C (+)= A B + bias, its part of the workspace at work[left:].

    A is given as A[k, i] (a_by_rows) or A[i, k], B as B[k, j] (b_by_rows) or B[j, k].
    """
    compact()
    L = lanes(C)
    K, M, N = A.shape[0] if a_by_rows else A.shape[1], C.shape[0], C.shape[1]
    _, _, turned, task_rows, task_columns, across, group, right, totals = plan
    if turned:  # Cᵀ = Bᵀ Aᵀ
        A, a_by_rows, B, b_by_rows, M, N = B, b_by_rows, A, a_by_rows, N, M
    right, totals = left + right, left + totals
    spare = right - (_REGISTERS + 2) * L
    i0, j0 = task // across * task_rows, task % across * task_columns
    m, n = min(M - i0, task_rows), min(N - j0, task_columns)
    width = TILE_VECS * L
    tall, wide = ceil_div(m, TILE_ROWS), ceil_div(n, width)
    keep = K > BLOCK
    # Few rows do not pay for packing: strips of whole vectors of B are then read where they are.
    few = m <= FEW_ROWS
    unpacked = np.intp(0)
    if b_by_rows:
        few = few or (K <= FEW_TERMS and not turned)
        if few or tall <= UNPACKED_TILES:
            unpacked = n // width if n % L else wide
    by_row = min(K, BLOCK) * wide * width * C.itemsize <= ROW_OF_PANELS
    direct_at_all = not accumulate and bias.size == 0 and not turned
    for k0 in range(0, max(K, 1), BLOCK):
        terms = min(K - k0, BLOCK)
        opens, closes = k0 == 0, k0 + BLOCK >= K
        if tall > 1:
            pack(B, b_by_rows, j0 + unpacked * width, n - unpacked * width, k0, terms, width, work, right)
        for p0 in range(0, tall, group):
            count, rows, done = min(group, tall - p0), min(m - p0 * TILE_ROWS, group * TILE_ROWS), np.intp(0)
            pack(A, a_by_rows, i0 + p0 * TILE_ROWS, rows, k0, terms, np.intp(TILE_ROWS), work, left)
            if few and unpacked > 0:
                ready = min(n, unpacked * width)
                state = totals, keep, opens, closes, C, turned, spare, i0 + p0 * TILE_ROWS, j0, rows, ready
                b = k0 * N + j0
                if m == 1:
                    done = thin(THIN_1, done, work, left, flat(B), b, N, terms, *state, bias, accumulate)
                done = thin(THIN_FEW, done, work, left, flat(B), b, N, terms, *state, bias, accumulate)
            for outer in range(count if by_row else wide):
                for inner in range(wide if by_row else count):
                    p, q = (p0 + outer, inner) if by_row else (p0 + inner, outer)
                    if q * width < done:
                        continue
                    i, j = i0 + p * TILE_ROWS, j0 + q * width
                    rows, columns = min(i0 + m - i, TILE_ROWS), min(j0 + n - j, width)
                    source, b, stride = work, right + (q - unpacked) * (terms * width + L), width
                    if q < unpacked:
                        source, b, stride = flat(B), k0 * N + j, N
                    elif tall == 1:
                        b = right
                        pack(B, b_by_rows, j, columns, k0, terms, width, work, b)
                    t = totals + (q * tall + p) * TILE_ROWS * width if keep else totals
                    direct = closes and columns % L == 0 and direct_at_all
                    a, c = left + (p - p0) * (terms * TILE_ROWS + L), i * N + j
                    vectors = TILE_VECS if columns > width - L else 1
                    for v in range(0, columns, vectors * L):
                        rest = terms, t + v, width, opens, C, c + v, rows, direct
                        if rows > FEW_ROWS:
                            if vectors > 1:
                                update(TILE, work, a, source, b + v, stride, *rest)
                            else:
                                update(NARROW, work, a, source, b + v, stride, *rest)
                        elif vectors > 1:
                            update(FEW, work, a, source, b + v, stride, *rest)
                        else:
                            update(FEW_NARROW, work, a, source, b + v, stride, *rest)
                    if closes and not direct:
                        finish(work, t, width, C, turned, spare, i, j, rows, columns, bias, accumulate)
