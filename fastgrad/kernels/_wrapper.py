"""How Python calls a kernel: arrays are read where NumPy keeps them, and results are made here.

Numba would look up the types of all arguments in every call, and make an object for each array that keeps it alive,
0.1 µs an array; Python takes 0.3 µs to make a result. That is more than a small kernel takes. Here the caller picks the
machine code for a dtype, which looks for itself whether it can take the arguments.
"""

import ctypes
from functools import reduce
from importlib import import_module

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.core.callwrapper import PyCallWrapper
from numba.np.numpy_support import as_dtype

from ._arrays import new_array
from ._vec import I32, I64

# Who calls an entry: Python, which has the GIL, or compiled code, which may be in a parallel region already.
FROM_PYTHON, FROM_COMPILED = range(2)
# What an entry returns: from ABSENT on, what has to be linked first.
MISFIT, DONE, ABSENT = range(3)
NOT_PLAIN = -1  # for Python alone


class RefusedError(LookupError):
    """A kernel has done nothing: its argument says why, as one of the numbers above."""


# --- NumPy in memory -------------------------------------------------------------------------------------------------
# None of this can change: other packages' machine code relies on it.

_HEADER = object.__basicsize__ - ctypes.sizeof(ctypes.c_void_p)  # bytes of a Python object before its type
_BY_ROWS, _BY_COLUMNS, _ALIGNED, _WRITEABLE = 0x1, 0x2, 0x100, 0x400  # flags
_OTHER_ORDER = np.dtype(np.int64).newbyteorder().byteorder
_MOST_AXES = 64
_NEW = 93  # the place of PyArray_New in the table of NumPy's functions


