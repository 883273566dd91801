"""Products C[i, j] = Σ_k A[i, k] B[k, j] of few terms, or of many rows but few columns: A is read once, where it is.

The order of summation is that of `_product.py`.
"""

import numpy as np

from ._arrays import compact, flat
from ._by_rows import FEW_ROWS
from ._jit import device, inlined
from ._loads import load_masked, past_line, store
from ._pack import ceil_div, finish, pack, terms_of_block
from ._panels import MEDIUM, NARROW, ROWS_AHEAD, TILE, block_of_tile
from ._simd import first, lanes, splat
from ._tile import TILE_ROWS, TILE_VECS, TileShape, tile_add, tile_beyond, tile_rank1, tile_rows, tile_width, tile_zeros
from ._tile_loads import tile_load, tile_load_rows, tile_store, tile_store_part, tile_store_rows
from ._transpose import to_lines

WHOLE = 2**19  # bytes of all of B, where few columns are packed as a whole: half of the second cache
# A product of few terms is written in tiles that fill the registers (dX of 8 × 2000 × 16 takes 0.77 of the time of four
# rows at a time), but few rows, and so few terms with registers of 32 bytes, in wider ones.
_FEW_WIDE, _FEWEST_TERMS = (TileShape(FEW_ROWS, 4), 0) if TILE_VECS > 1 else (TileShape(FEW_ROWS, 2), 4)
# What is left of the columns of a few rows: dW of 4 × 62 from 192 rows takes 0.6 of the time of eight rows.
_FEW_PAIR = TileShape(FEW_ROWS, 2)
# Sums of few columns that are so short need no preparation: 9000 × 6 × 8 takes 0.7 of the time.
_SHORT = 96
# Vectors that lie over two lines of the cache take twice as long to load or store. So many strips, or more, are worth
# beginning at a line, though it makes one more; or fewer, if it does not: dX of 128 × 784 × 256 takes 0.83 of the time.
_MANY_STRIPS, _SOME_STRIPS = 8, 2
# So many terms or less load B no more often than C is stored, which takes longer: dW of 50 × 2000 from 5 rows, of
# float64, takes 0.62 of the time where C is what begins at a line, from 12 rows 0.95, but from 24 1.1.
_TERMS_OF_STORES = 12
# Where rows of C begin at different places in a line, those that begin alike are a tile of so few terms: dW of
# 61 × 1732 from 6 rows takes 0.65 of the time, of 100 × 1999 from 8 0.8, but of 200 × 301 from 10 1.07. They fill it,
# unless there are many strips: then half as many rows as terms, or two, will do, and 100 × 1999 from 4 takes 0.75.
_TERMS_ALIKE = 8 if TILE_VECS > 1 else 0
_MOST_ALIKE = 2**21  # bytes of C: beyond, lines that two rows share are stored twice; 7293 × 85 takes 1.35 of the time
# So few terms of a B that stays in the first cache are no more work than to store the row: one row at a time, all can
# begin at a line, and dW of 1 × 1000 × 1000 takes 0.75 of the time, of 1 × 1569 × 219 0.65. So many strips or more, and
# more than terms, are worth the one that alignment adds.
_ROW, _TERMS_OF_ROW, _STRIPS_OF_ROW, _STAYS = TileShape(1, 4), 4, 3, 2**14
# For four columns or fewer, whose rows are stored in a quarter of a vector: 1000 × 5 × 1 takes four fifths. A float64
# takes half a vector and a fifth longer, where a vector is one register.
_FOUR, _FOUR_BYTES = TileShape(TILE_ROWS, 1, 4), 4 if TILE_VECS > 1 else 8


@inlined
def _few_terms_strip(shape, A, a, step, apart, rows, B, b, stride, K, C, i, every, j, bias, accumulate, done):
    """C[i + p every, j + q] (+)= Σ_k A[a + p apart + k step] · B[b + k stride + q] + bias[j + q], in a tile of this
    shape, whose columns before `done` are not to be added again"""
    c, next_row = i * C.shape[1] + j, every * C.shape[1]
    tile = tile_zeros(C, shape)
    for k in range(K):
        tile = tile_rank1(tile, A, a + k * step, apart, rows, B, b + k * stride)
    if bias.size:
        tile = tile_add(tile, tile_load(bias, j, np.intp(0), shape))
    if accumulate:
        tile = tile_add(tile_load_rows(flat(C), c, next_row, shape, rows), tile_beyond(tile, done - j))
    if rows >= tile_rows(shape):
        tile_store(tile, flat(C), c, next_row)
    else:
        tile_store_rows(tile, flat(C), c, next_row, rows)


