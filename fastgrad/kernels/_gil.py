"""A call without Python's lock, the GIL, decided at run time.

Numba can release the lock around whatever a function does: that takes a twentieth of a small call, and makes Python
threads that call at once wait for each other longer than if they took turns. Only large work is worth it.
"""

from numba.core import cgutils, types
from numba.core.typing.templates import signature
from numba.extending import intrinsic


@intrinsic
def call_released(typingctx, function, args, released):
    """function(*args), which returns nothing; without the GIL, which the caller has, where `released` is true. What it
    raises is raised with the GIL."""
    dispatcher, argtypes = function.dispatcher, args.types
    dispatcher.compile(argtypes)

    def codegen(context, builder, sig, values):
        compiled = dispatcher.overloads[argtypes]
        context.active_code_library.add_linking_library(compiled.library)
        api = context.get_python_api(builder)
        state = cgutils.alloca_once(builder, cgutils.voidptr_t)
        released = context.cast(builder, values[2], sig.args[2], types.boolean)
        with builder.if_then(released, likely=False):
            builder.store(api.save_thread(), state)
        given = cgutils.unpack_tuple(builder, values[1])
        of_call = signature(types.none, *argtypes)
        status, _ = context.call_internal_no_propagate(builder, compiled.fndesc, of_call, given)
        with builder.if_then(released, likely=False):
            api.restore_thread(builder.load(state))
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.none(function, args, released), codegen
