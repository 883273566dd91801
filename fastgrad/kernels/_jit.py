"""How a loop nest is compiled, cached and run: one Python function, two binaries, and one place that picks.

`@device` makes an inner function, `@kernel` a loop nest. A kernel is compiled twice from the same source: serially, as
part of its entry, and with `parallel=True`. Which one runs changes no bit of the result.
"""

import os
import threading
from functools import partial
from types import FunctionType

import numba
import numpy as np
from numba.core import types
from numba.np.ufunc import parallel as numba_threads

from ._cache import KernelCache
from ._compiling import InnerCompiler, OuterCompiler, uncollected
from ._gil import call_released
from ._signature import fits
from ._vec import cpu_features

# error_model: x / 0 is inf, as in NumPy. No fastmath, ever: it would let LLVM reorder sums and drop NaN. Only prange is
# parallel: Numba's own reductions depend on the number of threads. No references are counted: arrays live as long as
# the call, and to count would take 50 ns for each.
_OPTIONS = {"error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False}
_NOT_PRANGE = ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion")
_PARALLEL = {"prange": True} | dict.fromkeys(_NOT_PRANGE, False)

# A factor of costs, which are those of AVX-512: without it, arithmetic takes twice as long, and memory as long.
ARITHMETIC = 1 if "avx512f" in cpu_features() else 2

_NUMBERS = {bool: types.boolean, int: types.int64, float: types.float64}
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
_INTEGERS = np.dtype(np.int64)

# What an entry is told: to run small work only, or any, by Python, which has the GIL, or by compiled code.
_IF_SMALL, _ANY, ANY_COMPILED = range(3)
# What it returns: from _ABSENT on, which part it needs first.
_MISFIT, _DONE, _LARGE, _HUGE, _ABSENT = range(5)
# Nanoseconds that pay for other Python threads to go on; for a parallel region, which takes 5 to 10 µs where its
# threads wait for it, and 20 where they fell asleep; under workqueue for one.
_RELEASED_WORK, _LARGE_WORK, _HUGE_WORK = 2_000, 20_000, 1_000_000


_region = threading.Lock()
_serial_callers: set[int] = set()  # the Python threads that are in a serial binary with large work
_pays = _LARGE  # what is run in parallel: workqueue is known after the first time
# What an entry is told by Python first.
_first = _ANY if numba.config.NUMBA_NUM_THREADS == 1 else _IF_SMALL  # type: ignore[attr-defined]


class NotPlainError(TypeError):
    """Not all arrays are C-contiguous, aligned and writeable, of one dtype (int64 for integers) and of the signature's
    dimensions."""


def device(function):
    """An inner function: called by kernels, compiled into them. What calls it may be `inlined`: it is not for that."""
    return _inner(function, forceinline=False)


def inlined(function):
    """An inner function on vectors, which must not leave their registers: copied into every place that calls it."""
    return _inner(function, forceinline=True)


def _inner(function, **options):
    options = _OPTIONS | {"no_cpython_wrapper": True, "pipeline_class": InnerCompiler} | options
    return numba.njit(**options)(function)


def anything(args):
    """Accepts all values."""
    return True


def _none(args):
    return 0


def kernel(signature, cost, accepts=anything, options=None, parts=(), first_absent=_none):
    """Makes a loop nest over plain arrays callable: first the arrays of the signature, then options.

    Called, it returns whether the arrays fit together; where they do not, nothing is touched. Other arrays raise
    NotPlainError. `cost` is about the nanoseconds on one core for each byte of an array with every axis of the
    signature; small work runs serially. `accepts` looks at values where shapes are not all that has to fit; `options`
    are the kinds of the options, bool if it is not given. Of the `parts` that it may call, `first_absent` says which
    one, counted from 1, this call needs and is not linked. The loop nest itself takes one more argument, the
    number of threads to cut its work for, and cuts no sum by it.
    """

    def decorate(loops):
        inner = _inner(loops)
        accepted, absent_of = (numba.njit(inline="always")(function) for function in (accepts, first_absent))
        parallel = cached(loops, loops, "parallel", parallel=_PARALLEL, nogil=True)  # other Python threads go on

        @numba.njit(inline="always")
        def run_serially(args):
            volume = fits(signature, args)
            if volume < 0 or not accepted(args):
                return _MISFIT
            absent = absent_of(args)
            if absent:
                return _ABSENT + absent - 1
            work = volume * (cost * args[0].itemsize)
            if work > _LARGE_WORK and args[-1] == _IF_SMALL:
                return _LARGE if work <= _HUGE_WORK else _HUGE
            call_released(inner, (*args[:-1], 1), work > _RELEASED_WORK and args[-1] != ANY_COMPILED)
            return _DONE

        count = loops.__code__.co_argcount
        entry = cached(_with_arguments(count, run_serially), loops, "entry")
        compile_entry = entry._compile_for_args

        def compile_for_plain(*args):
            if not _are_plain(signature, args):
                raise NotPlainError
            return compile_entry(*args)

        entry._compile_for_args = compile_for_plain  # Numba calls this for types that it has no binary for yet

        def finish(status, *args):
            while status >= _ABSENT:
                parts[status - _ABSENT].link(args[0].dtype)
                status = entry(*args, _first)
            if status in (_LARGE, _HUGE):
                _run_large(entry, parallel, args, status)
            return status != _MISFIT

        run = _caller(count - 1, entry, finish)
        run.signature, run.parts = signature, parts
        run.dispatchers = {"parallel": parallel, "entry": entry}
        run.options = loops.__code__.co_varnames[len(signature.inputs + signature.outputs) : count - 1]
        run.types = partial(_types, signature, options or [bool for _ in run.options])
        run.__module__, run.__name__, run.__doc__ = loops.__module__, loops.__name__, loops.__doc__
        return run

    return decorate


def _with_arguments(count, function):
    """A function of a tuple as one of `count` arguments: through *args, Numba would look at a tuple anew in every call,
    which takes 0.1 µs."""
    return {
        3: lambda a, b, c: function((a, b, c)),
        4: lambda a, b, c, d: function((a, b, c, d)),
        5: lambda a, b, c, d, e: function((a, b, c, d, e)),
        6: lambda a, b, c, d, e, f: function((a, b, c, d, e, f)),
        7: lambda a, b, c, d, e, f, g: function((a, b, c, d, e, f, g)),
        8: lambda a, b, c, d, e, f, g, h: function((a, b, c, d, e, f, g, h)),
        13: lambda a, b, c, d, e, f, g, h, i, j, k, m, n: function((a, b, c, d, e, f, g, h, i, j, k, m, n)),
        18: lambda a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s: function(
            (a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s)
        ),
    }[count]


def _caller(count, entry, finish):
    """A function of `count` arguments that runs small work, and hands over what is large or does not fit. Through
    *args a call would take 0.1 µs more."""
    return {
        2: lambda a, b: (s := entry(a, b, _first)) == _DONE or finish(s, a, b),
        3: lambda a, b, c: (s := entry(a, b, c, _first)) == _DONE or finish(s, a, b, c),
        4: lambda a, b, c, d: (s := entry(a, b, c, d, _first)) == _DONE or finish(s, a, b, c, d),
        5: lambda a, b, c, d, e: (s := entry(a, b, c, d, e, _first)) == _DONE or finish(s, a, b, c, d, e),
        6: lambda a, b, c, d, e, f: (s := entry(a, b, c, d, e, f, _first)) == _DONE or finish(s, a, b, c, d, e, f),
        7: lambda a, b, c, d, e, f, g: (
            (s := entry(a, b, c, d, e, f, g, _first)) == _DONE or finish(s, a, b, c, d, e, f, g)
        ),
    }.get(count, lambda *args: (s := entry(*args, _first)) == _DONE or finish(s, *args))


def _types(signature, options, dtype):
    """What a binary takes, for Numba's type of the elements."""
    operands = signature.inputs + signature.outputs
    arrays = [types.Array(types.int64 if o.integer else dtype, len(o.axes), "C") for o in operands]
    return (*arrays, *(argument_type(kind, dtype) for kind in options), types.int64)


def argument_type(kind, dtype):
    """Numba's type of an argument of a kind: bool, int, float, the number of axes of an array of the dtype, [int] for a
    vector of integers, or a tuple of kinds."""
    if isinstance(kind, tuple):
        return types.Tuple([argument_type(each, dtype) for each in kind])
    if isinstance(kind, list):
        return types.Array(_NUMBERS[kind[0]], 1, "C")
    return types.Array(dtype, kind, "C") if isinstance(kind, int) else _NUMBERS[kind]


def _run_large(entry, parallel, args, status):
    global _pays
    # One parallel region at a time: a second one aborts the process under workqueue, and under OpenMP its threads
    # would fight for the cores. Whoever finds the region taken works on serially, and takes a core from the next: two
    # Python threads on two cores each keep theirs, which takes two thirds of the time.
    if status >= _pays and _region.acquire(False):
        try:
            # Once the threads are there, without Numba's locks around the question: half a microsecond.
            ask = numba_threads._get_num_threads if numba_threads._is_initialized else numba.get_num_threads
            threads = ask() - len(_serial_callers)
            if threads > 1:
                parallel(*args, threads)
                _pays = _HUGE if numba.threading_layer() == "workqueue" else _LARGE
                return
        finally:
            _region.release()
    caller = threading.get_ident()
    _serial_callers.add(caller)
    try:
        entry(*args, _ANY)
    finally:
        _serial_callers.discard(caller)


def _after_fork_in_child():
    """A child has none of the parent's threads, and GNU OpenMP would abort it: it works serially."""
    global _region, _first
    _region = threading.Lock()
    _serial_callers.clear()
    if numba_threads._is_initialized:
        _first = _ANY


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _are_plain(signature, args):
    operands = signature.inputs + signature.outputs
    dtype = args[0].dtype
    return dtype in _DTYPES and all(
        isinstance(array, np.ndarray)
        and array.flags.carray
        and array.dtype == (_INTEGERS if operand.integer else dtype)
        and array.ndim == len(operand.axes)
        for operand, array in zip(operands, args, strict=False)
    )


def cached(function, named_after, variant, compiler=OuterCompiler, **options):
    """A Numba dispatcher with our own cache, of a name of its own: Numba finds machine code by the function's name and
    types, and what several processes have compiled and saved meets in one."""
    own = FunctionType(function.__code__, function.__globals__, closure=function.__closure__)
    own.__module__, own.__qualname__ = named_after.__module__, f"{named_after.__qualname__}.{variant}"
    dispatcher = numba.njit(pipeline_class=compiler, **_OPTIONS, **options)(own)
    dispatcher._cache = KernelCache(named_after, variant)
    dispatcher.compile = uncollected(dispatcher.compile)
    return dispatcher
