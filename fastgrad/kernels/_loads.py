"""Vectors from memory and to it. Nothing here is checked: indices are the caller's duty, and the last axis of an array
has unit stride."""

from numba.core import types
from numba.extending import intrinsic

from ._vec import (
    I64,
    VECTOR_BYTES,
    Mask,
    TimesType,
    Vec,
    address,
    each_vector,
    fetch,
    indices,
    joined,
    masked_load,
    masked_store,
    taken,
)


@intrinsic
def load(typingctx, array, index):
    """The lanes that start at array[index]."""
    vec = Vec(array.dtype)

    def codegen(context, builder, sig, args):
        where = indices(context, builder, index, args[1])
        return builder.load(
            address(context, builder, array, args[0], where, context.get_value_type(vec)), align=vec.itemsize
        )

    return vec(array, index), codegen


@intrinsic
def element(typingctx, array, index):
    """array[index], where no index counts from the end, which Numba would ask for."""

    def codegen(context, builder, sig, args):
        where = indices(context, builder, index, args[1])
        return builder.load(address(context, builder, array, args[0], where, context.get_value_type(array.dtype)))

    return array.dtype(array, index), codegen


@intrinsic
def past_line(typingctx, array, index):
    """How many elements array[index] is past a multiple of 64 bytes: a line of the cache."""

    def codegen(context, builder, sig, args):
        where = indices(context, builder, index, args[1])
        element = context.get_value_type(array.dtype)
        place = builder.ptrtoint(address(context, builder, array, args[0], where, element), I64)
        return builder.udiv(builder.and_(place, I64(VECTOR_BYTES - 1)), I64(array.dtype.bitwidth // 8))

    return types.intp(array, index), codegen


@intrinsic
def load_masked(typingctx, array, index, mask, other):
    """The lanes that start at array[index] where the mask is true (no other is read), and `other` elsewhere.

    For the mask None, all of them; for PAIR, those of two vectors, and so on, as for a mask of so many.
    """
    times = mask.count if isinstance(mask, TimesType) else 1
    if isinstance(mask, Mask):
        times = mask.lanes // Vec(array.dtype).lanes
    vec = Vec(array.dtype, times)

    def codegen(context, builder, sig, args):
        where = indices(context, builder, index, args[1])
        pointer = address(context, builder, array, args[0], where, context.get_value_type(vec))
        if not isinstance(mask, Mask):
            return builder.load(pointer, align=vec.itemsize)
        parts = []
        for lanes, place in each_vector(builder, vec, pointer):  # LLVM does not see what is known of a wide mask
            if lanes.stop <= mask.known:
                parts.append(builder.load(place, align=vec.itemsize))
            elif lanes.start >= mask.end:
                parts.append(taken(builder, args[3], lanes))
            else:
                parts.append(masked_load(builder, place, vec, *(taken(builder, arg, lanes) for arg in args[2:])))
        return joined(builder, parts)

    return vec(array, index, mask, vec), codegen


@intrinsic
def prefetch(typingctx, times, array, index):
    """Fetches so many vectors that start at array[index], which may lie outside of it, into the first cache."""

    def codegen(context, builder, sig, args):
        where = indices(context, builder, index, args[2])
        vector = context.get_value_type(Vec(array.dtype))
        fetch(builder, address(context, builder, array, args[1], where, vector), times.count)
        return context.get_dummy_value()

    return types.none(times, array, index), codegen


@intrinsic
def store(typingctx, array, index, value):
    """array[index:] = value"""

    def codegen(context, builder, sig, args):
        where = indices(context, builder, index, args[1])
        builder.store(args[2], address(context, builder, array, args[0], where, args[2].type), align=value.itemsize)
        return context.get_dummy_value()

    return types.none(array, index, value), codegen


@intrinsic
def store_masked(typingctx, array, index, value, mask):
    """array[index:] = value in the lanes where the mask is true (None or `Times`: in all); nothing else is touched."""

    def codegen(context, builder, sig, args):
        where = indices(context, builder, index, args[1])
        pointer = address(context, builder, array, args[0], where, args[2].type)
        if not isinstance(mask, Mask):
            builder.store(args[2], pointer, align=value.itemsize)
        else:
            for lanes, place in each_vector(builder, value, pointer):
                part = taken(builder, args[2], lanes)
                if lanes.stop <= mask.known:
                    builder.store(part, place, align=value.itemsize)
                elif lanes.start < mask.end:
                    masked_store(builder, part, place, value, taken(builder, args[3], lanes))
        return context.get_dummy_value()

    return types.none(array, index, value, mask), codegen
