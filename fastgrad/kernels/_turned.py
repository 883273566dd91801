"""Products C[i, j] = Σ_k A[i, k] B[j, k] of few rows, in one sum a block, of a B by columns: squares of B are turned in
registers and multiplied there.

To turn columns into the workspace first, for the loops of `_by_rows.py`, takes 1.1 to 1.9 times as long: each element
is stored and loaded once more, for few multiplications. Columns are read from end to end, some of them side by side; to
fetch them further ahead takes 1.05 to 1.3 times as long. The order of summation is that of `_product.py`.
"""

import numpy as np

from ._by_rows import keep
from ._jit import device, inlined
from ._pack import first_at_least
from ._parts import Choice, part
from ._simd import lanes
from ._tile import BLOCK, TILE_ROWS, TURNED, TileShape, tile_product, tile_rank1, tile_rows, tile_zeros
from ._tile_loads import tile_store
from ._transpose import tile_turned

_FEW_ROWS = 4  # so many rows, and TILE_ROWS where there are more, have squares of their own
_ONE, _TWO = TileShape(1, 1, TURNED), TileShape(2, 1, TURNED)
_FEW, _MANY = TileShape(_FEW_ROWS, 1, TURNED), TileShape(TILE_ROWS, 1, TURNED)

_ARGUMENTS = 1, int, 1, int, int, int, int, int, int, int, bool  # as the next four parts take it


@inlined
def _with_square(acc, work, a, B, place, stride, columns):
    """acc[p, q] + Σ_k work[a + k rows + p] · B[place + q stride + k], k over the lanes of a vector"""
    return tile_product(acc, work, a, tile_turned(B, place, stride, columns, None))


@inlined
def _with_part(acc, R, work, a, terms, B, place, stride, columns, spare):
    """The same of fewer terms"""
    tile_store(tile_turned(B, place, stride, columns, terms), work, spare, np.intp(TURNED))
    for k in range(terms):
        acc = tile_rank1(acc, work, a + k * R, np.intp(1), R, work, spare + k * TURNED)
    return acc


@inlined
def _turned(shape, work, a, B, b, stride, columns, terms, t, width, spare, opens):
    """work[t + p width + q] (+)= Σ_k work[a + k rows + p] · B[b + q stride + k], where (+)= is = if it opens the sum,
    a vector of terms of TURNED columns at a time; or, for few rows, of twice as many, or sums would wait for each
    addition."""
    L, R = lanes(B), tile_rows(shape)
    pair = R < TILE_ROWS
    for q in range(0, columns, 2 * TURNED if pair else TURNED):
        few, more, place = min(columns - q, TURNED), columns - q - TURNED, b + q * stride
        next_place = place + (TURNED * stride if more > 0 else 0)
        for k0 in range(0, max(terms, 1), BLOCK):
            stop = min(k0 + BLOCK, terms)
            whole = k0 + (stop - k0) // L * L
            acc = next_acc = tile_zeros(B, shape)
            for k in range(k0, whole, L):
                acc = _with_square(acc, work, a + k * R, B, place + k, stride, few)
                if pair:
                    next_acc = _with_square(next_acc, work, a + k * R, B, next_place + k, stride, more)
            if whole < stop:
                left = R, work, a + whole * R, stop - whole, B
                acc = _with_part(acc, *left, place + whole, stride, few, spare)
                if pair:
                    next_acc = _with_part(next_acc, *left, next_place + whole, stride, more, spare)
            first = opens and k0 == 0
            keep(shape, acc, work, t + q, width, first)
            if pair:
                keep(shape, next_acc, work, t + q + TURNED, width, first)


@part(*_ARGUMENTS)
def one_turned(work, a, B, b, stride, columns, terms, t, width, spare, opens):
    _turned(_ONE, work, a, B, b, stride, columns, terms, t, width, spare, opens)


@part(*_ARGUMENTS)
def two_turned(work, a, B, b, stride, columns, terms, t, width, spare, opens):
    _turned(_TWO, work, a, B, b, stride, columns, terms, t, width, spare, opens)


@part(*_ARGUMENTS)
def few_turned(work, a, B, b, stride, columns, terms, t, width, spare, opens):
    _turned(_FEW, work, a, B, b, stride, columns, terms, t, width, spare, opens)


@part(*_ARGUMENTS)
def many_turned(work, a, B, b, stride, columns, terms, t, width, spare, opens):
    _turned(_MANY, work, a, B, b, stride, columns, terms, t, width, spare, opens)


SQUARES = Choice(one_turned, two_turned, few_turned, many_turned)


_ROWS = 1, 2, _FEW_ROWS, TILE_ROWS  # of each part


@device
def part_of_squares(m):
    """Which part of SQUARES is for m rows."""
    return first_at_least(_ROWS, m)


@device
def rows_turned(m):
    """How many rows this part has."""
    return np.intp(_ROWS[part_of_squares(m) - 1])
