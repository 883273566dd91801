"""Products C[i, j] = Σ_k A[i, k] B[k, j] of nine to twelve rows, of a B by rows, in tiles of ten or twelve rows.

B comes from the second cache at about the rate at which tiles of eight rows use it, so those of the few rows that are
left would wait for it. Tiles of more rows read it once: dX of 9 × 1024 × 512 takes 0.65 of the time, of 12 × 300 × 300
0.82. Two of them for 17 to 24 rows take up to 1.15 times as long as three of eight. The order of summation is that of
`_product.py`.
"""

import numpy as np

from ._arrays import compact, flag, flat
from ._by_rows import to_line
from ._jit import device
from ._loads import store
from ._pack import ceil_div, pack
from ._panels import HIGH_PANEL, tiles
from ._parts import part
from ._simd import lanes, splat
from ._task import TASK
from ._thin import rows_meet
from ._tile import BLOCK, TILE_ROWS, TILE_VECS, TileShape, tile_rows, tile_width

HIGH_ROWS = 12 if TILE_VECS > 2 else TILE_ROWS  # or less; of registers of 32 bytes, there are too few
TEN, TWELVE = TileShape(HIGH_ROWS - 2, min(TILE_VECS, 2)), TileShape(HIGH_ROWS, min(TILE_VECS, 2))


@device
def high_room(columns, K, like):
    """Where in the workspace B's last columns and the totals start, and its size, for so many columns."""
    compact()
    L, width, terms = lanes(like), np.intp(tile_width(TWELVE, like)), min(K, BLOCK)
    right = terms * HIGH_PANEL + 2 * L
    totals = right + terms * width + 2 * L
    return right, totals, totals + (ceil_div(columns, width) + 1) * HIGH_ROWS * width


@device
def _in_tiles(shape, A, a_by_rows, B, C, bias, accumulate, j, j_end, work, left, right, side):
    """Columns from j to j_end of C (+)= A B + bias"""
    compact()
    (m, N), K, L, zero, one = C.shape, B.shape[0], lanes(C), np.intp(0), np.intp(1)
    width, rows, of_panel = np.intp(tile_width(shape, B)), tile_rows(shape), np.intp(HIGH_PANEL)
    apart, step, size = A.shape[1], one, rows * width
    if a_by_rows:
        apart, step = step, apart
    packed = rows_meet(A) or (a_by_rows and m < rows)  # a tile reads so many numbers side by side
    whole, wide = (j_end - j) // width, ceil_div(j_end - j, width)
    lies_over = not accumulate and j_end - j >= width  # the last tile over the one before, where sums are the same
    last = j_end - width if lies_over else j + whole * width
    for k0 in range(0, K, BLOCK):
        terms = min(K - k0, BLOCK)
        block = terms, one, k0 == 0, k0 + BLOCK >= K
        factor = flat(A), k0 * step, step, zero, apart, zero
        if packed:
            pack(A, a_by_rows, zero, m, k0, terms, one, of_panel, work, left)
            factor = work, left, of_panel, zero, one, zero
        other, sums, to = (flat(B), k0 * N + j, N, width), (work, side, side + size, size), (C, zero, j, m, j_end)
        tiles(shape, (one, whole, wide), factor, other, block, sums, to, bias, accumulate)
        if whole < wide:
            other, sums = (flat(B), k0 * N + last, N, zero), (work, side, side + wide * size, size)
            if not lies_over:
                for place in range(right + width - L, right + terms * width, width):
                    store(work, place, splat(B, 0))  # where there may be no columns
                pack(B, flag(True), last, j_end - last, k0, terms, one, width, work, right)
                other = work, right, width, zero
            to = C, zero, last, m, j_end
            tiles(shape, (one, one, wide), factor, other, block, sums, to, bias, accumulate)


@part(*TASK)
def high_task(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, task, work, left):
    """A task of a product of nine to twelve rows: some columns of C (+)= A B + bias."""
    compact()
    j, j_end = task * plan.columns, min((task + 1) * plan.columns, C.shape[1])
    stop = j + to_line(B, j, j_end - j)
    while j < j_end:
        args = A, a_by_rows, B, C, bias, accumulate, j, stop, work, left, left + plan.right, left + plan.totals
        if C.shape[0] <= tile_rows(TEN):
            _in_tiles(TEN, *args)
        else:
            _in_tiles(TWELVE, *args)
        j, stop = stop, j_end
