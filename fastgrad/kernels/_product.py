"""Matrix products C[i, j] = Σ_k A[i, k] B[k, j] as rank-1 updates of register tiles.

One order of summation for every affine function: blocks of terms are summed in registers, and the blocks are added in
order. A block is one sum of BLOCK terms, one after the other; or SUMS of every fourth term, added in order, where both
factors, in C order, lie along the sum, so that few rows can be multiplied where they lie (`_dots.py`): tiles take 3 %
longer for it (5 % for float64, 8 % of 100 terms). The order depends on which product it is, the number of terms and the
shape of B alone, so neither how the factors lie, nor the tile's shape, nor the tasks into which a product is cut change
a bit of C.

A task is a rectangle of C. For each block of terms it packs its columns of B into panels, in the order in which the
tiles read them, and adds the block to its totals; the last block goes to C. An element of A goes into a whole row of a
tile, so A is read where it is: packing it as well took 1 to 4 % longer from 128 to 1000 rows, columns and terms, and
30 % for ten columns. Only rows that push each other out of the cache are worth it: 8 % for 512 terms of float64.
With tiles of one vector, every element is loaded three times as often, and packing pays from 16 panels of B on: 20 %
for dW of 1000 rows, columns and terms.
"""

import numpy as np

from ._arrays import compact, flat
from ._by_rows import to_line
from ._few import few_columns, few_terms, few_terms_by_columns
from ._high import high_task
from ._jit import device
from ._kinds import is_unpacked
from ._pack import ceil_div, pack, sum_apart, terms_of_block
from ._panels import is_narrow, panels
from ._parts import Choice, absent_of, part
from ._plan import REGISTERS
from ._simd import lanes
from ._tall import is_by_whole_rows, tall_task
from ._task import TALL, TASK, THIN, take_number
from ._thin import THIN_PARTS, first_absent_of_thin, rows_meet, thin_task
from ._tile import TILE_ROWS, TILE_VECS

# PACK_A: whether A is packed though its rows do not meet; UNPACKED_PANELS of B do not pay for packing A.
# PASSED bytes of B's panels stay in the second cache while each panel of A passes all of them: so C is written row by
# row, and dW of 133 × 1627 × 606 takes 0.7 times as long as panel by panel of B.
PACK_A, UNPACKED_PANELS, PASSED = (False, 3, 2**18) if TILE_VECS > 1 else (True, 15, 2**17)


