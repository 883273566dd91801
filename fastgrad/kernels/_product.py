"""Matrix products C[i, j] = Σ_k A[i, k] B[k, j] as rank-1 updates of register tiles.

One order of summation for every affine function: blocks of at most BLOCK terms are summed one after the other in a
register, and the blocks are added in order. It depends on the number of terms alone, so neither the tile's shape nor
the tasks into which a product is cut change a bit of C.

A task is a rectangle of C. For each block of terms it packs its columns of B into panels, in the order in which the
tiles read them, and adds the block to its totals; the last block goes to C. An element of A goes into a whole row of a
tile, so A is read where it is: packing it as well took 1 to 4 % longer from 128 to 1000 rows, columns and terms, and
30 % for ten columns. Only rows that push each other out of the cache are worth it: 8 % for 512 terms of float64.
With tiles of one vector, every element is loaded three times as often, and packing pays from 16 panels of B on: 20 %
for dW of 1000 rows, columns and terms.
"""

import numpy as np

from ._arrays import compact, flat, take_number
from ._jit import device, inlined
from ._pack import ceil_div, finish, pack
from ._parts import absent, part
from ._simd import lanes, splat, store
from ._thin import (
    BLOCK,
    CACHE_WAY,
    FEW_ROWS,
    FEW_TERMS_TILE,
    TASK,
    THIN_PARTS,
    few_columns,
    few_terms,
    first_absent_of_thin,
    thin_plan,
    thin_task,
)
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
    tile_store_part,
    tile_width,
    tile_zeros,
)

WORKSPACE = 2**24  # bytes for panels and totals, over all threads
GROUP = 2**18  # bytes of A's panels, which stay in the second cache while B's pass them: twice as many cost 5 %
FEW_TERMS = 64  # or less do not pay for packing B, if strips of it fill C's rows
UNPACKED_ROWS = 2 * TILE_ROWS  # so many do not pay for packing B
UNPACKED_PANELS = 3  # so many panels of B do not pay for packing A
WHOLE = 2**19  # bytes of all of B, where few columns are packed as a whole: half of the second cache
ROW_OF_PANELS = 2**18  # bytes of B's panels that pass one panel of A after the other: C is then written row by row
PACK_A = False  # but where its rows push each other out of the cache
ROWS_AHEAD, FETCH_A = 4, False  # rows of a panel of B fetched ahead; whether A's next panel is
if TILE_VECS == 1:  # a panel of B stays in the first cache, and many panels of A pass it from the second
    PACK_A, UNPACKED_PANELS, ROW_OF_PANELS, ROWS_AHEAD, FETCH_A = True, 15, 2**17, 16, True  # 3 to 10 % together

