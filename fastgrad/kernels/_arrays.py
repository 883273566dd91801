"""Arrays within kernels, without references to count: parts of them, memory of their own, numbers that threads share;
and what is said to the compilers of a function.

Nothing here is checked: bounds are the caller's duty.
"""

import ctypes

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from ._vec import I64, field


def _mark(attribute, doc):
    """What gives the function it stands in an attribute of LLVM."""

    def typing(typingctx):
        def codegen(context, builder, sig, args):
            builder.function.attributes.add(attribute)
            return context.get_dummy_value()

        return types.none(), codegen

    typing.__doc__ = doc
    return intrinsic(typing)


compact = _mark(
    "optsize", "LLVM neither unrolls nor versions the loops of this function, whose bodies are long already."
)
separate = _mark("noinline", "This function is not copied into those that call it, which would take long to compile.")


def new_array(context, builder, array, data, shape, by_columns=None):
    """A contiguous array of this type and shape at `data`, which keeps nothing alive; of a matrix, a bit may say that
    it lies by columns."""
    itemsize = I64(array.dtype.bitwidth // 8)
    strides, count = [itemsize], shape[0]
    for size in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], size))
        count = builder.mul(count, size)
    if by_columns is not None:
        other_strides = itemsize, builder.mul(itemsize, shape[0])
        pairs = zip(other_strides, strides, strict=True)
        strides = [builder.select(by_columns, other, stride) for other, stride in pairs]
    fields = {
        "data": builder.bitcast(data, context.get_data_type(array.dtype).as_pointer()),
        "nitems": count,
        "itemsize": itemsize,
        "shape": cgutils.pack_array(builder, shape),
        "strides": cgutils.pack_array(builder, strides),
    }
    new, model = ir.Constant(context.get_value_type(array), None), context.data_model_manager[array]
    for name, value in fields.items():
        new = model.set(builder, new, value, name)
    return new


@intrinsic
def flat(typingctx, array):
    """A contiguous array as a vector of all its elements, which keeps nothing alive."""
    vector = types.Array(array.dtype, 1, "C")

    def codegen(context, builder, sig, args):
        data, size = (field(context, builder, array, args[0], name) for name in ("data", "nitems"))
        return new_array(context, builder, vector, data, [size])

    return vector(array), codegen


@intrinsic
def by_columns(typingctx, matrix):
    """Whether a matrix that is contiguous lies in memory column by column."""

    def codegen(context, builder, sig, args):
        if matrix.layout == "C":
            return cgutils.false_bit
        down, along = field(context, builder, matrix, args[0], "strides")
        return builder.icmp_signed("<", down, along)

    return types.boolean(matrix), codegen


@intrinsic
def as_it_lies(typingctx, matrix):
    """A matrix of the rows of this one, or of its columns where it lies by columns; it keeps nothing alive."""
    rows = types.Array(matrix.dtype, 2, "C")

    def codegen(context, builder, sig, args):
        if matrix.layout == "C":
            return args[0]
        data, shape, strides = (field(context, builder, matrix, args[0], name) for name in ("data", "shape", "strides"))
        turned = builder.icmp_signed("<", *strides)
        shape = [builder.select(turned, *pair) for pair in (reversed(shape), shape)]
        return new_array(context, builder, rows, data, shape)

    return rows(matrix), codegen


@intrinsic
def as_rows(typingctx, vector, rows, columns):
    """The first elements of a vector as a matrix of so many rows, which keeps nothing alive."""
    matrix = types.Array(vector.dtype, 2, "C")

    def codegen(context, builder, sig, args):
        return new_array(context, builder, matrix, field(context, builder, vector, args[0], "data"), args[1:])

    return matrix(vector, types.intp, types.intp), codegen


@intrinsic
def some_rows(typingctx, array, start, stop):
    """array[start:stop], for a start and a stop that are not negative, of a contiguous array; keeps nothing alive."""

    def codegen(context, builder, sig, args):
        data, shape, strides = (field(context, builder, array, args[0], name) for name in ("data", "shape", "strides"))
        count, *inner = shape
        start, stop = (builder.select(builder.icmp_signed("<", i, count), i, count) for i in args[1:])
        data = cgutils.pointer_add(builder, data, builder.mul(start, strides[0]))
        return new_array(context, builder, array, data, [builder.sub(stop, start), *inner])

    return array(array, types.intp, types.intp), codegen


@intrinsic
def flag(typingctx, value):
    """A bool, of a value known or not when a function is compiled: for one that is known, Numba would compile another
    version of what is called with it."""
    return types.boolean(value), lambda context, builder, sig, args: context.cast(
        builder, args[0], value, types.boolean
    )


# --- memory ----------------------------------------------------------------------------------------------------------

_ON_STACK = 2**14  # bytes
_KEPT = 17 * 2**20  # bytes, or less, of a block that is kept for a later call: workspaces take 16 MiB at most
_HEADER = 64  # bytes before a block: in the last of them where it was allocated, and its size
_ADDRESS, _SIZE = 16, 8

# Two blocks that are not in use. Whoever takes one leaves 0, so that no two threads have it.
_kept = [ctypes.c_int64() for _ in range(2)]
for _place, _slot in enumerate(_kept):
    llvmlite.binding.add_symbol(f"{__name__}.{_place}", ctypes.addressof(_slot))