class ArrayFields(ctypes.Structure):
    """An array."""

    _fields_ = (
        ("header", ctypes.c_char * _HEADER),
        ("type", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
        ("ndim", ctypes.c_int),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("base", ctypes.c_void_p),
        ("dtype", ctypes.c_void_p),
        ("flags", ctypes.c_int),
    )


class DtypeFields(ctypes.Structure):
    """The beginning of a dtype."""

    _fields_ = (
        ("header", ctypes.c_char * _HEADER),
        ("type", ctypes.c_void_p),
        ("scalar", ctypes.c_void_p),
        ("kind", ctypes.c_char),
        ("char", ctypes.c_char),
        ("byteorder", ctypes.c_char),
        ("version", ctypes.c_char),
        ("num", ctypes.c_int),
    )


def _numpys_functions():
    """The table of the functions that NumPy has for other packages."""
    pointer_in = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_in.restype, pointer_in.argtypes = ctypes.POINTER(ctypes.c_void_p), [ctypes.py_object, ctypes.c_void_p]
    return pointer_in(import_module("numpy._core._multiarray_umath")._ARRAY_API, None)


llvmlite.binding.add_symbol(f"{__name__}.ndarray", id(np.ndarray))
llvmlite.binding.add_symbol(f"{__name__}.RefusedError", id(RefusedError))
llvmlite.binding.add_symbol(f"{__name__}.new", _numpys_functions()[_NEW])

_LLVM = {ctypes.c_void_p: cgutils.voidptr_t, ctypes.c_int: I32, ctypes.c_char: ir.IntType(8)}


def _read(builder, where, structure, name):
    """A field of a structure in memory."""
    kind = _LLVM[dict(structure._fields_)[name]]
    place = builder.gep(where, [I64(getattr(structure, name).offset)])
    return builder.load(builder.bitcast(place, kind.as_pointer()))


def _numbers(dtype):
    """NumPy's numbers of a dtype: int64 may be long as well as long long."""
    return [np.dtype(char).num for char in np.typecodes["All"] if np.dtype(char) == dtype]


# --- a call ----------------------------------------------------------------------------------------------------------


class Wrapper(PyCallWrapper):
    """A function of Python that takes the arguments of an entry but the last, and returns the outputs.

    In place of an output None lets it be made, and False leaves it out where it is optional; in place of an input None
    is one that is missing. The leading axes `...` may be any number, the same for all arrays.
    """

    def __init__(self, lower):
        self._module = lower.context.create_module("wrapper")
        fndesc, call_conv = lower.fndesc, lower.context.call_conv
        entry_type = call_conv.get_function_type(fndesc.restype, fndesc.argtypes)
        entry = ir.Function(self._module, entry_type, fndesc.llvm_func_name)
        super().__init__(lower.context, self._module, entry, fndesc, lower.env, lower.call_helper, False)
        self._signature = lower.func_ir.func_id.func.signature

    def build_into(self, library):
        self.build()
        library.add_ir_module(self._module)

    def build_wrapper(self, api, builder, closure, args, kws):
        self._api, self._builder = api, builder
        argtypes, call_conv = self.fndesc.argtypes, self.context.call_conv
        count = len(self._signature.inputs + self._signature.outputs)
        self._lead, self._sizes = None, {}
        self._results = [cgutils.alloca_once(builder, api.pyobj, zfill=True) for _ in self._signature.outputs]
        self._status = cgutils.alloca_once_value(builder, I64(NOT_PLAIN))
        self._refuse, self._fail = (builder.append_basic_block(name) for name in ("refuse", "fail"))
        objects = self._arguments(args, len(argtypes) - 1)
        given, options = objects[:count], zip(objects[count:], argtypes[count:], strict=False)
        arrays = self._arrays(given, argtypes)
        values = (*arrays, *(self._number(*option) for option in options), I64(FROM_PYTHON))
        status, result = call_conv.call_function(
            builder, self.func, self.fndesc.restype, argtypes, values, attrs=("noinline",)
        )
        with cgutils.if_unlikely(builder, status.is_error):
            call_conv.raise_error(builder, api, status)
            builder.branch(self._fail)
        builder.store(result, self._status)
        self._go_on_if(builder.icmp_signed("==", result, I64(DONE)))
        builder.ret(self._returned())
        self._leave()

    def _arguments(self, args, count):
        api, builder = self._api, self._builder
        slots = [api.alloca_obj() for _ in range(count)]
        good = api.unpack_tuple(args, self.fndesc.qualname, count, count, *slots)
        self._go_on_if(cgutils.is_not_null(builder, good), self._fail)
        return [builder.load(slot) for slot in slots]

    def _arrays(self, given, argtypes):
        inputs, outputs = self._signature.inputs, self._signature.outputs
        missing, left_out, count = self._api.borrow_none(), self._api.get_c_object("_Py_FalseStruct"), len(inputs)
        for operand, obj, ty in zip(inputs, given, argtypes, strict=False):
            yield self._taken(operand, obj, ty, missing, read_only=True)
        for operand, obj, ty, result in zip(outputs, given[count:], argtypes[count:], self._results, strict=False):
            self._make(operand, obj, ty, result)
            yield self._taken(operand, self._builder.load(result), ty, left_out, read_only=False)

    def _number(self, obj, ty):
        native = self._api.to_native_value(ty, obj)
        self._go_on_if(self._builder.not_(native.is_error), self._fail)
        return native.value

    def _returned(self):
        """The outputs: one, or a tuple of them."""
        results = [self._builder.load(result) for result in self._results]
        if len(results) == 1:
            return results[0]
        answer = self._api.tuple_new(len(results))
        self._go_on_if(cgutils.is_not_null(self._builder, answer), self._fail)
        for place, result in enumerate(results):
            self._api.tuple_setitem(answer, place, result)
        return answer

    def _leave(self):
        """What is done where a call was refused, or something has failed before: it raises."""
        api, builder = self._api, self._builder
        with builder.goto_block(self._refuse):
            reason = api.long_from_longlong(builder.load(self._status))
            error = self.context.get_c_value(builder, ir.IntType(8), f"{__name__}.RefusedError")
            api.err_set_object(error, reason)
            api.decref(reason)
            builder.branch(self._fail)
        with builder.goto_block(self._fail):
            for result in self._results:
                api.decref(builder.load(result))
            builder.ret(api.get_null_object())

    def _go_on_if(self, good, otherwise=None):
        builder = self._builder
        go_on = builder.append_basic_block()
        builder.cbranch(good, go_on, otherwise or self._refuse)
        builder.position_at_end(go_on)

    # --- arrays ---

    def _taken(self, operand, obj, ty, nothing, read_only):
        """The array that an object is, all its leading axes as one; of no elements, where it is `nothing`."""
        builder = self._builder
        if not operand.optional:
            return new_array(self.context, builder, ty, *self._parts(operand, obj, ty, read_only))
        slots = [cgutils.alloca_once(builder, kind, zfill=True) for kind in (cgutils.voidptr_t, *[I64] * ty.ndim)]
        with builder.if_then(builder.icmp_unsigned("!=", obj, nothing)):
            data, shape, _ = self._parts(operand, obj, ty, read_only)
            for slot, value in zip(slots, (data, *shape), strict=True):
                builder.store(value, slot)
        data, *shape = map(builder.load, slots)
        return new_array(self.context, builder, ty, data, shape)

    def _parts(self, operand, obj, ty, read_only):
        """Where the elements are, how many for each axis of the kernel, and whether they lie by columns."""
        builder = self._builder
        self._go_on_if(builder.icmp_unsigned("==", _read(builder, obj, ArrayFields, "type"), self._ndarray()))
        dtype = _read(builder, obj, ArrayFields, "dtype")
        number = _read(builder, dtype, DtypeFields, "num")
        numbers = [builder.icmp_signed("==", number, I32(n)) for n in _numbers(as_dtype(ty.dtype))]
        order = _read(builder, dtype, DtypeFields, "byteorder")
        native = builder.icmp_unsigned("!=", order, order.type(ord(_OTHER_ORDER)))
        flags = _read(builder, obj, ArrayFields, "flags")
        needed = I32(_ALIGNED | (0 if read_only else _WRITEABLE))
        usable = builder.icmp_unsigned("==", builder.and_(flags, needed), needed)
        by_rows, by_columns = self._is_set(flags, _BY_ROWS), None
        contiguous = by_rows
        if operand.by_columns:
            by_columns = builder.not_(by_rows)
            matrix = builder.icmp_signed("==", _read(builder, obj, ArrayFields, "ndim"), I32(2))
            contiguous = builder.or_(by_rows, builder.and_(matrix, self._is_set(flags, _BY_COLUMNS)))
        self._go_on_if(reduce(builder.and_, (reduce(builder.or_, numbers), native, usable, contiguous)))
        return _read(builder, obj, ArrayFields, "data"), self._shape(operand, obj), by_columns

    def _is_set(self, flags, flag):
        return self._builder.icmp_unsigned("!=", self._builder.and_(flags, I32(flag)), I32(0))

    def _ndarray(self):
        return self.context.get_c_value(self._builder, ir.IntType(8), f"{__name__}.ndarray")

    def _shape(self, operand, obj):
        builder = self._builder
        ndim = builder.sext(_read(builder, obj, ArrayFields, "ndim"), I64)
        sizes = builder.bitcast(_read(builder, obj, ArrayFields, "shape"), I64.as_pointer())
        letters = [axis for axis in operand.axes if axis != "..."]
        if _leads(operand):
            lead = builder.sub(ndim, I64(len(letters)))
            self._go_on_if(builder.icmp_signed(">=", lead, I64(0)))
            behind = (builder.add(lead, I64(place)) for place in range(len(letters)))
            shape = [self._rows(lead, sizes), *(_element(builder, sizes, place) for place in behind)]
        else:
            self._go_on_if(builder.icmp_signed("==", ndim, I64(len(operand.axes))))
            shape = [_element(builder, sizes, I64(place)) for place in range(len(operand.axes))]
        # The entry asks whether all sizes agree, but takes what is optional and has no elements for missing.
        for axis, size in zip(operand.axes, shape, strict=True):
            if operand.optional and axis != "...":
                self._go_on_if(builder.icmp_signed("==", size, self._sizes[axis]))
            else:
                self._sizes.setdefault(axis, size)
        return shape

    def _rows(self, lead, sizes):
        """How many rows so many leading axes are. They have to be those of the arrays before."""
        builder = self._builder
        if self._lead is None:
            rows = cgutils.alloca_once_value(builder, I64(1))
            with cgutils.for_range(builder, lead) as loop:
                builder.store(builder.mul(builder.load(rows), _element(builder, sizes, loop.index)), rows)
            self._lead = lead, sizes, builder.load(rows)
            return self._lead[-1]
        first_lead, first_sizes, rows = self._lead
        self._go_on_if(builder.icmp_signed("==", lead, first_lead))
        same = cgutils.alloca_once_value(builder, cgutils.true_bit)
        with cgutils.for_range(builder, lead) as loop:
            values = (_element(builder, vector, loop.index) for vector in (sizes, first_sizes))
            builder.store(builder.and_(builder.load(same), builder.icmp_signed("==", *values)), same)
        self._go_on_if(builder.load(same))
        return rows

    def _make(self, operand, obj, ty, result):
        """Keeps the output that is given, or a new one for None."""
        api, builder = self._api, self._builder
        with builder.if_else(builder.icmp_unsigned("==", obj, api.borrow_none())) as (made, given):
            with made:
                ndim, sizes = self._shape_to_make(operand)
                self._go_on_if(builder.icmp_signed(">", ndim, I64(0)))  # of no axes, it would have to be a scalar
                array = self._new(builder.trunc(ndim, I32), sizes, as_dtype(ty.dtype).num)
                self._go_on_if(cgutils.is_not_null(builder, array), self._fail)
                builder.store(array, result)
            with given:
                api.incref(obj)
                builder.store(obj, result)

    def _shape_to_make(self, operand):
        """How many axes an output has, and where their sizes are."""
        builder = self._builder
        buffer = cgutils.alloca_once(builder, I64, size=_MOST_AXES * len(operand.axes))
        ndim = I64(0)
        for axis in operand.axes:
            if axis == "...":
                lead, sizes, _ = self._lead
                with cgutils.for_range(builder, lead) as loop:
                    size = _element(builder, sizes, loop.index)
                    builder.store(size, builder.gep(buffer, [builder.add(ndim, loop.index)]))
                ndim = builder.add(ndim, lead)
            else:
                builder.store(self._sizes[axis], builder.gep(buffer, [ndim]))
                ndim = builder.add(ndim, I64(1))
        return ndim, buffer

    def _new(self, ndim, sizes, number):
        anything, api = cgutils.voidptr_t, self._api
        kind = ir.FunctionType(api.pyobj, [anything, I32, sizes.type, I32, sizes.type, anything, I32, I32, anything])
        function = cgutils.get_or_insert_function(self._builder.module, kind, f"{__name__}.new")
        nothing, no_sizes = (ir.Constant(pointer, None) for pointer in (anything, sizes.type))
        args = self._ndarray(), ndim, sizes, I32(number), no_sizes, nothing, I32(0), I32(0), nothing
        return self._builder.call(function, args)


def _leads(operand):
    """Whether the first axis of the kernel's array may be any number of axes of the caller's."""
    return operand.axes[:1] == ("...",) and operand.axes.count("...") == 1


def _element(builder, vector, place):
    return builder.load(builder.gep(vector, [place]))
