"""Transposing in registers: tiles as they are read or written, and squares from memory to memory."""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from ._arrays import flat
from ._jit import inlined
from ._simd import lanes
from ._tile import TURNED, Tile, next_to, pointer_to, repeated_row_pointers, row_pointers
from ._vec import I32, PAIR, Times, Vec, broadcast, joined, masked_load, opaque, taken

_THREE = Times(3)


@intrinsic
def tile_store_turned(typingctx, tile, array, at, stride):
    """array[at + q stride + p] = tile[p, q], transposed in registers

    Each column is written in whole pieces of 16 bytes, the first one first: what spills over its end is overwritten by
    the next column, and up to 3 elements follow the last.
    """

    def codegen(context, builder, sig, args):
        value, array_value, at, stride = args
        at = opaque(builder, at)  # LLVM spends long on the induction of many addresses in a loop, for nothing
        vector = context.get_value_type(tile.vec)
        quad = 16 // tile.vec.itemsize
        piece = ir.VectorType(vector.element, quad)
        for c in range(tile.vecs):
            rows = [builder.extract_value(value, p * tile.vecs + c) for p in range(tile.rows)]
            rows += rows[-1:] * (-len(rows) % quad)
            squares = [squares_turned(builder, rows[p : p + quad]) for p in range(0, len(rows), quad)]
            for q in range(tile.vec.lanes):
                place = pointer_to(context, builder, array, array_value, at, piece)
                for k, square in enumerate(squares):
                    part = _cut(builder, square[q % quad])[q // quad]
                    builder.store(part, next_to(builder, place, k), align=tile.vec.itemsize)
                at = builder.add(at, stride)
        return context.get_dummy_value()

    return types.none(tile, array, types.intp, types.intp), codegen


@intrinsic
def tile_turned(typingctx, source, at, stride, rows, terms):
    """tile[k, p] = source[at + p stride + k], k over the lanes of a Vec and p over 8: transposed in registers.

    From row `rows` on, the last is repeated, and from k = `terms` on, no source is read and the tile is 0; `terms` is
    None where all are wanted.
    """
    tile = Tile(source.dtype, Vec(source.dtype).lanes, 1, TURNED)

    def codegen(context, builder, sig, args):
        source_value, at, stride, rows, terms_value = args
        vec, quad = tile.vec, 16 // tile.vec.itemsize
        piece = ir.VectorType(context.get_value_type(vec).element, quad)
        pieces = []
        source_rows = source_value, opaque(builder, at), stride, vec.lanes, rows
        for place in repeated_row_pointers(context, builder, source, *source_rows, piece):
            places = [next_to(builder, place, c) for c in range(4)]
            if terms == types.none:
                pieces.append([builder.load(place, align=vec.itemsize) for place in places])
            else:
                pieces.append(_first_pieces(builder, places, vec, terms_value))
        value = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for k, line in enumerate(_transposed(builder, pieces)):
            value = builder.insert_value(value, line, k)
        return value

    return tile(source, *(types.intp,) * 3, terms), codegen


@intrinsic
def tile_store_dealt(typingctx, tile, array, starts, stride):
    """array[starts[p % n] + p // n · stride + q] = tile[p, q] for n starts, row after row"""
    count = len(starts)

    def codegen(context, builder, sig, args):
        value, array_value, starts_value, stride = args
        vector = context.get_value_type(tile.vec)
        places = [
            row_pointers(context, builder, array, array_value, at, stride, -(-tile.rows // count), vector)
            for at in cgutils.unpack_tuple(builder, starts_value)
        ]
        for row, c, place in tile.registers():
            pointer = next_to(builder, places[row % count][row // count], c)
            builder.store(builder.extract_value(value, place), pointer, align=tile.vec.itemsize)
        return context.get_dummy_value()

    return types.none(tile, array, starts, types.intp), codegen


def _first_pieces(builder, places, vec, terms):
    """A vector in pieces of 16 bytes, of which `terms` elements are read and the others are 0."""
    quad = 16 // vec.itemsize
    piece = places[0].type.pointee
    wanted = broadcast(builder, terms, ir.VectorType(terms.type, quad))
    masks = [
        builder.icmp_signed("<", ir.Constant(wanted.type, list(range(c * quad, c * quad + quad))), wanted)
        for c in range(4)
    ]
    return [
        masked_load(builder, place, vec, mask, ir.Constant(piece, None))
        for place, mask in zip(places, masks, strict=True)
    ]


@intrinsic
def _quad_to_lines(typingctx, rows, at, stride, count, lines, to, width):
    """lines[to + q width + p] = rows[at + p stride + q], p over the lanes of a vector, q over 16 bytes."""
    vec = Vec(rows.dtype)

    def codegen(context, builder, sig, args):
        rows_value, at, stride, count, lines_value, to, width = args
        vector, quad = context.get_value_type(vec), 16 // vec.itemsize
        squares = []

        def read(places):
            pieces = [builder.load(place, align=vec.itemsize) for place in places]
            squares.append((builder.basic_block, [joined(builder, pieces[p::quad]) for p in range(quad)]))

        _with_row_places(context, builder, rows, (rows_value, at, stride, count), read)
        square = []
        for of_all, of_some in zip(*(square for _, square in squares), strict=True):
            square.append(builder.phi(vector))
            for (block, _), line in zip(squares, (of_all, of_some), strict=True):
                square[-1].add_incoming(line, block)
        places = row_pointers(context, builder, lines, lines_value, opaque(builder, to), width, quad, vector)
        for line, place in zip(squares_turned(builder, square), places, strict=True):
            builder.store(line, place, align=vec.itemsize)
        return context.get_dummy_value()

    return types.none(rows, *(types.intp,) * 3, lines, types.intp, types.intp), codegen


@intrinsic
def _quad_to_rows(typingctx, lines, at, width, rows, to, stride, count):
    """rows[to + p stride + q] = lines[at + q width + p], p over the lanes of a vector, q over 16 bytes."""
    vec = Vec(lines.dtype)

    def codegen(context, builder, sig, args):
        lines_value, at, width, rows_value, to, stride, count = args
        vector, quad = context.get_value_type(vec), 16 // vec.itemsize
        places = row_pointers(context, builder, lines, lines_value, opaque(builder, at), width, quad, vector)
        square = [builder.load(place, align=vec.itemsize) for place in places]
        pieces = [_cut(builder, line) for line in squares_turned(builder, square)]

        def write(places):
            for p, place in enumerate(places):
                builder.store(pieces[p % quad][p // quad], place, align=vec.itemsize)

        _with_row_places(context, builder, rows, (rows_value, to, stride, count), write)
        return context.get_dummy_value()

    return types.none(lines, types.intp, types.intp, rows, *(types.intp,) * 3), codegen


def _with_row_places(context, builder, array_type, rows, emit):
    """emit(pointers to 16 bytes of each of a vector of rows), twice: where all are there, and where from row `count`
    on the last is repeated. To ask for each row takes longer than all that is done with it."""
    array, at, stride, count = rows
    vec = Vec(array_type.dtype)
    piece = ir.VectorType(context.get_value_type(vec).element, 16 // vec.itemsize)
    given = context, builder, array_type, array, opaque(builder, at), stride, vec.lanes
    whole = builder.icmp_signed(">=", count, ir.Constant(count.type, vec.lanes))
    with builder.if_else(whole, likely=True) as (of_all, of_some):
        with of_all:
            emit(row_pointers(*given, piece))
        with of_some:
            count = opaque(builder, count)  # LLVM would ask before the loop that this stands in, in either case
            emit(repeated_row_pointers(*given, count, piece))


def _narrow_places(context, builder, k, lines, rows):
    """Pointers to k vectors in lines, and to a vector of rows of k elements as a whole."""
    (lines_type, lines, start, width), (rows_type, rows, at) = lines, rows
    vector = context.get_value_type(Vec(rows_type.dtype))
    together = ir.VectorType(vector.element, k * vector.count)
    places = row_pointers(context, builder, lines_type, lines, opaque(builder, start), width, k, vector)
    return places, pointer_to(context, builder, rows_type, rows, opaque(builder, at), together)


@intrinsic
def _narrow_to_lines(typingctx, classes, rows, at, lines, to, width):
    """lines[to + c width + p] = rows[at + p k + c], p over the lanes of a vector, for so many classes c < k."""
    vec, k = Vec(rows.dtype), classes.count

    def codegen(context, builder, sig, args):
        _, rows_value, at, lines_value, to, width = args
        places, place = _narrow_places(context, builder, k, (lines, lines_value, to, width), (rows, rows_value, at))
        value = builder.load(place, align=vec.itemsize)
        for c, line in enumerate(places):
            builder.store(taken(builder, value, range(c, k * vec.lanes, k)), line, align=vec.itemsize)
        return context.get_dummy_value()

    return types.none(classes, rows, types.intp, lines, *(types.intp,) * 2), codegen


@intrinsic
def _narrow_to_rows(typingctx, classes, lines, at, width, rows, to):
    """rows[to + p k + c] = lines[at + c width + p], p over the lanes of a vector, for so many classes c < k."""
    vec, k = Vec(lines.dtype), classes.count

    def codegen(context, builder, sig, args):
        _, lines_value, at, width, rows_value, to = args
        places, place = _narrow_places(context, builder, k, (lines, lines_value, at, width), (rows, rows_value, to))
        read = [builder.load(line, align=vec.itemsize) for line in places]
        value = joined(builder, read + read[-1:] * (k % 2))
        order = [c * vec.lanes + p for p in range(vec.lanes) for c in range(k)]
        builder.store(taken(builder, value, order), place, align=vec.itemsize)
        return context.get_dummy_value()

    return types.none(classes, lines, types.intp, types.intp, rows, types.intp), codegen


@inlined
def copy_to_lines(rows, at, k, count, lines, to, width):
    """lines[to + c width + p] = rows[at + p k + c], c < k, p < count"""
    for c in range(k):
        for p in range(count):
            flat(lines)[to + c * width + p] = flat(rows)[at + p * k + c]


@inlined
def copy_to_rows(lines, at, width, rows, to, k, count):
    """rows[to + p k + c] = lines[at + c width + p], c < k, p < count"""
    for c in range(k):
        for p in range(count):
            flat(rows)[to + p * k + c] = flat(lines)[at + c * width + p]


@inlined
def to_lines(rows, at, k, count, lines, to, width):
    """lines[to + c width + p] = rows[at + p k + c], c < k, p over the lanes of a vector: transposed in registers.

    From row `count` on, the last is repeated. Of two or three classes, all rows are read together, in half the time.
    """
    L = lanes(rows)
    quad = L // 4
    if k == 2 and count >= L:
        _narrow_to_lines(PAIR, rows, at, lines, to, width)
    elif k == 3 and count >= L:
        _narrow_to_lines(_THREE, rows, at, lines, to, width)
    elif k < quad:
        copy_to_lines(rows, at, k, min(L, count), lines, to, width)
        for p in range(count, L):
            copy_to_lines(rows, at + (count - 1) * k, k, 1, lines, to + p, width)
    else:
        for c in range(0, k, quad):
            c = min(c, k - quad)  # the last lie over those before
            _quad_to_lines(rows, at + c, k, count, lines, to + c * width, width)


@inlined
def to_rows(lines, at, width, rows, to, k, count):
    """rows[to + p k + c] = lines[at + c width + p], c < k, p over the lanes of a vector: transposed in registers.

    From row `count` on, the last is written again: the lanes from there on hold what the one before does.
    """
    L = lanes(rows)
    quad = L // 4
    if k == 2 and count >= L:
        _narrow_to_rows(PAIR, lines, at, width, rows, to)
    elif k == 3 and count >= L:
        _narrow_to_rows(_THREE, lines, at, width, rows, to)
    elif k < quad:
        copy_to_rows(lines, at, width, rows, to, k, min(L, count))
    else:
        for c in range(0, k, quad):
            c = min(c, k - quad)
            _quad_to_rows(lines, at + c * width, width, rows, to + c, k, count)


def _transposed(builder, pieces):
    """The columns of rows as vectors: pieces[p] are the four pieces of 16 bytes that make up row p.

    Pieces are put where they belong as they are loaded; what is left are squares within 16 bytes, for which CPUs have
    instructions of one cycle. Halves exchanged at one distance after the other take twice the time.
    """
    quad = pieces[0][0].type.count
    lines = []
    for c in range(4):
        square = [joined(builder, [row[c] for row in pieces[p::quad]]) for p in range(quad)]
        lines += squares_turned(builder, square)
    return lines


def squares_turned(builder, square):
    """Vectors of which each 16 bytes and those of the others are a square, with these squares transposed."""
    quad = len(square)
    unit = 1
    while unit < quad:
        pairs = [(square[p], square[p + 1]) for p in range(0, quad, 2)]
        if unit > 1:
            pairs = [(square[p], square[p + quad // 2]) for p in range(quad // 2)]
        square = [_unpacked(builder, a, b, quad, unit, half) for a, b in pairs for half in (0, quad // 2)]
        unit *= 2
    return square


def _cut(builder, vector):
    """A vector in pieces of 16 bytes."""
    quad = vector.type.count // 4
    return [taken(builder, vector, range(c * quad, (c + 1) * quad)) for c in range(4)]


def _unpacked(builder, a, b, quad, unit, half):
    """From each 16 bytes of a and b, the half that starts at `half`, `unit` elements in turn."""
    count = a.type.count
    order = [
        source + lane + half + i + u
        for lane in range(0, count, quad)
        for i in range(0, quad // 2, unit)
        for source in (0, count)
        for u in range(unit)
    ]
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, count), order))
