"""Transposing in registers: tiles as they are read or written, and squares from memory to memory."""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ._tile import TURNED, Tile, next_to, pointer_to, row_pointers
from ._vec import I32, Vec, broadcast, joined, masked_load, masked_store, opaque, taken


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
            squares = [_turned(builder, rows[p : p + quad]) for p in range(0, len(rows), quad)]
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
        at = opaque(builder, at)
        pieces = []
        for p in range(vec.lanes):
            place = pointer_to(context, builder, source, source_value, at, piece)
            places = [next_to(builder, place, c) for c in range(4)]
            if terms == types.none:
                pieces.append([builder.load(place, align=vec.itemsize) for place in places])
            else:
                pieces.append(_first_pieces(builder, places, vec, terms_value))
            another = builder.icmp_signed("<", ir.Constant(rows.type, p + 1), rows)
            at = builder.add(at, builder.select(another, stride, ir.Constant(stride.type, 0)))
        value = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for k, line in enumerate(_transposed(builder, pieces)):
            value = builder.insert_value(value, line, k)
        return value

    return tile(source, *(types.intp,) * 3, terms), codegen


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
def copy_transposed(typingctx, source, at, stride, rows, inside, target, to, width, columns, outside):
    """target[to + q width + p] = source[at + p stride + q], p and q over the lanes: a square, transposed in registers.

    Of the source, row p is read up to `rows` (later ones repeat the last) and q where the mask `inside` is true (zeros
    elsewhere); of the target, row q is written up to `columns` and p where the mask `outside` is true. The masks may be
    None for all, and then `columns` is not looked at.
    """
    vec = Vec(source.dtype)

    def codegen(context, builder, sig, args):
        source_value, at, stride, rows, mask, target_value, to, width, columns, outside_value = args
        at, to = opaque(builder, at), opaque(builder, to)
        vector = context.get_value_type(vec)
        zeros = ir.Constant(vector, None)
        pieces = []
        for p in range(vec.lanes):
            pointer = pointer_to(context, builder, source, source_value, at, vector)
            if inside == types.none:
                piece = ir.VectorType(vector.element, vec.lanes // 4)
                pieces.append(_pieces(builder, builder.bitcast(pointer, piece.as_pointer()), vec))
            else:
                pieces.append(_cut(builder, masked_load(builder, pointer, vec, mask, zeros)))
            another = builder.icmp_signed("<", ir.Constant(rows.type, p + 1), rows)
            at = builder.add(at, builder.select(another, stride, ir.Constant(stride.type, 0)))
        lines = _transposed(builder, pieces)
        places = row_pointers(context, builder, target, target_value, to, width, vec.lanes, vector)
        for q, (line, place) in enumerate(zip(lines, places, strict=True)):
            if outside == types.none:
                builder.store(line, place, align=vec.itemsize)
            else:
                wanted = builder.icmp_signed("<", ir.Constant(columns.type, q), columns)
                nowhere = ir.Constant(outside_value.type, None)
                masked_store(builder, line, place, vec, builder.select(wanted, outside_value, nowhere))
        return context.get_dummy_value()

    intp = types.intp
    return types.none(source, intp, intp, intp, inside, target, intp, intp, intp, outside), codegen


def _transposed(builder, pieces):
    """The columns of rows as vectors: pieces[p] are the four pieces of 16 bytes that make up row p.

    Pieces are put where they belong as they are loaded; what is left are squares within 16 bytes, for which CPUs have
    instructions of one cycle. Halves exchanged at one distance after the other take twice the time.
    """
    quad = pieces[0][0].type.count
    lines = []
    for c in range(4):
        square = [joined(builder, [row[c] for row in pieces[p::quad]]) for p in range(quad)]
        lines += _turned(builder, square)
    return lines


def _turned(builder, square):
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


def _pieces(builder, pointer, vec):
    """A vector in pieces of 16 bytes, from memory."""
    return [builder.load(next_to(builder, pointer, c), align=vec.itemsize) for c in range(4)]


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
