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

_DTYPES = ("float32", "float64")


def part(*kinds):
    """Makes a function without a result callable by kernels; `kinds` are those of its arguments, as `argument_type` has
    them, of which the first is an array."""

    def decorate(function):
        name = f"{function.__module__}.{function.__qualname__}"
        dispatcher = cached(function, function, "part", PartCompiler, no_cpython_wrapper=True, _nrt=False)
        slots = {dtype: ctypes.c_void_p() for dtype in _DTYPES}
        for dtype, slot in slots.items():
            llvmlite.binding.add_symbol(_symbol(name, dtype), ctypes.addressof(slot))

        def call(*args):
            raise NotImplementedError(f"{name} is called by kernels alone")

        def types_for(dtype):
            return tuple(argument_type(kind, dtype) for kind in kinds)

        def link(dtype):
            """Compiles the part, or loads it."""
            slot, argtypes = slots[np.dtype(dtype).name], types_for(getattr(types, np.dtype(dtype).name))
            if not slot.value:
                dispatcher.compile(argtypes)
                compiled = dispatcher.overloads[argtypes]
                slot.value = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)

        call.part_name, call.types, call.link, call.dispatchers = name, types_for, link, {"part": dispatcher}
        call.__name__, call.__doc__ = function.__name__, function.__doc__
        _make_callable(call)
        return call

    return decorate


def _symbol(name, dtype):
    return f"{name}.{dtype}"


def _address(context, builder, part, dtype):
    """What stands in the part's slot: null until it is linked."""
    return context.get_c_value(builder, cgutils.voidptr_t, _symbol(part.part_name, dtype))


def _dtype(args):
    return next(arg.dtype for arg in args if isinstance(arg, types.Array) and isinstance(arg.dtype, types.Float))


def _make_callable(part):
    """Tells Numba what a call of the part is."""

    class Template(AbstractTemplate):
        key = staticmethod(part)

        def generic(self, args, kws):
            return signature(types.none, *part.types(_dtype(args)))

    def lowered(context, builder, sig, args):
        convention = context.call_conv
        function_type = convention.get_function_type(types.none, sig.args)
        address = _address(context, builder, part, _dtype(sig.args))
        function = builder.bitcast(builder.load(address), function_type.as_pointer())
        status, _ = convention.call_function(builder, function, types.none, sig.args, args)
        with cgutils.if_unlikely(builder, status.is_error):  # an index out of bounds, where Numba checks them
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    infer_global(part, types.Function(Template))
    lower_builtin(part, types.VarArg(types.Any))(lowered)


@intrinsic
def absent(typingctx, part, like):
    """Whether the part is not linked yet for the dtype of `like`."""

    def codegen(context, builder, sig, args):
        return cgutils.is_null(builder, builder.load(_address(context, builder, part.typing_key, like.dtype)))

    return types.boolean(part, like), codegen