TILE, FEW = TileShape(TILE_ROWS, TILE_VECS), TileShape(FEW_ROWS, TILE_VECS)  # few for what is left of the rows
NARROW, SLIM = TileShape(TILE_ROWS, 1), TileShape(TILE_ROWS, 1, TURNED)  # for what is left of the columns
_REGISTERS = TILE_ROWS * TILE_VECS


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
    columns = cut(n, TILE_VECS * L, np.intp(most**0.5), np.intp(1))
    across = ceil_div(n, columns)
    most = min(most // columns, 2 * GROUP // (BLOCK * itemsize))
    rows = cut(m, TILE_ROWS, most, ceil_div(threads, max(across, 1)))
    if ceil_div(m, rows) * across < threads:  # one row of tiles, of a sum over a tall array
        columns = cut(n, L, columns, threads)
        across = ceil_div(n, columns)
    return rows, columns, across, ceil_div(m, rows) * across


@device
def are_few_columns(columns, K, C):
    """Whether so many columns of B can be packed as a whole."""
    L = lanes(C)
    return columns <= TILE_VECS * L and K * TILE_VECS * L * C.itemsize <= WHOLE


@device
def plan(C, K, threads):
    """How C, of sums of K terms, is cut into tasks: as large as the workspace allows, so that packing is seldom, but
    one a thread. (tasks in all, size of a workspace; whether Cᵀ is computed in place of C; rows and columns of a task,
    tasks across, panels of A at a time, where in the workspace the panels of B and the totals start)
    """
    compact()
    (m, n), L = C.shape, lanes(C)
    turned = n <= TILE_ROWS and n < m  # few columns would leave most lanes idle
    if turned:
        m, n = n, m
    if m <= TILE_ROWS:
        columns = n if threads == 1 else cut(n, 2 * L, n, threads)
        across = ceil_div(n, max(columns, 1))
        size = max(thin_plan(m, columns, K, turned, C)[-1], thin_plan(m, columns, K, not turned, C)[-1])
        return across if m else m, size, turned, np.intp(TILE_ROWS), columns, across, np.intp(0), np.intp(0), np.intp(0)
    if threads == 1 and m * n <= 2**14:  # no divisions where they would be felt
        rows, columns = ceil_div(m, TILE_ROWS) * TILE_ROWS, ceil_div(n, TILE_VECS * L) * TILE_VECS * L
        across, tasks = np.intp(1), np.intp(min(m * n, 1))
    else:
        rows, columns, across, tasks = _large_plan(m, n, L, C.itemsize, threads)
    tall, wide, block = rows // TILE_ROWS, ceil_div(columns, TILE_VECS * L), min(K, BLOCK)
    group = max(np.intp(1), min(tall, np.intp(GROUP // (BLOCK * TILE_ROWS * C.itemsize))))
    right = (group * (block * TILE_ROWS + L) + L * TILE_ROWS + 2 * L) // L * L
    panels = wide if tall > 1 else np.intp(1)
    held = K if are_few_columns(columns, K, C) else block
    totals = right + panels * TILE_VECS * (held * L + L) + L * TILE_VECS * L
    size = totals + (tall * wide if K > BLOCK else 1) * _REGISTERS * L
    return tasks, size, turned, rows, columns, across, group, right, totals


@inlined
def workspaces(size, workers, like):
    """Elements of room for workers to count their tasks in and for the panels and totals of each; and how far into it,
    if it starts at a multiple of 64 bytes, the first worker's part and each next one lie."""
    L = lanes(like)
    apart = (size + L - 1) // L * L
    return workers * apart + L, L, apart


@inlined
def count_anew(room):
    """Tasks are counted from 0."""
    store(room, 0, splat(room, 0))


@device
def tiles(shape, grid, left, right, block, totals, target, bias, accumulate):
    """Adds a block of rank-1 updates to each tile of a grid; those of the last block go to C, with the bias.

    grid: whether row by row, rows and columns of tiles, rows of tiles that the totals have.
    left, right: a factor, where the first tile begins, steps to the next term, to A's next row, and to the next tile.
    block: its terms, whether it is the first, whether the last. totals: where they are, how far one from the next.
    target: C, row and column where the first tile begins, row and column at which C's part ends.
    """
    compact()
    (by_row, down, across, tall), (terms, opens, closes), (work, t, next_t) = grid, block, totals
    (A, a, step, apart, next_a), (B, b, stride, next_b), (C, i0, j0, i_end, j_end) = left, right, target
    N, width = C.shape[1], TILE_VECS * lanes(C)
    plain = not accumulate and bias.size == 0
    # A strip of B as it lies touches few bytes of many pages, which the hardware does not see coming: while one passes,
    # the next is fetched.
    ahead = ROWS_AHEAD * stride if stride == width else np.intp(width)
    for outer in range(down if by_row else across):
        for inner in range(across if by_row else down):
            p, q = (outer, inner) if by_row else (inner, outer)
            i, j, total = i0 + p * TILE_ROWS, j0 + q * width, t + (q * tall + p) * next_t
            c, rows, columns = i * N + j, i_end - i, j_end - j
            whole = rows >= tile_rows(shape) and columns >= tile_width(shape, C)
            direct = closes and (whole or plain)
            # What the tile is added to, or its place in C, comes from afar: it is fetched meanwhile.
            for row in range(tile_rows(shape)):
                if direct:
                    tile_prefetch(shape, C, c + row * N)
                if not opens:
                    tile_prefetch(shape, work, total + row * width)
            this_a, this_b, acc = a + p * next_a, b + q * next_b, tile_zeros(C, shape)
            for k in range(terms):
                if FETCH_A:
                    tile_prefetch(shape, A, this_a + next_a + k * step)
                tile_prefetch(shape, B, this_b + k * stride + ahead)
                acc = tile_rank1(acc, A, this_a + k * step, apart, rows, B, this_b + k * stride)
            if not opens:
                acc = tile_add(tile_load(work, total, width, shape), acc)
            if direct and whole:
                if bias.size:
                    acc = tile_add(acc, tile_load(bias, j, np.intp(0), shape))
                if accumulate:
                    acc = tile_add(tile_load(C, c, N, shape), acc)
                tile_store(acc, C, c, N)
            elif direct:
                tile_store_part(acc, C, c, N, rows, columns)
            else:
                tile_store(acc, work, total, width)
                if closes:
                    rows, columns = min(rows, tile_rows(shape)), min(columns, tile_width(shape, C))
                    finish(work, total, width, C, i, j, rows, columns, bias, accumulate)


@device
def is_narrow(columns, like):
    """Whether the last panel of B has so few columns that narrower tiles are less work."""
    return columns <= max((TILE_VECS - 1) * lanes(like), lanes(like) - TURNED)


@device
def panels(grid, left, right, block, totals, target, bias, accumulate):
    """`tiles`, of the shapes that their rows and columns ask for."""
    compact()
    (by_row, down, across, tall), (A, a, step, apart, next_a), (B, b, stride, next_b) = grid, left, right
    (work, t, next_t), (C, i, j, i_end, j_end) = totals, target
    columns, width, v = j_end - j, TILE_VECS * lanes(C), np.intp(0)
    if across == 1 and is_narrow(columns, C):
        while v < columns:
            piece = (B, b + v, stride, next_b), block, (work, t + v, next_t), (C, i, j + v, i_end, j_end)
            if columns - v > TURNED:
                tiles(NARROW, grid, left, *piece, bias, accumulate)
                v += lanes(C)
            else:
                tiles(SLIM, grid, left, *piece, bias, accumulate)
                v += TURNED
        return
    whole = down - 1 if i_end - i <= (down - 1) * TILE_ROWS + FEW_ROWS else down
    # In both shapes, a panel of B is to pass before the next one does.
    together = across if by_row or whole == down else np.intp(1)
    for q in range(0, across, together):
        right, totals = (B, b + q * next_b, stride, next_b), (work, t + q * tall * next_t, next_t)
        target = C, i, j + q * width, i_end, j_end
        tiles(TILE, (by_row, whole, together, tall), left, right, block, totals, target, bias, accumulate)
        if whole < down:
            below, totals = (A, a + whole * next_a, step, apart, next_a), (work, totals[1] + whole * next_t, next_t)
            target = C, i + whole * TILE_ROWS, j + q * width, i_end, j_end
            tiles(FEW, (by_row, np.intp(1), together, tall), below, right, block, totals, target, bias, accumulate)


@device
def blocks(
    A, a_by_rows, step, apart, B, b_by_rows, K, C, i0, m, j0, n, bias, accumulate, work, left, right, totals, group
):
    """Rows i0 to i0 + m, columns j0 to j0 + n of C (+)= A B + bias, one block of terms after the other."""
    compact()
    L, N = lanes(C), C.shape[1]
    width = np.intp(TILE_VECS * L)
    tall, wide = ceil_div(m, TILE_ROWS), ceil_div(n, width)
    whole = wide - 1 if is_narrow(n - (wide - 1) * width, C) else wide
    # Few rows do not pay for packing: strips of whole vectors of B are then read where they are.
    unpacked = np.intp(0)
    if b_by_rows and m <= UNPACKED_ROWS:
        unpacked = n // width if n % L else wide
    pack_A = wide > UNPACKED_PANELS and (PACK_A or A.shape[1] * C.itemsize % CACHE_WAY == 0)
    source = flat(A)
    if pack_A:
        source, apart, step = work, np.intp(1), np.intp(TILE_ROWS)
    by_row = min(K, BLOCK) * wide * width * C.itemsize <= ROW_OF_PANELS
    next_t = TILE_ROWS * width if K > BLOCK else np.intp(0)
    for k0 in range(0, max(K, 1), BLOCK):
        terms = min(K - k0, BLOCK)
        block = terms, k0 == 0, k0 + BLOCK >= K
        if tall > 1:
            pack(B, b_by_rows, j0 + unpacked * width, n - unpacked * width, k0, terms, width, work, right)
        for p0 in range(0, tall, group):
            down, i = min(group, tall - p0), i0 + p0 * TILE_ROWS
            factor = source, i * apart + k0 * step, step, apart, TILE_ROWS * apart
            if pack_A:
                rows = min(i0 + m - i, down * TILE_ROWS)
                pack(A, a_by_rows, i, rows, k0, terms, np.intp(TILE_ROWS), work, left)
                factor = source, left, step, apart, terms * TILE_ROWS + L
            q = np.intp(0)
            while q < wide:
                across, j, next_b = np.intp(1), j0 + q * width, terms * width + L
                if q < unpacked:
                    across, other = unpacked, (flat(B), k0 * N + j, N, width)
                elif tall > 1:
                    across, other = max(whole - q, across), (work, right + (q - unpacked) * next_b, width, next_b)
                else:
                    other = work, right, width, next_b
                    pack(B, b_by_rows, j, min(j0 + n - j, width), k0, terms, width, work, right)
                to = (work, totals + (q * tall + p0) * next_t, next_t), (C, i, j, i0 + m, j0 + n)
                panels((by_row, down, across, tall), factor, other, block, *to, bias, accumulate)
                q += across


@part(*TASK)
def tiled_task(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, task, work, left):
    """A task of any other product."""
    compact()
    (M, N), K = C.shape, A.shape[0] if a_by_rows else A.shape[1]
    _, _, _, task_rows, task_columns, across, group, right, totals = plan
    right, totals = left + right, left + totals
    i0, j0 = task // across * task_rows, task % across * task_columns
    m, n = min(M - i0, task_rows), min(N - j0, task_columns)
    apart, step = A.shape[1], np.intp(1)
    if a_by_rows:
        apart, step = step, apart
    strip = tile_width(FEW_TERMS_TILE, C)
    in_place = not accumulate and bias.size == 0
    if b_by_rows and K <= FEW_TERMS and in_place and n >= strip and 10 * ceil_div(n, strip) * strip <= 13 * n:
        few_terms(flat(A), i0 * apart, step, apart, B, C, i0, m, j0, n)
    elif are_few_columns(task_columns, K, C) and not (b_by_rows and m <= UNPACKED_ROWS):
        factors = flat(A), i0 * apart, step, apart, B, b_by_rows, K
        few_columns(*factors, C, i0, m, j0, n, bias, accumulate, work, right, totals)
    else:
        factors = A, a_by_rows, step, apart, B, b_by_rows, K
        blocks(*factors, C, i0, m, j0, n, bias, accumulate, work, left, right, totals, group)


PRODUCT_PARTS = (tiled_task, thin_task, *THIN_PARTS)


@device
def is_thin(m, n):
    return min(m, n) <= TILE_ROWS


@device
def first_absent_of_product(a_by_rows, b_by_rows, m, n, like):
    """Which of the PRODUCT_PARTS, counted from 1, a product of m rows and n columns, of the dtype of `like`, needs and
    is not linked; 0 if none."""
    if not is_thin(m, n):
        return 1 if absent(tiled_task, like) else 0
    if absent(thin_task, like):
        return 2
    missing = first_absent_of_thin(min(m, n), a_by_rows if n < m else b_by_rows, like)
    return 2 + missing if missing else 0


@device
def product(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, task, work, left):
    """One task of C (+)= A B + bias, its part of the workspace at work[left:].

    A is given as A[k, i] (a_by_rows) or A[i, k], B as B[k, j] (b_by_rows) or B[j, k].
    """
    if is_thin(C.shape[0], C.shape[1]):
        thin_task(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, task, work, left)
    else:
        tiled_task(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, task, work, left)


@device
def product_tasks(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, work, left):
    """Tasks of C (+)= A B + bias, as long as there are any."""
    task = take_number(work)
    while task < plan[0]:
        product(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, task, work, left)
        task = take_number(work)
