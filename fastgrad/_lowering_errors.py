"""Python called by the machine code of a user's `@njit` function, for the message of an error."""

from contextlib import contextmanager

from numba.core import cgutils, types
from numba.core.callconv import RETCODE_USEREXC


class _Constants:
    """What boxing takes from Numba's environment of a function, for functions that may have none: the body of a prange,
    once Numba has loaded it from a cache. Numba would leave such a function at once, and with it the GIL held."""

    def __init__(self, api):
        self._api = api

    def add_const(self, value):
        return value

    def read_const(self, value):
        """A borrowed reference: the dtypes of numbers live as long as NumPy."""
        constant = self._api.unserialize(self._api.serialize_object(value))
        self._api.decref(constant)
        return constant


@contextmanager
def explained(context, builder, function, given):
    """(Numba's Python API, what `explain` of `_inside_njit.py` says of a function and the values of `given`), the GIL
    being held within. What it raises, the user's function raises."""
    api = context.get_python_api(builder)
    gil = api.gil_ensure()
    module = api.import_module(context.insert_const_string(builder.module, f"{__package__}._inside_njit"))
    callee = api.object_getattr_string(module, "explain")
    objects = [api.unserialize(api.serialize_object(function.name))]
    for ty, value in given.values():
        if isinstance(ty, types.Omitted):
            objects.append(api.unserialize(api.serialize_object(ty.value)))
        else:
            context.nrt.incref(builder, ty, value)  # which boxing takes
            objects.append(api.from_native_value(ty, value, _Constants(api)))
    answer = api.call_function_objargs(callee, objects)
    for held in (module, callee, *objects):
        api.decref(held)
    with cgutils.if_unlikely(builder, cgutils.is_null(builder, answer)):
        api.gil_release(gil)
        context.call_conv.return_exc(builder)
    yield api, answer
    api.decref(answer)
    api.gil_release(gil)


def set_error(context, builder, api, message, wrong):
    """Prepares a ValueError with this message, where something is wrong; `leave_unless` raises it."""

    def constants(builder, **_):
        return _Constants(context.get_python_api(builder))

    raising = type(context.call_conv)(context.subtarget(get_env_manager=constants))
    with cgutils.if_unlikely(builder, wrong):
        text = api.to_native_value(types.unicode_type, message).value
        raising.set_dynamic_user_exc(builder, ValueError, (text,), (types.unicode_type,))


def leave_unless(context, builder, good):
    """Leaves the user's function with the error that was set; within its `try`, Numba looks by itself."""
    inside_try = context.call_conv.check_try_status(builder).in_try
    with cgutils.if_unlikely(builder, builder.not_(builder.or_(good, inside_try))):
        builder.ret(RETCODE_USEREXC)
