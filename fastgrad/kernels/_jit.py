"""How a loop nest is compiled, cached and run: one Python function, two binaries, and one place that picks.

`@device` makes an inner function, `@kernel` a loop nest. A kernel is compiled twice from the same source: serially, as
part of its entry, and with `parallel=True`. Which one runs changes no bit of the result.
"""

from functools import partial

import numba
import numpy as np
from numba.core import types

from ._cache import cached
from ._compiling import OPTIONS, InnerCompiler
from ._parts import Part, absent, argument_type
from ._region import (
    call_in_region,
    call_serially,
    free_threads,
    least_parallel_work,
    pays_for_waking,
    start_threads,
    take_region,
)
from ._signature import fits, total_bytes
from ._vec import cpu_features
from ._wrapper import ABSENT, DONE, FROM_PYTHON, MISFIT, NOT_PLAIN, RefusedError

_NOT_PRANGE = ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion")
_PARALLEL = {"prange": True} | dict.fromkeys(_NOT_PRANGE, False)

# A factor of costs, which are those of AVX-512: without it, arithmetic takes twice as long, and memory as long.
ARITHMETIC = 1 if "avx512f" in cpu_features() else 2

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
_INTEGERS = np.dtype(np.int64)

_RELEASED_WORK = 2_000  # nanoseconds that pay for other Python threads to go on
_TRAFFIC = 1 / 100  # nanoseconds on one core for a byte of an array that is read or written


def device(function):
    """An inner function: called by kernels, compiled into them. What calls it may be `inlined`: it is not for that."""
    return _inner(function, forceinline=False)


def inlined(function):
    """An inner function on vectors, which must not leave their registers: copied into every place that calls it."""
    return _inner(function, forceinline=True)


def _inner(function, **options):
    options = OPTIONS | {"no_cpython_wrapper": True, "pipeline_class": InnerCompiler} | options
    return numba.njit(**options)(function)


def anything(args):
    """Accepts all values."""
    return True


def several_rows(args):
    """Whether there is more than one row of the first array to share out."""
    return args[0].shape[0] > 1


def kernel(signature, cost, accepts=anything, divides=anything, options=None, parts=()):
    """Makes a `Kernel` of a loop nest over plain arrays: first the arrays of the signature, then options.

    `cost` is about the nanoseconds of arithmetic on one core for each byte of an array that would have every axis of
    the signature; small work runs serially, and so does what `divides` says cannot be shared out. `accepts` looks at
    values where shapes are not all that has to fit; `options` are the kinds of the options, bool if it is not given.
    The loop nest itself takes one more argument, the number of threads to cut its work for, and cuts no sum by it. One
    that calls `parts` returns which of them, counted from 1, it needs and is not linked, before it touches anything,
    and 0 when all is done.
    """

    def decorate(loops):
        names = loops.__code__.co_varnames[: loops.__code__.co_argcount]
        option_names = names[len(signature.inputs + signature.outputs) : -1]
        types_of = partial(_types, signature, options or [bool for _ in option_names])
        with_arguments = partial(_with_arguments, len(names))
        inner = _inner(loops)
        accepted, divided = (numba.njit(inline="always")(function) for function in (accepts, divides))
        in_parallel = cached(loops, loops, "parallel", parallel=_PARALLEL, no_cpython_wrapper=True)
        parallel = Part(in_parallel, types_of, types.int64 if parts else types.none)
        absent_parallel, absent_threads = ABSENT + len(parts), ABSENT + len(parts) + 1
        links = (*(part.link for part in (*parts, parallel)), lambda dtype: start_threads())

        @numba.njit(inline="always")
        def run(args):
            volume = fits(signature, args)
            if volume < 0 or not accepted(args):
                return MISFIT
            work = volume * (cost * args[0].itemsize) + total_bytes(signature, args) * _TRAFFIC
            from_python = args[-1] == FROM_PYTHON
            large = from_python and work > least_parallel_work()
            if large and divided(args):
                threads = free_threads()
                if threads < 0:
                    return absent_threads
                if threads > 1:
                    if absent(parallel, args[0]):
                        return absent_parallel
                    if pays_for_waking(work) and take_region():
                        absent_part = call_in_region(parallel, (*args[:-1], threads))
                        return ABSENT + absent_part - 1 if absent_part else DONE
            absent_part = call_serially(inner, (*args[:-1], 1), from_python and work > _RELEASED_WORK, large)
            return ABSENT + absent_part - 1 if absent_part else DONE

        entry = cached(with_arguments(run), loops, "entry")
        entry.py_func.signature = signature
        return Kernel(loops, signature, option_names, types_of, parts, links, entry, parallel.dispatcher)

    return decorate


class Kernel(dict):
    """What Python calls, by dtype: `kernel[dtype](*arguments)` runs the loop nest, or raises an error and has touched
    nothing.

    The arguments are those of the loop nest but the last. All arrays are plain: C-contiguous (or, where the signature
    says so, matrices by columns), aligned, native, of this dtype (int64 for integers), outputs writeable; for leading
    axes `...` there may be any number. An optional input that is missing is None; an output that is None is made, and
    an optional one that is False is left out. Returned is the output, or the tuple of outputs.
    """

    __eq__ = object.__eq__
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __init__(self, loops, signature, options, types_of, parts, links, entry, parallel):
        self.signature, self.options, self.types, self.parts = signature, options, types_of, parts
        self.dispatchers = {"parallel": parallel, "entry": entry}
        self._links = links
        self.__module__, self.__name__, self.__doc__ = loops.__module__, loops.__name__, loops.__doc__

    def __missing__(self, dtype):
        return self

    def __call__(self, *args):
        """The same of the dtype of the first array; what is not compiled or linked yet is."""
        dtype = args[0].dtype
        if dtype not in self:
            self._compile(args)
        while True:
            try:
                return self[dtype](*args)
            except RefusedError as error:
                (status,) = error.args
                if status < ABSENT:
                    raise
            self._links[status - ABSENT](dtype)

    def _compile(self, args):
        dtype = args[0].dtype
        right = [
            array is None or array is False or array.dtype == (_INTEGERS if operand.integer else dtype)
            for operand, array in zip(self.signature.inputs + self.signature.outputs, args, strict=False)
        ]
        if dtype not in DTYPES or not all(right):
            raise RefusedError(NOT_PLAIN)
        entry, argtypes = self.dispatchers["entry"], self.types(getattr(types, dtype.name))
        entry.compile(argtypes)
        self[dtype] = entry.overloads[argtypes].entry_point


def _with_arguments(count, function):
    """A function of a tuple as one of `count` arguments, which is how an entry is called."""
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


def _types(signature, options, dtype):
    """What a binary takes, for Numba's type of the elements."""
    operands = signature.inputs + signature.outputs
    kinds = [(types.int64 if o.integer else dtype, "A" if o.by_columns else "C") for o in operands]
    arrays = [types.Array(kind, len(o.axes), order) for o, (kind, order) in zip(operands, kinds, strict=True)]
    return (*arrays, *(argument_type(kind, dtype) for kind in options), types.int64)
