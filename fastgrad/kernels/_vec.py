"""Vectors, masks and compile-time constants as Numba types, and how LLVM is told of them.

A `Vec` is 64 bytes of lanes on every CPU (where registers are narrower, LLVM splits it), so that the order of every
sum, and with it every bit of a result, is the same everywhere. A `Mask` holds a truth value a lane. Both live in
registers, work inside `prange` and survive the disk cache. What is done with them stands in `_loads.py`, `_simd.py`,
`_across.py` and `_scale.py`.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.datamodel.registry import register_default
from numba.core.imputils import lower_cast, lower_constant
from numba.core.registry import cpu_target
from numba.core.typeconv import Conversion
from numba.extending import register_model, typeof_impl

VECTOR_BYTES = 64
I32, I64 = ir.IntType(32), ir.IntType(64)


def cpu_features():
    """The features of the CPU that Numba compiles for, as a set of names: {"avx2", "fma", …}."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return {feature[1:] for feature in features.split(",") if feature.startswith("+")}


# --- types -----------------------------------------------------------------------------------------------------------


class Vec(types.Type):
    """64 bytes of lanes of one dtype, or so many times that: float32, float64, or the integer of the same width."""

    def __init__(self, dtype, times=1):
        self.dtype, self.times = dtype, times
        self.lanes = int(times * VECTOR_BYTES * 8) // dtype.bitwidth
        self.itemsize = dtype.bitwidth // 8
        self.is_float = isinstance(dtype, types.Float)
        super().__init__(name=f"Vec({dtype}, {times})")

    def can_convert_to(self, typingctx, other):
        if isinstance(other, Vec) and other.dtype == self.dtype and self.times < other.times:
            return Conversion.promote
        return None

    @property
    def as_ints(self):
        return Vec(types.int32 if self.itemsize == 4 else types.int64, self.times)

    @property
    def as_floats(self):
        return Vec(types.float32 if self.itemsize == 4 else types.float64, self.times)


def vec_like(like):
    """The type itself of a Vec, a Vec of the same dtype for an array."""
    return like if isinstance(like, Vec) else Vec(like.dtype)


class Mask(types.Type):
    """A truth value for each lane of a `Vec`, known to be true in the first `known` lanes and false from `end` on."""

    def __init__(self, lanes, known=0, end=None):
        self.lanes, self.known, self.end = lanes, known, lanes if end is None else end
        super().__init__(name=f"Mask({lanes}, {known}, {self.end})")


def widest(*vecs):
    """The type that these are brought to before they are used together."""
    return max(vecs, key=lambda vec: vec.times)


@register_model(Vec)
class _VecModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(dmm.lookup(fe_type.dtype).get_value_type(), fe_type.lanes))


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(ir.IntType(1), fe_type.lanes))


@lower_cast(Vec, Vec)
def _repeated(context, builder, vec, wider, value):
    """One vector as two."""
    order = ir.Constant(ir.VectorType(I32, wider.lanes), [*range(vec.lanes)] * (wider.lanes // vec.lanes))
    return builder.shuffle_vector(value, value, order)


class Constant:
    """A compile-time constant: a number, or for `horner` several, for lanes of 32 bits and for lanes of 64."""

    def __init__(self, single, double):
        self.values = {
            itemsize: value if isinstance(value, tuple) else (value,) for itemsize, value in ((4, single), (8, double))
        }


class ConstantType(types.Dummy):
    def __init__(self, values):
        self.values = values
        super().__init__(name=f"Constant({values})")


def compile_time(python_class, numba_class, fields):
    """Lets Numba take an object as a constant that is nothing but its type, made from these fields."""
    register_default(numba_class)(models.OpaqueModel)
    lower_constant(numba_class)(lambda context, builder, ty, value: context.get_dummy_value())
    typeof_impl.register(python_class)(lambda value, context: numba_class(*(getattr(value, f) for f in fields)))


compile_time(Constant, ConstantType, ("values",))


class Times:
    """In place of a mask: so many vectors next to each other, as one Vec.

    What is done to a pair are two instructions next to each other that do not wait for one another. Of long formulas
    that are written one vector after the other, a CPU sees too little at a time: sigmoid takes 1.2 times as long. Of
    four vectors, most constants are pushed out of the registers, and nothing is gained. A single vector used beside
    wider ones is repeated. Of the vectors that a mask covers in part, so many are known to be whole, and no more than
    `some` to be more than empty.
    """

    def __init__(self, count, whole=0, some=None):
        self.count, self.whole, self.some = count, whole, count if some is None else some


class TimesType(types.Dummy):
    def __init__(self, count, whole, some):
        self.count, self.whole, self.some = count, whole, some
        super().__init__(name=f"Times({count}, {whole}, {some})")


compile_time(Times, TimesType, ("count", "whole", "some"))
NONE, PAIR, QUAD = Times(0), Times(2), Times(4)


# --- emitting LLVM ---------------------------------------------------------------------------------------------------


def call_named(builder, name, returns, args):
    """Calls the function of this name, an intrinsic of LLVM or of the C library."""
    function_type = ir.FunctionType(returns, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), args)


def call(builder, name, returns, args):
    """Calls the LLVM intrinsic `name` for vectors like the first vector among `args`.

    Declared by hand: llvmlite's `declare_intrinsic` rejects vector types.
    """
    vector = next(a.type for a in args if isinstance(a.type, ir.VectorType))
    element = f"i{vector.element.width}" if isinstance(vector.element, ir.IntType) else "f32"
    element = "f64" if vector.element == ir.DoubleType() else element
    return call_named(builder, name.format(f"v{vector.count}{element}"), returns, args)


def opaque(builder, value):
    """The value, of unknown origin."""
    return builder.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], False)


