"""Products C[i, j] = Σ_k A[i, k] B[k, j] of nine to twelve rows, of a B by rows, in tiles of twelve rows.

B comes from the second cache at about the rate at which tiles of eight rows use it, so those of the few rows that are
left would wait for it. Tiles of twelve rows read it once: dX of 9 × 1024 × 512 takes 0.72 of the time, of 12 × 300 ×
300 0.82. Two of them for 17 to 24 rows take up to 1.15 times as long as three of eight. The order of summation is that
of `_product.py`.
"""

import numpy as np

from ._arrays import compact, flag, flat
from ._jit import device
from ._pack import ceil_div, pack
from ._panels import HIGH, HIGH_PANEL, HIGH_ROWS, tiles
from ._parts import part
from ._simd import lanes
from ._thin import TASK, rows_meet
from ._tile import BLOCK, tile_width


@device
def high_plan(n, K, like):
    """Where in the workspace B's last columns and the totals start, and its size, for at most n columns."""
    compact()
    L, width, terms = lanes(like), np.intp(tile_width(HIGH, like)), min(K, BLOCK)
    right = terms * HIGH_PANEL + 2 * L
    totals = right + terms * width + 2 * L
    return right, totals, totals + (ceil_div(n, width) + 1) * HIGH_ROWS * width


@part(*TASK)
def high_task(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, task, work, left):
    """A task of a product of nine to twelve rows: some columns of C (+)= A B + bias."""
    compact()
    (m, N), K, zero, one, most = C.shape, B.shape[0], np.intp(0), np.intp(1), plan[5]
    j, width, j_end = task * most, np.intp(tile_width(HIGH, B)), min((task + 1) * most, N)
    right, totals, _ = high_plan(most, K, C)
    right, side, size = left + right, left + totals, HIGH_ROWS * width
    apart, step = (one, A.shape[1]) if a_by_rows else (A.shape[1], one)
    packed = rows_meet(A) or (a_by_rows and m < HIGH_ROWS)  # a tile reads twelve numbers side by side
    whole, wide = (j_end - j) // width, ceil_div(j_end - j, width)
    last = j + whole * width
    for k0 in range(0, K, BLOCK):
        terms = min(K - k0, BLOCK)
        block = terms, one, k0 == 0, k0 + BLOCK >= K
        factor = flat(A), k0 * step, step, zero, apart, zero
        if packed:
            pack(A, a_by_rows, zero, m, k0, terms, one, np.intp(HIGH_PANEL), work, left)
            factor = work, left, np.intp(HIGH_PANEL), zero, one, zero
        other, sums, to = (flat(B), k0 * N + j, N, width), (work, side, side + size, size), (C, zero, j, m, j_end)
        tiles(HIGH, (one, whole, wide), factor, other, block, sums, to, bias, accumulate)
        if last < j_end:
            pack(B, flag(True), last, j_end - last, k0, terms, one, width, work, right)
            other, sums = (work, right, width, zero), (work, side, side + wide * size, size)
            to = C, zero, last, m, j_end
            tiles(HIGH, (one, one, wide), factor, other, block, sums, to, bias, accumulate)