@inlined
def _past_line(shape, B, b, stride, K, C, i, every, j, wide):
    """By how much the first two strips are to overlap, for all but the first to begin at a line of the cache: of B, if
    that is loaded more often than C is stored, and all its rows are as far past a line; else of C. 0 if that does not
    pay."""
    across, past = tile_width(shape, C), np.intp(0)
    if K > _TERMS_OF_STORES and stride % lanes(C) == 0:
        past = past_line(B, b)
    elif tile_rows(shape) == 1 or every * C.shape[1] % lanes(C) == 0:
        past = past_line(C, (i, j))
    pays = wide >= _MANY_STRIPS * across or ceil_div(wide + past, across) == ceil_div(wide, across)
    return past if pays and wide >= _SOME_STRIPS * across else np.intp(0)


@inlined
def _few_terms_rows(shape, alone, A, a, step, apart, rows, B, b, stride, K, C, i, every, j, n, bias, accumulate):
    """As many rows as a tile of this shape has at most, from end to end, but for what is left of the columns: `alone`
    vectors or less, or four in place of one. Returns where that begins."""
    across, done = tile_width(shape, C), np.intp(0)
    wide = n - alone * lanes(C) if n >= across else np.intp(0)
    past = _past_line(shape, B, b, stride, K, C, i, every, j, wide)
    if alone > 1 and n > across and 0 < (n + past) % across <= lanes(C):
        wide -= 2 * lanes(C)  # pairs of vectors in place of a whole strip and a vector: 0.9 of the time of four vectors
    for q_or_less in range(-past, wide, across):
        q = max(np.intp(0), min(q_or_less, n - across))  # the last strip lies over those before, or over the first
        at = B, b + q, stride, K, C, i, every, j + q, bias
        _few_terms_strip(shape, A, a, step, apart, rows, *at, accumulate, j + done)
        done = q + across
    return done