def broadcast(builder, scalar, vector):
    """The scalar in every lane of a vector of this LLVM type."""
    nothing = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(nothing, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(I32, vector.count), [0] * vector.count))


def field(context, builder, array_type, array, name):
    """A field of an array, or the list of its elements: taken from the value, where Numba would store the whole array
    on the stack, for LLVM to find out why."""
    value = context.data_model_manager[array_type].get(builder, array, name)
    return cgutils.unpack_tuple(builder, value) if name in ("shape", "strides") else value


def address(context, builder, array_type, array, index, pointee):
    """Pointer to array[index] of a contiguous array, the index being a list of LLVM integers."""
    place, *more = index
    for i, size in zip(more, field(context, builder, array_type, array, "shape")[1:], strict=True):
        place = builder.add(builder.mul(place, size), i)
    return builder.bitcast(
        builder.gep(field(context, builder, array_type, array, "data"), [place]), pointee.as_pointer()
    )


def indices(context, builder, index_type, index):
    if not isinstance(index_type, types.BaseTuple):
        return [context.cast(builder, index, index_type, types.intp)]
    parts = cgutils.unpack_tuple(builder, index)
    return [context.cast(builder, i, t, types.intp) for i, t in zip(parts, index_type.types, strict=True)]


def each_vector(builder, vec, pointer):
    """(the lanes of one vector, pointer to it) for each of the vectors of a Vec."""
    count = vec.lanes // vec.times
    pointee = ir.VectorType(pointer.type.pointee.element, count)
    pointer = builder.bitcast(pointer, pointee.as_pointer())
    for v in range(vec.times):
        yield range(v * count, (v + 1) * count), builder.gep(pointer, [ir.Constant(I32, v)])


def taken(builder, vector, lanes):
    return builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes)))


def in_two(builder, vector):
    """The first and the second half of the lanes."""
    half = vector.type.count // 2
    return taken(builder, vector, range(half)), taken(builder, vector, range(half, 2 * half))


def joined(builder, parts):
    """Vectors of equal length, a power of two of them, as one."""
    while len(parts) > 1:
        order = ir.Constant(ir.VectorType(I32, 2 * parts[0].type.count), list(range(2 * parts[0].type.count)))
        parts = [builder.shuffle_vector(a, b, order) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def fetch(builder, pointer, count):
    """So many vectors that stand at a pointer to the first, wherever that is, into the first cache."""
    anything = ir.IntType(8).as_pointer()
    how = [ir.Constant(I32, number) for number in (0, 3, 1)]  # to read, to stay, data
    for c in range(count):
        place = builder.bitcast(builder.gep(pointer, [ir.Constant(I32, c)]), anything)
        call_named(builder, "llvm.prefetch.p0", ir.VoidType(), [place, *how])


def masked_load(builder, pointer, vec, mask, other):
    align = ir.Constant(I32, vec.itemsize)
    return call(builder, "llvm.masked.load.{}.p0", other.type, [pointer, align, mask, other])


def masked_store(builder, value, pointer, vec, mask):
    """Stores the lanes where the mask is true, which are the first ones.

    Without AVX-512, the halves of a vector, of the half that is left, and so on, with a branch for each: AMD's CPUs
    take twelve cycles for a masked store of 32 bytes, a third of the time of a short row. LLVM has branches for each
    element where a CPU has no masked stores.
    """
    if "avx512f" in cpu_features():
        align = ir.Constant(I32, vec.itemsize)
        call(builder, "llvm.masked.store.{}.p0", ir.VoidType(), [value, pointer, align, mask])
        return
    count = builder.zext(builder.ctpop(builder.bitcast(mask, ir.IntType(value.type.count))), I32)
    builder.call(_store_first(builder.module, value.type, vec.itemsize), [value, pointer, count])


def _store_first(module, vector, itemsize):
    """A function that stores the first lanes of a vector, so many as it is told."""
    name = f"{__name__}.store_first.{vector.count}.{vector.element}"
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [vector, vector.as_pointer(), I32]), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block())
    value, pointer, count = function.args
    place = cgutils.alloca_once_value(builder, builder.bitcast(pointer, vector.element.as_pointer()))
    with builder.if_then(builder.icmp_signed("==", count, ir.Constant(I32, vector.count))):
        builder.store(value, pointer, align=itemsize)
        builder.ret_void()
    while value.type.count > 1:
        half = value.type.count // 2
        low, high = in_two(builder, value)
        wanted = builder.icmp_signed("!=", builder.and_(count, ir.Constant(I32, half)), ir.Constant(I32, 0))
        with builder.if_then(wanted):
            here = builder.load(place)
            builder.store(low, builder.bitcast(here, low.type.as_pointer()), align=itemsize)
            builder.store(builder.gep(here, [ir.Constant(I32, half)]), place)
        value = builder.select(wanted, high, low)
    builder.ret_void()
    return function
