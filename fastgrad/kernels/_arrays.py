"""Arrays within kernels, without references to count: parts of them, scratch memory, a count of tasks; and what is said
to the compilers of a function.

Nothing here is checked: bounds are the caller's duty.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from ._vec import I64, field


@intrinsic
def compact(typingctx):
    """Marks the function it stands in: LLVM neither unrolls nor versions its loops, whose bodies are long already."""

    def codegen(context, builder, sig, args):
        builder.function.attributes.add("optsize")
        return context.get_dummy_value()

    return types.none(), codegen


def _new_array(context, builder, array, data, shape, meminfo=None):
    """A contiguous array of this type and shape at `data`, kept alive by `meminfo`."""
    itemsize = I64(array.dtype.bitwidth // 8)
    strides, count = [itemsize], shape[-1]
    for size in reversed(shape[:-1]):
        strides.insert(0, builder.mul(strides[0], shape[-1]))
        count = builder.mul(count, size)
    fields = {
        "data": builder.bitcast(data, context.get_data_type(array.dtype).as_pointer()),
        "nitems": count,
        "itemsize": itemsize,
        "shape": cgutils.pack_array(builder, shape),
        "strides": cgutils.pack_array(builder, strides),
    }
    new, model = ir.Constant(context.get_value_type(array), None), context.data_model_manager[array]
    for name, value in (fields | ({} if meminfo is None else {"meminfo": meminfo})).items():
        new = model.set(builder, new, value, name)
    return new


@intrinsic
def flat(typingctx, array):
    """A contiguous array as a vector of all its elements, which keeps nothing alive."""
    vector = types.Array(array.dtype, 1, "C")

    def codegen(context, builder, sig, args):
        data, size = (field(context, builder, array, args[0], name) for name in ("data", "nitems"))
        return _new_array(context, builder, vector, data, [size])

    return vector(array), codegen


@intrinsic
def as_rows(typingctx, vector, rows, columns):
    """The first elements of a vector as a matrix of so many rows, which keeps nothing alive."""
    matrix = types.Array(vector.dtype, 2, "C")

    def codegen(context, builder, sig, args):
        return _new_array(context, builder, matrix, field(context, builder, vector, args[0], "data"), args[1:])

    return matrix(vector, types.intp, types.intp), codegen


@intrinsic
def some_rows(typingctx, array, start, stop):
    """array[start:stop], for a start and a stop that are not negative, of a contiguous array; keeps nothing alive."""

    def codegen(context, builder, sig, args):
        data, shape, strides = (field(context, builder, array, args[0], name) for name in ("data", "shape", "strides"))
        count, *inner = shape
        start, stop = (builder.select(builder.icmp_signed("<", i, count), i, count) for i in args[1:])
        data = cgutils.pointer_add(builder, data, builder.mul(start, strides[0]))
        return _new_array(context, builder, array, data, [builder.sub(stop, start), *inner])

    return array(array, types.intp, types.intp), codegen


@intrinsic
def flag(typingctx, value):
    """A bool, of a value known or not when a function is compiled: for one that is known, Numba would compile another
    version of what is called with it."""
    return types.boolean(value), lambda context, builder, sig, args: context.cast(
        builder, args[0], value, types.boolean
    )


_ON_STACK = 2**14  # bytes


@intrinsic
def scratch(typingctx, like, size):
    """Memory for the function that it stands in, and for no caller of that: a vector of so many elements of the dtype
    of `like`, or of np.int64, which starts at a multiple of 64 bytes. Up to 16 KiB it is on the stack: to allocate and
    free takes 50 ns, and np.empty would be compiled from Python, which takes a twentieth of a first call.
    """
    dtype = like.instance_type if isinstance(like, types.NumberClass) else like.dtype
    vector = types.Array(dtype, 1, "C")

    def codegen(context, builder, sig, args):
        nothing = context.get_value_type(types.MemInfoPointer(types.voidptr))(None)
        with builder.goto_entry_block():
            memory = builder.alloca(ir.ArrayType(ir.IntType(8), _ON_STACK))
        memory.align = 64
        data = cgutils.alloca_once_value(builder, builder.bitcast(memory, cgutils.voidptr_t))
        kept_by = cgutils.alloca_once_value(builder, nothing)
        builder.store(builder.bitcast(memory, cgutils.voidptr_t), data)  # in a loop, anew
        builder.store(nothing, kept_by)
        size = builder.mul(args[1], I64(dtype.bitwidth // 8))
        with builder.if_then(builder.icmp_signed(">", size, I64(_ON_STACK)), likely=False):
            meminfo = context.nrt.meminfo_alloc_aligned(builder, size, 64)
            builder.store(context.nrt.meminfo_data(builder, meminfo), data)
            builder.store(meminfo, kept_by)
        return _new_array(context, builder, vector, builder.load(data), [args[1]], builder.load(kept_by))

    return vector(like, types.intp), codegen


@intrinsic
def take_number(typingctx, counter):
    """The next of the numbers 0, 1, 2, …, each given to one thread alone. The first 8 bytes of the array count them."""

    def codegen(context, builder, sig, args):
        data = field(context, builder, counter, args[0], "data")
        return builder.atomic_rmw("add", builder.bitcast(data, I64.as_pointer()), ir.Constant(I64, 1), "monotonic")

    return types.int64(counter), codegen