@device
def blocks(
    A, a_by_rows, step, apart, B, b_by_rows, K, sums, C, i0, m, j0, n, bias, accumulate, work, left, right, side, group
):
    """Rows i0 to i0 + m, columns j0 to j0 + n of C (+)= A B + bias, one block of terms after the other."""
    compact()
    L, N = lanes(C), C.shape[1]
    width = np.intp(TILE_VECS * L)
    tall, wide = ceil_div(m, TILE_ROWS), ceil_div(n, width)
    whole = wide - 1 if is_narrow(n - (wide - 1) * width, C) else wide
    unpacked = np.intp(0)
    if is_unpacked(b_by_rows, m, N, K, C.itemsize):
        unpacked = n // width if n % L else wide
    pack_A = wide > UNPACKED_PANELS and (PACK_A or rows_meet(A))
    source, one = flat(A), np.intp(1)
    if pack_A:
        source, apart, step = work, one, np.intp(TILE_ROWS)
    most = terms_of_block(K, sums)
    together = max(one, PASSED // max(min(K, most) * width * C.itemsize, one))
    next_t = TILE_ROWS * width if most < K else np.intp(0)
    for k0 in range(0, max(K, 1), most):
        terms = min(K - k0, most)
        block = terms, sums, k0 == 0, k0 + most >= K
        if tall > 1:
            pack(B, b_by_rows, j0 + unpacked * width, n - unpacked * width, k0, terms, one, width, work, right)
        for p0 in range(0, tall, group):
            down, i = min(group, tall - p0), i0 + p0 * TILE_ROWS
            factor = source, i * apart + k0 * step, sums * step, step, apart, TILE_ROWS * apart
            if pack_A:
                rows = min(i0 + m - i, down * TILE_ROWS)
                pack(A, a_by_rows, i, rows, k0, terms, sums, np.intp(TILE_ROWS), work, left)
                next_sum = sum_apart(terms, sums, np.intp(TILE_ROWS), L)
                factor = source, left, step, next_sum, apart, sums * next_sum
            q = np.intp(0)
            while q < wide:
                across, j, next_b = np.intp(1), j0 + q * width, terms * width + L
                if q < unpacked:
                    across = max(min(unpacked - q, whole - q, together), across)
                    other = flat(B), k0 * N + j, N, width
                elif tall > 1:
                    across = max(min(whole - q, together), across)
                    other = work, right + (q - unpacked) * next_b, width, next_b
                else:
                    other = work, right, width, next_b
                    pack(B, b_by_rows, j, min(j0 + n - j, width), k0, terms, one, width, work, right)
                totals = work, side, side + REGISTERS * L + (p0 * wide + q) * next_t, next_t
                to = C, i, j, i0 + m, j0 + n
                panels((down, across, wide), factor, other, block, totals, to, bias, accumulate)
                q += across


@device
def rectangle(A, a_by_rows, C, plan, task):
    """Of a task: its first row of C and how many, its first column and how many; terms, how far apart they and the rows
    are in A."""
    (M, N), K = C.shape, A.shape[0] if a_by_rows else A.shape[1]
    i0, j0 = task // plan.across * plan.rows, task % plan.across * plan.columns
    apart, step = A.shape[1], np.intp(1)
    if a_by_rows:
        apart, step = step, apart
    return i0, min(M - i0, plan.rows), j0, min(N - j0, plan.columns), K, step, apart


@part(*TASK)
def tiled_task(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, task, work, left):
    """A task of any other product."""
    compact()
    i0, m, j0, n, K, step, apart = rectangle(A, a_by_rows, C, plan, task)
    factors = A, a_by_rows, step, apart, B, b_by_rows, K, plan.sums
    right, totals = left + plan.right, left + plan.totals
    columns = to_line(B, j0, n) if is_unpacked(b_by_rows, m, C.shape[1], K, C.itemsize) else n
    while n > 0:
        blocks(*factors, C, i0, m, j0, columns, bias, accumulate, work, left, right, totals, plan.group)
        j0 += columns
        n -= columns
        columns = n


@part(*TASK)
def few_terms_task(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, task, work, left):
    """A task of a product of few terms."""
    compact()
    i0, m, j0, n, K, step, apart = rectangle(A, a_by_rows, C, plan, task)
    factor, to = (flat(A), i0 * apart, step, apart), (K, C, i0, m, j0, n, bias, accumulate)
    if b_by_rows:
        few_terms(*factor, flat(B), j0, B.shape[1], *to)
    else:
        few_terms_by_columns(*factor, B, *to, work, left + plan.right)


@part(*TASK)
def few_columns_task(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, task, work, left):
    """A task of few columns."""
    compact()
    i0, m, j0, n, K, step, apart = rectangle(A, a_by_rows, C, plan, task)
    factors = flat(A), i0 * apart, step, apart, B, b_by_rows, K, plan.sums
    few_columns(*factors, C, i0, m, j0, n, bias, accumulate, work, left + plan.right, left + plan.totals)


TASKS = Choice(tiled_task, thin_task, tall_task, high_task, few_terms_task, few_columns_task)  # by kind
PRODUCT_PARTS, _BEFORE_THIN = TASKS.parts + THIN_PARTS, len(TASKS.parts)


@device
def absent_of_product(a_by_rows, b_by_rows, C, plan):
    """Which of the PRODUCT_PARTS, counted from 1, the tasks of a product need and is not linked; 0 if none."""
    (m, n), turned, kind = C.shape, plan.turned, plan.kind
    missing = absent_of(TASKS, kind, C)
    if not missing and (kind == THIN or (kind == TALL and is_by_whole_rows(m, n))):
        missing = first_absent_of_thin(n if turned else m, a_by_rows if turned else b_by_rows, plan.sums, C)
        missing += _BEFORE_THIN if missing else 0
    return missing


@device
def product(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, task, work, left):
    """One task of C (+)= A B + bias, its part of the workspace at work[left:].

    A is given as A[k, i] (a_by_rows) or A[i, k], B as B[k, j] (b_by_rows) or B[j, k].
    """
    TASKS(plan.kind, A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, task, work, left)


@device
def product_tasks(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, work, left):
    """Tasks of C (+)= A B + bias, as long as there are any."""
    task = take_number(work)
    while task < plan.tasks:
        product(A, a_by_rows, B, b_by_rows, C, bias, accumulate, plan, task, work, left)
        task = take_number(work)
