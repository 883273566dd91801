"""Few rows of a product C[i, j] = Σ_k A[i, k] B[k, j] beside a B by rows, which is read once, and where it is.

The rows of A are packed, and all columns of B that a chunk has pass them, some rows of B at a time, while the chunk's
sums stay in the first cache.
"""

import numpy as np

from ._arrays import compact, flat
from ._jit import device, inlined
from ._loads import past_line
from ._pack import first_at_least
from ._parts import Choice, absent_of, part
from ._simd import first, lanes
from ._tile import (
    TILE_ROWS,
    TILE_VECS,
    TileShape,
    tile_add,
    tile_product,
    tile_rank1,
    tile_rows,
    tile_splat,
    tile_width,
    tile_zeros,
)
from ._tile_loads import tile_load, tile_load_masked, tile_prefetch, tile_store

# So many rows, and TILE_ROWS where there are more, have sums of their own: for each, some loops are compiled. Six of
# eight rows take 0.74 to 0.9 of the time of all eight.
FEW_ROWS, MORE_ROWS = 4 if TILE_ROWS % 4 == 0 else 2, TILE_ROWS * 3 // 4

_VECTOR, _PAIR = TileShape(1, 1), TileShape(1, 2)
# One or two rows of sums in memory, and how many rows of B are added to them at a time: two at a time load and store
# the sums more often, and take up to a quarter longer. Of one row, vectors that lie over two lines of the cache are
# fetched _AHEAD vectors before, if there are _WIDE or more: 1 × 1999 × 100 takes 0.85 of the time. Where they do not
# lie so, it would take 1.2 times it; two rows gain less, and vectors of two registers nothing.
_ONE_SUM, _TWO_SUMS, _SOME_ROWS = TileShape(1, 1), TileShape(2, 1), TileShape(8, 1)
_AHEAD, _WIDE = 4, 16  # vectors
_SOME_ELEMENTS, _SOME_PAIRS = TileShape(8, 1), TileShape(16, 1)
# More rows of sums in registers: strips of B as wide as these hold. What is left, of _PAIRED_ROWS or less, is taken two
# vectors at a time: sums of one would wait for each addition, and dW of 4 × 20 from 300 rows takes 0.75 of the time.
_PAIRED_ROWS = MORE_ROWS if TILE_VECS > 1 else FEW_ROWS
_FEW, _MORE, _MANY = TileShape(FEW_ROWS, 1), TileShape(MORE_ROWS, 1), TileShape(TILE_ROWS, 1)
_FEW_STRIP, _MORE_STRIP, _MANY_STRIP = (
    TileShape(rows, TILE_ROWS * TILE_VECS // rows) for rows in (FEW_ROWS, MORE_ROWS, TILE_ROWS)
)
_WORTH_A_LINE = 32  # vectors of columns, or more, are worth some before, for these to begin at a line of the cache

_BY_ROWS = 1, int, int, 1, int, int, int, int, int, int, bool  # as each part takes it


@device
def _add_rows(sums, elements, work, a, terms, B, b, stride, columns, t, own, width, opens):
    """work[t + p width + q] (+)= Σ_k work[a + k rows + p] · B[b + k stride + q], where (+)= is = if it opens the sum.

    For one or two rows, B is read from end to end, some rows at a time, and the sums are in memory: at `own` if not
    at t.
    """
    compact()
    L, R, some = lanes(B), tile_rows(sums), tile_rows(_SOME_ROWS)
    at = t if opens else own
    for q in range(0, columns, L):
        tile_store(tile_zeros(B, sums), work, at + q, width)
    whole, wide = terms // some * some, columns // L * L
    fetched = TILE_VECS > 1 and R == 1 and stride % L > 0 and columns >= _WIDE * L
    for k in range(0, whole, some):
        left, row = tile_splat(work, a + R * k, np.intp(1), elements), b + k * stride
        for q in range(0, wide, L):
            if fetched:
                for r in range(some):
                    tile_prefetch(_VECTOR, B, row + r * stride + q + _AHEAD * L)
            total, right = tile_load(work, at + q, width, sums), tile_load(B, row + q, stride, _SOME_ROWS)
            tile_store(tile_product(total, left, 0, right), work, at + q, width)
        if wide < columns:
            right = tile_load_masked(B, row + wide, stride, _SOME_ROWS, first(B, columns - wide))
            total = tile_product(tile_load(work, at + wide, width, sums), left, 0, right)
            tile_store(total, work, at + wide, width)
    for k in range(whole, terms):
        for q in range(0, columns, L):
            right = tile_load_masked(B, b + k * stride + q, stride, _VECTOR, first(B, columns - q))
            total = tile_product(tile_load(work, at + q, width, sums), work, a + R * k, right)
            tile_store(total, work, at + q, width)
    if not opens:
        for q in range(0, columns, L):
            both = tile_load(work, t + q, width, sums), tile_load(work, own + q, width, sums)
            tile_store(tile_add(*both), work, t + q, width)


@part(*_BY_ROWS)
def one_by_rows(work, a, terms, B, b, stride, columns, t, sums, width, opens):
    _add_rows(_ONE_SUM, _SOME_ELEMENTS, work, a, terms, B, b, stride, columns, t, sums, width, opens)


@part(*_BY_ROWS)
def two_by_rows(work, a, terms, B, b, stride, columns, t, sums, width, opens):
    _add_rows(_TWO_SUMS, _SOME_PAIRS, work, a, terms, B, b, stride, columns, t, sums, width, opens)


@inlined
def ahead_in_place(stride, width):
    """How far ahead a B is fetched that is read where it is, in strips of this width: each touches few bytes of many
    pages, which the hardware does not see coming. Eight rows; the next strip, where strips are one vector wide: wider
    ones do not stay in the first cache as long, and dX of 4 × 164 × 639 takes 0.7 to 0.8 of the time."""
    return 8 * stride if TILE_VECS > 1 else np.intp(width)


@device
def to_line(B, j, n):
    """How many of n columns from j on of a B by rows, which is read where it is, to compute before the others, for
    these to begin at a line of the cache; all, if they are few, or rows begin at different places in a line.

    Vectors that lie over two lines take twice as long to load. One or two rows times 1024 columns of 128 terms take 0.6
    to 0.75 of the time, six 0.8 to 0.9, ten to sixteen 0.85 to 0.9.
    """
    L = lanes(B)
    past = past_line(flat(B), j) if B.shape[1] % L == 0 and n >= _WORTH_A_LINE * L else 0
    return L - past if past else n


@inlined
def keep(shape, sums, work, t, width, opens):
    """work[t + p width + q] (+)= sums[p, q], where (+)= is = if they open the sum."""
    if not opens:
        sums = tile_add(tile_load(work, t, width, shape), sums)
    tile_store(sums, work, t, width)


@device
def _add_strips(vector, strip, work, a, terms, B, b, stride, columns, t, width, opens):
    """The same for more rows, with the sums in registers: strips of B as wide as these hold."""
    compact()
    L, R, across = lanes(B), tile_rows(vector), tile_width(strip, B)
    whole, ahead = columns // across * across, ahead_in_place(stride, across)
    for q in range(0, whole, across):
        acc = tile_zeros(B, strip)
        for k in range(terms):
            place = b + k * stride + q
            tile_prefetch(strip, B, place + ahead)
            acc = tile_rank1(acc, work, a + k * R, np.intp(1), R, B, place)
        keep(strip, acc, work, t + q, width, opens)
    while R <= _PAIRED_ROWS and columns - whole > L:
        inside = first(B, columns - whole - L)
        some = other = tile_zeros(B, vector)
        for k in range(terms):
            place = b + k * stride + whole
            tile_prefetch(_PAIR, B, place + ahead)
            some = tile_product(some, work, a + k * R, tile_load(B, place, stride, _VECTOR))
            other = tile_product(other, work, a + k * R, tile_load_masked(B, place + L, stride, _VECTOR, inside))
        keep(vector, some, work, t + whole, width, opens)
        keep(vector, other, work, t + whole + L, width, opens)
        whole += 2 * L
    for q in range(whole, columns, L):
        inside = first(B, columns - q)
        some = tile_zeros(B, vector)
        for k in range(terms):
            place = b + k * stride + q
            if R > _PAIRED_ROWS:  # fewer rows would wait for it
                tile_prefetch(_VECTOR, B, place + ahead)
            some = tile_product(some, work, a + k * R, tile_load_masked(B, place, stride, _VECTOR, inside))
        keep(vector, some, work, t + q, width, opens)


@part(*_BY_ROWS)
def few_by_rows(work, a, terms, B, b, stride, columns, t, sums, width, opens):
    _add_strips(_FEW, _FEW_STRIP, work, a, terms, B, b, stride, columns, t, width, opens)


@part(*_BY_ROWS)
def more_by_rows(work, a, terms, B, b, stride, columns, t, sums, width, opens):
    _add_strips(_MORE, _MORE_STRIP, work, a, terms, B, b, stride, columns, t, width, opens)


@part(*_BY_ROWS)
def many_by_rows(work, a, terms, B, b, stride, columns, t, sums, width, opens):
    _add_strips(_MANY, _MANY_STRIP, work, a, terms, B, b, stride, columns, t, width, opens)


BY_ROWS = Choice(one_by_rows, two_by_rows, few_by_rows, more_by_rows, many_by_rows)


_ROWS = 1, 2, FEW_ROWS, MORE_ROWS, TILE_ROWS  # of each part


@device
def part_by_rows(m):
    """Which part of BY_ROWS is for m rows, up to TILE_ROWS."""
    return first_at_least(_ROWS, m)


@device
def rows_at_a_time(m):
    """How many rows this part has."""
    return np.intp(_ROWS[part_by_rows(m) - 1])


@device
def first_absent_of_by_rows(m, like):
    """Which part of BY_ROWS m rows, TILE_ROWS at a time, need and is not linked, or 0"""
    missing = absent_of(BY_ROWS, part_by_rows(min(m, TILE_ROWS)), like)
    if m > TILE_ROWS and not missing:
        missing = absent_of(BY_ROWS, part_by_rows((m - 1) % TILE_ROWS + 1), like)  # the last of them
    return missing
