"""What goes into the workspace of a product, and what comes out: panels of its factors, and totals."""

import numpy as np

from ._arrays import compact
from ._jit import device, inlined
from ._loads import load_masked, store, store_masked
from ._simd import first, lanes, select, splat
from ._tile import BLOCK, LONGEST, SUMS, TILE_VECS, TURNED, TileShape
from ._tile_loads import tile_load, tile_prefetch, tile_store
from ._transpose import tile_store_dealt, tile_turned

# How a row of a source is spread over panels: that many panels, and vectors in a row of each.
_GROUP = 4
_SPREAD_SLIM, _SPREAD_NARROW = TileShape(_GROUP, 1, TURNED), TileShape(_GROUP, 1)
_SPREAD_WIDE = TileShape(_GROUP, TILE_VECS)
# Where tiles have one vector, rows are read in such short pieces that a later one is fetched: dX of 128 × 512 × 32000,
# of float32, takes 0.87 to 0.97 of the time on one core. To fetch the next rows that are turned took 0.99.
_IS_FETCHED, _ROWS_AHEAD, _LINES = TILE_VECS == 1, 8, TileShape(1, _GROUP)


@inlined
def first_at_least(sizes, m):
    """The number, counted from 1, of the first of some growing sizes that is m or more."""
    number = np.intp(1)
    while sizes[number - 1] < m:
        number += 1
    return number


@device
def ceil_div(a, b):
    return (a + b - 1) // b


@inlined
def share(count, part, parts):
    """Where one of several equal parts of so many starts and stops."""
    return count * part // parts, count * (part + 1) // parts


@device
def terms_of_block(K, sums):
    """How many terms a block has, of a sum of K terms whose blocks are so many sums each; but the last, which has what
    is left. Of several sums, a multiple of 16, for blocks that are as few and equal as that allows."""
    if sums == 1:
        return np.intp(BLOCK)
    if K <= LONGEST:
        return np.intp(LONGEST)
    return ceil_div(K, ceil_div(K, LONGEST) * 4 * SUMS) * 4 * SUMS


@device
def sum_apart(terms, sums, width, L):
    """How far in a panel the terms of one sum are from those of the next: L elements further than they are long, for
    multiples of 4096 bytes would push each other out of the cache, and what is copied of whole vectors to fit in."""
    return ceil_div(terms, sums) * width + (L if sums == 1 else L + L // SUMS * width)


@inlined
def _term_at(at, k, sums, each, width):
    return at + k % SUMS * each + k // SUMS * width if sums > 1 else at + k * width


@inlined
def _terms_at(at, k, sums, each, width):
    """Where in a panel SUMS terms from k on are."""
    few = _term_at(at, k, sums, each, width), _term_at(at, k + 1, sums, each, width)
    return *few, _term_at(at, k + 2, sums, each, width), _term_at(at, k + 3, sums, each, width)


@inlined
def _spread(shape, source, place, stride, terms, sums, each, work, to, width, apart):
    """Rows of a source over as many panels as the shape has rows"""
    for s in range(sums):
        at = to + s * each
        for k in range(s, terms, sums):
            if _IS_FETCHED:
                tile_prefetch(_LINES, source, place + min(k + _ROWS_AHEAD, terms - 1) * stride)
            tile_store(tile_load(source, place + k * stride, width, shape), work, at, apart)
            at += width


@device
def pack(source, by_rows, start, count, k0, terms, sums, width, work, at):
    """Panels of `width`, the one of i at work[at + i // width · apart:]: each holds, row after row of `width` elements,
    source[k0 + k, start + i] (by_rows) or source[start + i, k0 + k] for i < count; first the terms k of the first of so
    many sums, then those of the second.

    Whole vectors are copied: what spills over the end of a row of a panel is overwritten by the next. By rows, four
    panels at a time: one alone touches too little of each row (half the speed where rows are 4096 bytes apart), all at
    once are too many streams of writes (as slow).
    """
    compact()
    L, stride = lanes(source), source.shape[1]
    zeros = splat(source, 0)
    each = sum_apart(terms, sums, width, L)
    apart = sums * each
    q = 0
    if by_rows:
        vectors, last = ceil_div(width, L) * L, (_GROUP - 1) * width
        while q + last < count and start + q + last + vectors <= stride:
            place, to = k0 * stride + start + q, at + q // width * apart
            args = source, place, stride, terms, sums, each, work, to, width, apart
            if width <= TURNED:
                _spread(_SPREAD_SLIM, *args)
            elif width <= L:
                _spread(_SPREAD_NARROW, *args)
            else:
                _spread(_SPREAD_WIDE, *args)
            q += _GROUP * width
        for rest in range(q, count, width):
            to = at + rest // width * apart
            for p in range(0, min(width, count - rest), L):
                inside = first(source, count - rest - p)
                for s in range(sums):
                    at_k = to + s * each + p
                    for k in range(s, terms, sums):
                        store(work, at_k, load_masked(source, (k0 + k, start + rest + p), inside, zeros))
                        at_k += width
    else:
        step, next_to = min(width, TURNED), width if sums > 1 else SUMS * width
        # What is left of a vector repeats the last row: what memory held before may be subnormal, which takes long.
        for q in range(0, count if width <= TURNED else ceil_div(count, L) * L, step):
            row = min(q, count - 1)
            place, rows = (start + row) * stride + k0, count - row
            for k_or_more in range(0, terms, L):
                k = max(np.intp(0), min(k_or_more, terms - L))  # the last square lies over the one before
                to = _terms_at(at + q // width * apart + q % width, k, sums, each, width)
                if terms < L:
                    tile_store_dealt(tile_turned(source, place, stride, rows, terms), work, to, next_to)
                else:
                    tile_store_dealt(tile_turned(source, place + k, stride, rows, None), work, to, next_to)


@device
def finish(work, t, width, C, i, j, rows, columns, bias, accumulate):
    """C[i : i + rows, j : j + columns] (+)= totals + bias[j : j + columns]"""
    compact()
    L = lanes(C)
    zeros = splat(C, 0)
    for q in range(0, columns, L):
        inside = first(C, columns - q)
        with_bias = first(C, L * bias.size) & inside
        with_old = first(C, L * accumulate) & inside
        shift = load_masked(bias, min(j + q, bias.size), with_bias, zeros)  # behind none, there may be no memory
        for p in range(rows):
            value = load_masked(work, t + p * width + q, inside, zeros)  # not what memory held before the totals
            value = select(with_bias, value + shift, value)
            value = select(with_old, load_masked(C, (i + p, j + q), with_old, zeros) + value, value)
            store_masked(C, (i + p, j + q), value, inside)
