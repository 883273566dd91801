"""Loop nests that several kernels share: compiled once for each dtype, when first needed, and called by address.

A kernel contains its inner functions. What is large, and used by many kernels but not in every call, is a part instead:
machine code of its own, whose address stands in a slot that kernels know as a symbol. A kernel says which part a call
needs; where its slot is empty, nothing is touched, Python compiles the part or loads it, and calls again.
"""

import ctypes

import llvmlite.binding
import numpy as np
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from ._compiling import PartCompiler
from ._jit import argument_type, cached


def part(*kinds):
    """Makes a function without a result callable by kernels; `kinds` are those of its arguments, as `argument_type` has
    them, of which the first is an array."""
    return lambda function: Part(function, kinds)


class Part:
    """What `part` makes of a function. `slots` hold its address by dtype, nothing while it is not linked."""

    def __init__(self, function, kinds):
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        self._name, self._kinds = f"{function.__module__}.{function.__qualname__}", kinds
        dispatcher = cached(function, function, "part", PartCompiler, no_cpython_wrapper=True)
        self.dispatchers = {"part": dispatcher}
        self.slots = {dtype: ctypes.c_void_p() for dtype in ("float32", "float64")}
        for dtype, slot in self.slots.items():
            llvmlite.binding.add_symbol(self._symbol(dtype), ctypes.addressof(slot))
        _make_callable(self)

    def types(self, dtype):
        """Of the arguments, for Numba's type of the elements."""
        return tuple(argument_type(kind, dtype) for kind in self._kinds)

    def link(self, dtype):
        """Compiles the part, or loads it."""
        name = np.dtype(dtype).name
        if not self.slots[name].value:
            dispatcher, argtypes = self.dispatchers["part"], self.types(getattr(types, name))
            dispatcher.compile(argtypes)
            compiled = dispatcher.overloads[argtypes]
            address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
            self.slots[name].value = address

    def _symbol(self, dtype):
        return f"{self._name}.{dtype}"

    def address(self, context, builder, dtype):
        """What stands in the slot when compiled code asks."""
        return builder.load(context.get_c_value(builder, cgutils.voidptr_t, self._symbol(dtype)))


def _make_callable(part):
    """Tells Numba what a call of the part is."""

    class Template(AbstractTemplate):
        key = part

        def generic(self, args, kws):
            return signature(types.none, *part.types(_dtype(args)))

    def lowered(context, builder, sig, args):
        convention = context.call_conv
        function_type = convention.get_function_type(types.none, sig.args)
        function = builder.bitcast(part.address(context, builder, _dtype(sig.args)), function_type.as_pointer())
        status, _ = convention.call_function(builder, function, types.none, sig.args, args)
        with cgutils.if_unlikely(builder, status.is_error):  # an index out of bounds, where Numba checks them
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    infer_global(part, types.Function(Template))
    lower_builtin(part, types.VarArg(types.Any))(lowered)


def _dtype(args):
    return next(arg.dtype for arg in args if isinstance(arg, types.Array) and isinstance(arg.dtype, types.Float))


@intrinsic
def absent(typingctx, part, like):
    """Whether the part is not linked yet for the dtype of `like`."""

    def codegen(context, builder, sig, args):
        return cgutils.is_null(builder, part.typing_key.address(context, builder, like.dtype))

    return types.boolean(part, like), codegen