@intrinsic
def borrowed(typingctx, like, size):
    """Memory for the function that it stands in: a vector of so many elements of the dtype of `like`, or of np.int64,
    which starts at a multiple of 64 bytes; it is to be given back.

    Up to 16 KiB are on the stack: to allocate and free takes 50 ns. More is that of an earlier call, where it is large
    enough: the system takes a quarter of a microsecond for each 4096 bytes of new memory, a third of the time of a
    product of 512 rows, columns and terms.
    """
    dtype = like.instance_type if isinstance(like, types.NumberClass) else like.dtype
    vector = types.Array(dtype, 1, "C")

    def codegen(context, builder, sig, args):
        with builder.goto_entry_block():
            memory = builder.alloca(ir.ArrayType(ir.IntType(8), _ON_STACK))
        memory.align = 64
        data = cgutils.alloca_once(builder, I64)
        builder.store(builder.ptrtoint(memory, I64), data)
        with builder.if_then(_is_large(builder, vector, args[1]), likely=False):
            block = builder.call(_borrow(builder.module), [builder.mul(args[1], I64(dtype.bitwidth // 8))])
            with cgutils.if_unlikely(builder, builder.icmp_signed("==", block, I64(0))):
                context.call_conv.return_user_exc(builder, MemoryError, ("no memory for a workspace",))
            builder.store(block, data)
        return new_array(context, builder, vector, builder.inttoptr(builder.load(data), cgutils.voidptr_t), [args[1]])

    return vector(like, types.intp), codegen


@intrinsic
def give_back(typingctx, vector):
    """The last use of memory that was borrowed."""

    def codegen(context, builder, sig, args):
        data, size = (field(context, builder, vector, args[0], name) for name in ("data", "nitems"))
        with builder.if_then(_is_large(builder, vector, size), likely=False):
            builder.call(_give_back(builder.module), [builder.ptrtoint(data, I64)])
        return context.get_dummy_value()

    return types.none(vector), codegen


def _is_large(builder, vector, size):
    return builder.icmp_signed(">", size, I64(_ON_STACK // (vector.dtype.bitwidth // 8)))


def _borrow(module):
    """The address of a block of so many bytes, kept or new; 0 if there is no memory."""
    function, builder, new = _function(module, "borrow", I64)
    if not new:
        return function
    block = builder.alloca(I64)
    builder.store(_exchange(builder, 0, I64(0)), block)
    with builder.if_then(_is_nothing(builder, block)):
        builder.store(_exchange(builder, 1, I64(0)), block)
    with builder.if_then(builder.not_(_is_nothing(builder, block))):
        size = builder.load(_before(builder, builder.load(block), _SIZE))
        with builder.if_then(builder.icmp_signed("<", size, function.args[0])):
            _free(builder, builder.load(block))
            builder.store(I64(0), block)
    with builder.if_then(_is_nothing(builder, block)):
        room = builder.add(function.args[0], I64(2 * _HEADER))
        start = builder.call(_of_numba(module, "NRT_Allocate", cgutils.voidptr_t, I64), [room])
        start = builder.ptrtoint(start, I64)
        with builder.if_then(builder.icmp_signed("!=", start, I64(0))):
            builder.store(builder.and_(builder.add(start, I64(2 * _HEADER - 1)), I64(-_HEADER)), block)
            builder.store(start, _before(builder, builder.load(block), _ADDRESS))
            builder.store(function.args[0], _before(builder, builder.load(block), _SIZE))
    builder.ret(builder.load(block))
    return function


def _give_back(module):
    """Keeps a block in place of the one that was kept before the last, which is freed."""
    function, builder, new = _function(module, "give_back", ir.VoidType())
    if not new:
        return function
    block = cgutils.alloca_once_value(builder, function.args[0])
    size = builder.load(_before(builder, function.args[0], _SIZE))
    with builder.if_then(builder.icmp_signed("<=", size, I64(_KEPT))):
        builder.store(_exchange(builder, 0, builder.load(block)), block)
        with builder.if_then(builder.not_(_is_nothing(builder, block))):
            builder.store(_exchange(builder, 1, builder.load(block)), block)
    with builder.if_then(builder.not_(_is_nothing(builder, block))):
        _free(builder, builder.load(block))
    builder.ret_void()
    return function


def _function(module, name, returns):
    """A function of one integer, a builder for it, and whether it is new in this module."""
    name = f"{__name__}.{name}"
    if name in module.globals:
        return module.globals[name], None, False
    function = ir.Function(module, ir.FunctionType(returns, [I64]), name)
    function.linkage = "linkonce_odr"
    return function, ir.IRBuilder(function.append_basic_block()), True


def _of_numba(module, name, returns, takes):
    return cgutils.get_or_insert_function(module, ir.FunctionType(returns, [takes]), name)


def _exchange(builder, place, block):
    name = f"{__name__}.{place}"
    slot = builder.module.globals.get(name) or ir.GlobalVariable(builder.module, I64, name)
    return builder.atomic_rmw("xchg", slot, block, "acq_rel")


def _is_nothing(builder, block):
    return builder.icmp_signed("==", builder.load(block), I64(0))


def _before(builder, block, distance):
    return builder.inttoptr(builder.sub(block, I64(distance)), I64.as_pointer())


def _free(builder, block):
    start = builder.inttoptr(builder.load(_before(builder, block, _ADDRESS)), cgutils.voidptr_t)
    builder.call(_of_numba(builder.module, "NRT_Free", ir.VoidType(), cgutils.voidptr_t), [start])


@intrinsic
def add_to(typingctx, numbers, place, amount):
    """Adds to one of the int64 that the array begins with, and gives what it was before: between threads, as if one did
    so after the other, and what one wrote before, the next one sees."""

    def codegen(context, builder, sig, args):
        data = builder.bitcast(field(context, builder, numbers, args[0], "data"), I64.as_pointer())
        return builder.atomic_rmw("add", builder.gep(data, [args[1]]), args[2], "acq_rel")

    return types.int64(numbers, types.int64, types.int64), codegen
