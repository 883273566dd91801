"""Loop nests that several kernels share: compiled once for each dtype, when first needed, and called by address.

A kernel contains its inner functions. What is large, and used by many kernels but not in every call, is a part instead:
machine code of its own, whose address stands in a slot that kernels know as a symbol. A kernel says which part a call
needs; where its slot is empty, nothing is touched, Python compiles the part or loads it, and calls again. Parts that do
the same for different numbers of rows, say, are a `Choice`.
"""

import ctypes
from typing import get_type_hints

import llvmlite.binding
import numpy as np
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from ._cache import cached
from ._compiling import PartCompiler

_NUMBERS = {bool: types.boolean, int: types.int64, float: types.float64}


def part(*kinds):
    """Makes a function without a result callable by kernels; `kinds` are those of its arguments, as `argument_type` has
    them, of which the first is an array."""

    def types_of(dtype):
        return tuple(argument_type(kind, dtype) for kind in kinds)

    def decorate(function):
        made = Part(cached(function, function, "part", PartCompiler, no_cpython_wrapper=True), types_of)
        made.dispatchers = {"part": made.dispatcher}
        made.__name__, made.__doc__ = function.__name__, function.__doc__
        return made

    return decorate


class Part:
    """Machine code that is called by address. `types` are those of its arguments, for Numba's type of the elements, and
    `returns` that of its result; `slots` hold its address by dtype, nothing while it is not linked."""

    def __init__(self, dispatcher, types_of, returns=types.none):
        self.dispatcher, self.types, self.returns = dispatcher, types_of, returns
        self._name = f"{dispatcher.py_func.__module__}.{dispatcher.py_func.__qualname__}"
        self.slots = {dtype: ctypes.c_void_p() for dtype in ("float32", "float64")}
        for dtype, slot in self.slots.items():
            llvmlite.binding.add_symbol(self._symbol(dtype), ctypes.addressof(slot))
        _make_callable(self, types_of, self.call)

    def link(self, dtype):
        """Compiles the part, or loads it."""
        name = np.dtype(dtype).name
        if not self.slots[name].value:
            argtypes = self.types(getattr(types, name))
            self.dispatcher.compile(argtypes)
            compiled = self.dispatcher.overloads[argtypes]
            address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
            self.slots[name].value = address

    def _symbol(self, dtype):
        return f"{self._name}.{dtype}"

    def slot(self, context, builder, dtype):
        """Where compiled code finds the address."""
        return context.get_c_value(builder, cgutils.voidptr_t, self._symbol(dtype))

    def call(self, context, builder, argtypes, args):
        """Numba's status of a call, and the result."""
        slot = self.slot(context, builder, _dtype(argtypes))
        return _call(context, builder, slot, self.returns, argtypes, args)


class Choice:
    """Parts that take the same arguments, as one function: before these, it takes the number of a part, from 1 on."""

    def __init__(self, *parts):
        self.parts = parts
        types_of = parts[0].types

        def call(context, builder, argtypes, args):
            slot = self.slot(context, builder, _dtype(argtypes), args[0])
            return _call(context, builder, slot, types.none, argtypes[1:], args[1:])

        _make_callable(self, lambda dtype: (types.intp, *types_of(dtype)), call)

    def slot(self, context, builder, dtype, number):
        """Where compiled code finds the address of the part of this number."""
        slots = [part.slot(context, builder, dtype) for part in self.parts]
        chosen = slots[0]
        for place, slot in enumerate(slots[1:], 2):
            chosen = builder.select(builder.icmp_signed("==", number, number.type(place)), slot, chosen)
        return chosen


def _call(context, builder, slot, returns, argtypes, args):
    function_type = context.call_conv.get_function_type(returns, argtypes)
    function = builder.bitcast(builder.load(slot), function_type.as_pointer())
    return context.call_conv.call_function(builder, function, returns, argtypes, args)


def _make_callable(function, types_of, call):
    """Tells Numba what a call of the function, of arguments of these types, is."""

    class Template(AbstractTemplate):
        key = function

        def generic(self, args, kws):
            return signature(types.none, *types_of(_dtype(args)))

    def lowered(context, builder, sig, args):
        status, _ = call(context, builder, sig.args, args)
        with cgutils.if_unlikely(builder, status.is_error):  # an index out of bounds, where Numba checks them
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    infer_global(function, types.Function(Template))
    lower_builtin(function, types.VarArg(types.Any))(lowered)


def _dtype(args):
    return next(arg.dtype for arg in args if isinstance(arg, types.Array) and isinstance(arg.dtype, types.Float))


def argument_type(kind, dtype):
    """Numba's type of an argument of a kind: bool, int, float, the number of axes of an array of the dtype, [int] for a
    vector of integers, a tuple of kinds, or a class of named tuples of them."""
    if isinstance(kind, tuple):
        return types.Tuple([argument_type(each, dtype) for each in kind])
    if isinstance(kind, type) and issubclass(kind, tuple):
        return types.NamedTuple([argument_type(each, dtype) for each in get_type_hints(kind).values()], kind)
    if isinstance(kind, list):
        return types.Array(_NUMBERS[kind[0]], 1, "C")
    return types.Array(dtype, kind, "C") if isinstance(kind, int) else _NUMBERS[kind]


@intrinsic
def absent(typingctx, part, like):
    """Whether the part is not linked yet for the dtype of `like`."""

    def codegen(context, builder, sig, args):
        return cgutils.is_null(builder, builder.load(part.typing_key.slot(context, builder, like.dtype)))

    return types.boolean(part, like), codegen


@intrinsic
def absent_of(typingctx, choice, number, like):
    """The number, if this part of the choice is not linked yet for the dtype of `like`; 0 if it is."""

    def codegen(context, builder, sig, args):
        number = args[1]
        slot = choice.typing_key.slot(context, builder, like.dtype, number)
        return builder.select(cgutils.is_null(builder, builder.load(slot)), number, number.type(0))

    return types.intp(choice, types.intp, like), codegen