@inlined
def _rows_alike(K, C, m, n):
    """Every how many-th row of C begins as far past a line of the cache as the first, if it pays to compute these
    together."""
    every, least, across = np.intp(1), np.intp(TILE_ROWS), tile_width(TILE, C)
    if K > _TERMS_ALIKE or n < _SOME_STRIPS * across or m * n * C.itemsize > _MOST_ALIKE:
        return every
    if K < _TERMS_ALIKE and n >= _MANY_STRIPS * across:
        least = max(np.intp(2), K // 2)
    while every * C.shape[1] % lanes(C):
        every *= 2
    return every if m >= every * least else np.intp(1)


@device
def _few_terms(A, a, step, apart, B, b, stride, K, C, i0, every, m, j0, n, bias, accumulate):
    """few_terms of m rows of C, of which each is `every` rows behind the one before."""
    compact()
    L, few, many, next_p = lanes(C), np.intp(FEW_ROWS), np.intp(TILE_ROWS), np.intp(0)
    pair, others = tile_width(MEDIUM, C), (B, b, stride, K, C)
    while next_p < m:
        most = few if m - next_p <= few else many
        # The last rows lie over those before, unless these would be added twice.
        p, next_p = next_p if accumulate else max(np.intp(0), min(next_p, m - most)), next_p + most
        stop, done = min(p + most, m), np.intp(0)
        group, i = (A, a + p * apart, step, apart, stop - p), i0 + p * every
        if most == few or K <= _FEWEST_TERMS:
            for r_or_less in range(p, stop, few):
                r = r_or_less if accumulate else max(p, min(r_or_less, stop - few))
                rows, to = (A, a + r * apart, step, apart, stop - r), (i0 + r * every, every, j0, n, bias, accumulate)
                done = _few_terms_rows(_FEW_WIDE, np.intp(1), *rows, *others, *to)
        else:
            done = _few_terms_rows(TILE, np.intp(TILE_VECS - 1), *group, *others, i, every, j0, n, bias, accumulate)
        while TILE_VECS > 1 and n - done > L and n >= pair:
            q = min(done, n - pair)
            at = B, b + q, stride, K, C, i, every, j0 + q, bias, accumulate, j0 + done
            if most == few:
                _few_terms_strip(_FEW_PAIR, *group, *at)
            else:
                _few_terms_strip(MEDIUM, *group, *at)
            done = q + pair
        while done < n:
            q = min(done, n - L)
            at = B, b + q, stride, K, C, i, every, j0 + q, bias, accumulate, j0 + done
            _few_terms_strip(NARROW, *group, *at)
            done = q + L


@device
def few_terms(A, a, step, apart, B, b, stride, K, C, i0, m, j0, n, bias, accumulate):
    """Rows i0 to i0 + m, columns j0 to j0 + n of C (+)= A B + bias, a product of few terms, its A[i0 + p, k] at A[a + p
    apart + k step] and its B[k, j0 + q] at B[b + k stride + q]: rows of C are written from end to end, a few at a time,
    as fast as memory takes them."""
    compact()
    others, strips = (B, b, stride, K, C), max(K + 1, _STRIPS_OF_ROW)
    if K <= _TERMS_OF_ROW and K * n * C.itemsize <= _STAYS and n >= strips * tile_width(_ROW, C):
        for r in range(m):
            row, to = (A, a + r * apart, step, apart, np.intp(1)), (i0 + r, np.intp(1), j0, n, bias, accumulate)
            _few_terms_rows(_ROW, np.intp(0), *row, *others, *to)
        return
    every = _rows_alike(K, C, m, n)
    for r in range(every):
        to = i0 + r, every, ceil_div(m - r, every), j0, n, bias, accumulate
        _few_terms(A, a + r * apart, step, every * apart, *others, *to)


@device
def few_terms_by_columns(A, a, step, apart, B, K, C, i0, m, j0, n, bias, accumulate, work, right):
    """few_terms of a B[j, k], which is transposed first."""
    compact()
    L = lanes(C)
    width = ceil_div(n, L) * L
    for q in range(0, n, L):
        to_lines(B, (j0 + q) * K, K, n - q, work, right + q, width)
    few_terms(A, a, step, apart, work, right, width, K, C, i0, m, j0, n, bias, accumulate)


@device
def _few_columns(shape, A, a, step, apart, B, b_by_rows, K, sums, C, i0, m, j0, n, bias, accumulate, work, right, side):
    """few_columns in tiles of this shape, which is as wide"""
    compact()
    N, L, nothing = C.shape[1], tile_width(shape, C), bias[:0]
    total, shift, most = side + TILE_ROWS * L, right + K * L, terms_of_block(K, sums)
    pack(B, b_by_rows, j0, n, np.intp(0), K, np.intp(1), L, work, right)
    if bias.size:  # behind the panel, with zeros where there are no columns
        for q in range(0, L, lanes(C)):
            store(work, shift + q, load_masked(bias, j0 + q, first(C, n - q), splat(C, 0)))
    for p in range(0, m, TILE_ROWS):
        rows, acc = m - p, tile_zeros(C, shape)
        short = sums == 1 and K <= _SHORT and rows >= TILE_ROWS
        for k in range(K if short else 0):
            acc = tile_rank1(acc, A, a + p * apart + k * step, apart, rows, work, right + k * L)
        for k in range(0, 0 if short else K, most):
            left = A, a + p * apart + k * step, sums * step, step, apart, rows
            right_of_block = work, right + k * L, L, ROWS_AHEAD * L
            acc = block_of_tile(shape, *left, *right_of_block, min(K - k, most), sums, work, side)
            if k > 0:
                acc = tile_add(tile_load(work, total, L, shape), acc)
            if k + most < K:
                tile_store(acc, work, total, L)
        if bias.size:
            acc = tile_add(acc, tile_load(work, shift, np.intp(0), shape))
        c = (i0 + p) * N + j0
        if accumulate:
            tile_store(acc, work, total, L)
            finish(work, total, L, C, i0 + p, j0, min(rows, TILE_ROWS), n, nothing, accumulate)
        elif N <= L and c + (TILE_ROWS - 1) * N + L <= (i0 + m) * N:
            tile_store(acc, flat(C), c, N)  # what spills over the end of a row is overwritten by the next
        else:
            tile_store_part(acc, flat(C), c, N, rows, n)


@device
def few_columns(A, a, step, apart, B, b_by_rows, K, sums, C, i0, m, j0, n, bias, accumulate, work, right, side):
    """Rows i0 to i0 + m of few columns of C (+)= A B + bias, all of B packed, so that rows of A, given as for
    `few_terms`, are read from end to end: with B packed a block at a time, 16384 × 784 × 10 takes an eighth longer."""
    compact()
    args = A, a, step, apart, B, b_by_rows, K, sums, C, i0, m, j0, n, bias, accumulate, work, right, side
    if n <= tile_width(_FOUR, C) and C.itemsize <= _FOUR_BYTES:
        _few_columns(_FOUR, *args)
    elif n <= lanes(C):
        _few_columns(NARROW, *args)
    elif n <= 2 * lanes(C):
        _few_columns(MEDIUM, *args)
    else:
        _few_columns(TILE, *args)


@device
def are_few_columns(columns, K, C):
    """Whether so many columns of B can be packed as a whole."""
    L = lanes(C)
    return columns <= TILE_VECS * L and K * TILE_VECS * L * C.itemsize <= WHOLE
