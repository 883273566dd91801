"""Kernels for machine code that is not fastgrad's: a user's `@njit` function, which Numba may save and load again.

Such code does not contain a kernel: it knows it as a symbol. What Numba saves of that code names the kernels that it
calls (`_Needed`), so that loading it provides them, and is refused once fastgrad has changed: Numba compiles anew then.
"""

from functools import cache
from importlib import import_module

import llvmlite.binding
from numba.core import types
from numba.core.environment import Environment

from .kernels._cache import stamp


class StaleError(OSError):
    """What was compiled for another fastgrad. Numba compiles anew where loading from its cache raises an OSError."""


class _Needed:
    """Stands for a kernel in what Numba saves of a function that calls it; to load it is to provide the kernel."""

    def __init__(self, *key):
        self.key = key

    def __reduce__(self):
        return _provide, (stamp(__package__), stamp(), *self.key)


def _provide(package_then, kernels_then, *key):
    if (package_then, kernels_then) != (stamp(__package__), stamp()):
        raise StaleError("fastgrad has changed since this was compiled")
    link(*key)
    return _Needed(*key)


@cache
def link(module, name, dtype):
    """Compiles a kernel, or loads it: the symbol of its address, and an environment that holds what is needed.

    With a function Numba saves its environment, the constants that it refers to, and those of its callees, but not of
    a prange body. So there is one for each kernel, which marks the machine code that calls it.
    """
    kernel = getattr(import_module(module), name)
    argtypes = kernel.types(getattr(types, dtype))
    for part in kernel.parts:
        part.link(dtype)
    entry = kernel.dispatchers["entry"]
    entry.compile(argtypes)
    compiled = entry.overloads[argtypes]
    symbol = f"{module}.{name}.{dtype}"
    llvmlite.binding.add_symbol(symbol, compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))
    environment = Environment(globals())
    environment.env_name = f"_ZN08NumbaEnv{symbol}"
    environment.consts.append(_Needed(module, name, dtype))
    Environment._memo[environment.env_name] = environment
    return symbol, environment
