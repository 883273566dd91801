"""The tiles of a product that a block of terms, packed or where it is, is added to."""

import numpy as np

from ._arrays import compact
from ._by_rows import FEW_ROWS, ahead_in_place
from ._jit import device, inlined
from ._pack import finish
from ._simd import lanes
from ._tile import (
    SUMS,
    TILE_ROWS,
    TILE_VECS,
    TURNED,
    TileShape,
    tile_add,
    tile_places,
    tile_rank1,
    tile_rank1_at,
    tile_rows,
    tile_width,
    tile_zeros,
)
from ._tile_loads import tile_load, tile_prefetch, tile_store, tile_store_part

# Rows of a panel of B fetched ahead: where tiles are small, half as many cost 2 %. To fetch A, too, costs 3 %.
ROWS_AHEAD = 16 if TILE_VECS == 1 else 4

TILE, FEW = TileShape(TILE_ROWS, TILE_VECS), TileShape(FEW_ROWS, TILE_VECS)  # few for what is left of the rows
HIGH_PANEL = 2 * TURNED  # rows of A's panels for tiles that have more rows
# For what is left of the columns, where it does not fill a tile, or few columns.
MEDIUM, NARROW, SLIM = TileShape(TILE_ROWS, min(TILE_VECS, 2)), TileShape(TILE_ROWS, 1), TileShape(TILE_ROWS, 1, TURNED)


@inlined
def block_of_tile(shape, A, a, hop_a, next_sum, apart, rows, B, b, stride, ahead, terms, sums, work, side):
    """tile[p, q] = Σ_k A[p, k] · B[b + k stride + q], as so many sums, that of s of the terms s, s + sums, …

    The terms of sum s of row p begin at A[a + p apart + s next_sum] and are hop_a elements from each other. B is
    fetched `ahead` elements before. The total of the sums so far is in work[side:].
    """
    width, hop_b = tile_width(shape, B), sums * stride
    panel = HIGH_PANEL if tile_rows(shape) > TILE_ROWS else TILE_ROWS
    padded = hop_a == panel and (sums == 1 or next_sum > panel)  # not, where A has two rows and lies by columns
    places, acc, stop = tile_places(shape, A, a, apart, rows), tile_zeros(B, shape), b + terms * stride
    # Two terms a turn: a fifth fewer instructions. A core takes as long with more, but not one that it shares: 512³
    # took a quarter longer there, 200³ a third. Four gain no more. In one loop for all, all take 4 to 6 % longer: LLVM
    # has one address for all rows of A, or one number that steps them, if it knows how far the next term is.
    for s in range(sums):
        for_a, for_b, last, acc = s * next_sum, b + s * stride, stop - hop_b, tile_zeros(B, shape)
        if apart == 1 and (padded or rows >= tile_rows(shape)):
            while for_b < last:
                tile_prefetch(shape, B, for_b + ahead)
                acc = tile_rank1(acc, A, a + for_a, None, rows, B, for_b)
                for_a, for_b = for_a + hop_a, for_b + hop_b
                tile_prefetch(shape, B, for_b + ahead)
                acc = tile_rank1(acc, A, a + for_a, None, rows, B, for_b)
                for_a, for_b = for_a + hop_a, for_b + hop_b
        elif hop_a == 1:
            while for_b < last:
                tile_prefetch(shape, B, for_b + ahead)
                acc = tile_rank1_at(acc, places, for_a, B, for_b)
                tile_prefetch(shape, B, for_b + stride + ahead)
                acc = tile_rank1_at(acc, places, for_a + 1, B, for_b + stride)
                for_a, for_b = for_a + 2, for_b + 2 * stride
        elif hop_a == SUMS:
            while for_b < last:
                tile_prefetch(shape, B, for_b + ahead)
                acc = tile_rank1_at(acc, places, for_a, B, for_b)
                tile_prefetch(shape, B, for_b + hop_b + ahead)
                acc = tile_rank1_at(acc, places, for_a + SUMS, B, for_b + hop_b)
                for_a, for_b = for_a + 2 * SUMS, for_b + 2 * hop_b
        while for_b < stop:
            acc = tile_rank1_at(acc, places, for_a, B, for_b)
            for_a, for_b = for_a + hop_a, for_b + hop_b
        if s > 0:
            acc = tile_add(tile_load(work, side, width, shape), acc)
        if s + 1 < sums:
            tile_store(acc, work, side, width)
    return acc


@device
def tiles(shape, grid, left, right, block, totals, target, bias, accumulate):
    """Adds a block of rank-1 updates to a grid of tiles, row by row; those of the last block go to C, with the bias.

    grid: rows and columns of tiles, tiles in a row of the totals.
    left: A, where the first tile begins, steps to the next term of a sum, to the next sum, row and tile.
    right: B, where the first tile begins, steps to the next term and tile.
    block: its terms, how many sums they are, whether it is the first, whether the last.
    totals: room for the sums of a tile, where the totals are, how far one from the next.
    target: C, row and column where the first tile begins, row and column at which C's part ends.
    """
    compact()
    (down, across, wide), (terms, sums, opens, closes), (work, side, t, next_t) = grid, block, totals
    (A, a, hop_a, next_sum, apart, next_a), (B, b, stride, next_b), (C, i0, j0, i_end, j_end) = left, right, target
    N, width = C.shape[1], max(tile_width(shape, C), lanes(C))
    plain = not accumulate and bias.size == 0
    ahead = ROWS_AHEAD * stride if stride == TILE_VECS * lanes(C) else ahead_in_place(stride, width)
    for p in range(down):
        for q in range(across):
            i, j, total = i0 + p * TILE_ROWS, j0 + q * width, t + (p * wide + q) * next_t
            c, rows, columns = i * N + j, i_end - i, j_end - j
            whole = rows >= tile_rows(shape) and columns >= tile_width(shape, C)
            direct = closes and (whole or plain)
            # What the tile is added to, or its place in C, comes from afar: it is fetched meanwhile. Not from behind C:
            # where there is no memory, each time is a walk through the page tables.
            place = c
            for row in range(tile_rows(shape)):
                if direct:
                    tile_prefetch(shape, C, place)
                place += N if row + 1 < rows else 0
                if not opens:
                    tile_prefetch(shape, work, total + row * width)
            left = A, a + p * next_a, hop_a, next_sum, apart, rows
            acc = block_of_tile(shape, *left, B, b + q * next_b, stride, ahead, terms, sums, work, side)
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
    (down, across, wide), (A, a, hop_a, next_sum, apart, next_a) = grid, left
    (work, side, t, next_t), (C, i, j, i_end, j_end) = totals, target
    columns = j_end - j
    if across == 1 and is_narrow(columns, C):
        args = grid, left, right, block, totals, target, bias, accumulate
        if columns > lanes(C):
            tiles(MEDIUM, *args)
        elif columns > TURNED:
            tiles(NARROW, *args)
        else:
            tiles(SLIM, *args)
        return
    whole = down - 1 if i_end - i <= (down - 1) * TILE_ROWS + FEW_ROWS else down
    tiles(TILE, (whole, across, wide), left, right, block, totals, target, bias, accumulate)
    if whole < down:
        left = A, a + whole * next_a, hop_a, next_sum, apart, next_a
        totals = work, side, t + whole * wide * next_t, next_t
        target = C, i + whole * TILE_ROWS, j, i_end, j_end
        tiles(FEW, (np.intp(1), across, wide), left, right, block, totals, target, bias, accumulate)
