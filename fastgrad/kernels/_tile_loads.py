"""Tiles from memory and to it. Nothing here is checked, as in `_loads.py`: places are the caller's duty."""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ._tile import next_to, pointer_to, repeated_row_pointers, row_pointers
from ._vec import I32, Vec, broadcast, fetch, masked_load, masked_store


@intrinsic
def tile_load(typingctx, array, at, stride, shape):
    """tile[p, q] = array[at + p stride + q]"""
    tile = shape.of(array.dtype)

    def codegen(context, builder, sig, args):
        vector = context.get_value_type(tile.vec)
        rows = row_pointers(context, builder, array, *args[:3], tile.rows, vector)
        value = ir.Constant(context.get_value_type(tile), ir.Undefined)
        for row, c, place in tile.registers():
            loaded = builder.load(next_to(builder, rows[row], c), align=tile.vec.itemsize)
            value = builder.insert_value(value, loaded, place)
        return value

    return tile(array, types.intp, types.intp, shape), codegen


@intrinsic
def tile_load_rows(typingctx, array, at, stride, shape, rows):
    """tile[p, q] = array[at + p stride + q]; from row `rows` on, the last is loaded again."""
    tile = shape.of(array.dtype)

    def codegen(context, builder, sig, args):
        array_value, at, stride, _, rows = args
        vector = context.get_value_type(tile.vec)
        value = ir.Constant(context.get_value_type(tile), ir.Undefined)
        pointers = repeated_row_pointers(context, builder, array, array_value, at, stride, tile.rows, rows, vector)
        for p, pointer in enumerate(pointers):
            for c in range(tile.vecs):
                loaded = builder.load(next_to(builder, pointer, c), align=tile.vec.itemsize)
                value = builder.insert_value(value, loaded, p * tile.vecs + c)
        return value

    return tile(array, types.intp, types.intp, shape, types.intp), codegen


@intrinsic
def tile_load_masked(typingctx, array, at, stride, shape, mask):
    """tile[p, q] = array[at + p stride + q] where the mask is true and 0 elsewhere, for one vector a row"""
    tile = shape.of(array.dtype)

    def codegen(context, builder, sig, args):
        vector = context.get_value_type(tile.vec)
        value = ir.Constant(context.get_value_type(tile), ir.Undefined)
        rows = row_pointers(context, builder, array, *args[:3], tile.rows, vector)
        for p, row in enumerate(rows):
            loaded = masked_load(builder, row, tile.vec, args[4], ir.Constant(vector, None))
            value = builder.insert_value(value, loaded, p)
        return value

    return tile(array, types.intp, types.intp, shape, mask), codegen


@intrinsic
def tile_store(typingctx, tile, array, at, stride):
    """array[at + p stride + q] = tile[p, q]"""

    def codegen(context, builder, sig, args):
        vector = context.get_value_type(tile.vec)
        rows = row_pointers(context, builder, array, *args[1:], tile.rows, vector)
        for row, c, place in tile.registers():
            builder.store(
                builder.extract_value(args[0], place), next_to(builder, rows[row], c), align=tile.vec.itemsize
            )
        return context.get_dummy_value()

    return types.none(tile, array, types.intp, types.intp), codegen


@intrinsic
def tile_store_rows(typingctx, tile, array, at, stride, rows):
    """array[at + p stride + q] = tile[p, q]; from row `rows` on, the last is written again, as which they are alike."""

    def codegen(context, builder, sig, args):
        value, array_value, at, stride, rows = args
        vector = context.get_value_type(tile.vec)
        pointers = repeated_row_pointers(context, builder, array, array_value, at, stride, tile.rows, rows, vector)
        for p, pointer in enumerate(pointers):
            for c in range(tile.vecs):
                part = builder.extract_value(value, p * tile.vecs + c)
                builder.store(part, next_to(builder, pointer, c), align=tile.vec.itemsize)
        return context.get_dummy_value()

    return types.none(tile, array, *(types.intp,) * 3), codegen


@intrinsic
def tile_store_part(typingctx, tile, array, at, stride, rows, columns):
    """array[at + p stride + q] = tile[p, q] for the first `rows` rows p and `columns` columns q"""

    def codegen(context, builder, sig, args):
        value, array_value, at, stride, rows, columns = args
        vector = context.get_value_type(tile.vec)
        count = tile.vec.lanes
        # For rows that are not wanted, the last: to store no lane behind the array, where there may be no memory, takes
        # 100 ns (dW of 5 × 1993 × 33, seven times as long).
        pointers = list(
            repeated_row_pointers(context, builder, array, array_value, at, stride, tile.rows, rows, vector)
        )
        # Compared in 32 bits, which is half the work: no tile is that wide.
        most = ir.Constant(columns.type, tile.vecs * count)
        fewer = builder.select(builder.icmp_signed("<", columns, most), columns, most)
        wanted = broadcast(builder, builder.trunc(fewer, I32), ir.VectorType(I32, count))
        masks = [
            builder.icmp_signed("<", ir.Constant(wanted.type, list(range(c * count, (c + 1) * count))), wanted)
            for c in range(tile.vecs)
        ]
        for row, c, place in tile.registers():
            if c == 0:
                wanted_row = builder.icmp_signed("<", ir.Constant(rows.type, row), rows)
            mask = builder.select(wanted_row, masks[c], ir.Constant(masks[c].type, None))
            masked_store(
                builder, builder.extract_value(value, place), next_to(builder, pointers[row], c), tile.vec, mask
            )
        return context.get_dummy_value()

    return types.none(tile, array, *(types.intp,) * 4), codegen


@intrinsic
def tile_prefetch(typingctx, shape, B, b):
    """Fetches B[b + q] for a later tile_rank1 into the caches; b may lie outside of B."""

    def codegen(context, builder, sig, args):
        line = context.get_value_type(Vec(B.dtype))
        fetch(builder, pointer_to(context, builder, B, args[1], args[2], line), shape.vecs)
        return context.get_dummy_value()

    return types.none(shape, B, types.intp), codegen
