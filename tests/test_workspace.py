"""What the memory of a workspace held before takes part in no arithmetic.

It would change no bit of what is returned, but bits of addresses and of small integers are subnormal numbers, and with
these some CPUs take a hundred times as long. Tests fill that memory with NaN that signal: arithmetic says so.
"""

import ctypes
import ctypes.util
from functools import partial

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from problems import DTYPES, dtypes, long_sizes
from reproducibility import arguments, as_list, small_problems
from test_rules import as_given, every_function

import fastgrad as fg
from fastgrad._functions import FUNCTIONS
from fastgrad.kernels._arrays import borrowed, give_back, separate

ON_STACK, IN_BLOCK = 2**15, 2**18  # int64 that are filled: what most workspaces here take
SIGNALS = {np.float32: 0x7FA000007FA00000, np.float64: 0x7FF4000000000000}  # NaN that signal, as int64
INVALID = 1  # the flag of the C library for x86 and ARM

libm = ctypes.CDLL(ctypes.util.find_library("m"))


@intrinsic
def _fill_below(typingctx, value):
    """Fills the stack below the frame of the function that it stands in with an int64."""

    def codegen(context, builder, sig, args):
        memory = builder.alloca(args[0].type, ir.Constant(args[0].type, ON_STACK))
        with cgutils.for_range(builder, ir.Constant(args[0].type, ON_STACK)) as loop:
            builder.store(args[0], builder.gep(memory, [loop.index]))
        return builder.load(memory)

    return types.int64(types.int64), codegen


@numba.njit
def fill_stack(value):
    return _fill_below(value)


@numba.njit
def fill_blocks(value):
    one, other = borrowed(np.int64, IN_BLOCK), borrowed(np.int64, IN_BLOCK)
    one[:], other[:] = value, value
    give_back(one)
    give_back(other)


def fill(value):
    """Fills what the next kernel takes for its workspaces with an int64. The stack last, and by a function that has no
    workspace on it."""
    fill_blocks(value)
    fill_stack(value)


@numba.njit
def _ends(array):
    separate()  # else LLVM would know that nothing was written there
    return array[0], array[-1]


@numba.njit
def held(size):
    """What a workspace of so many int64 holds at its start and its end."""
    workspace = borrowed(np.int64, size)
    ends = _ends(workspace)
    give_back(workspace)
    return ends


def is_invalid(before, call):
    """Whether the arithmetic of a call says that an operand is invalid, if the memory of workspaces held this before"""
    fill(before)
    libm.feclearexcept(INVALID)
    call()
    return bool(libm.fetestexcept(INVALID))


def assert_unused(function, dtype, problem):
    for accumulate in (False, True) if function.has_accumulate else (False,):
        options = {"out": as_given(as_list(function.call(fg, problem))), "accumulate": True} if accumulate else {}
        call = partial(function.call, fg, problem, **options)
        assert is_invalid(SIGNALS[dtype], call) <= is_invalid(0, call)


@pytest.mark.parametrize("size", [1, 2000, 2049, IN_BLOCK])
def test_workspaces_hold_what_was_there(size):
    """On the stack, up to 2048, but for the last few, which Python needs meanwhile; and in a block."""
    held(size)
    for value in (0, *SIGNALS.values()):
        fill(value)
        assert held(size) == (value, value)


def test_signals_are_seen():
    x = np.ones(3)
    assert not is_invalid(0, lambda: fg.relu(x))
    x.view(np.int64)[:] = SIGNALS[np.float64]
    assert is_invalid(0, lambda: fg.sigmoid(x))


@pytest.mark.parametrize("dtype", DTYPES)
@every_function
def test_nothing_is_made_of_what_was_there(function, dtype):
    for problem in small_problems(function, dtype):
        assert_unused(function, dtype, problem)


@given(
    function=st.sampled_from([f for f in FUNCTIONS.values() if f.has_accumulate and f.family == "affine"]),
    dtype=dtypes,
    rows=long_sizes(),
    sizes=st.tuples(long_sizes(), long_sizes()),
)
def test_nothing_is_made_of_what_was_there_in_products(function, dtype, rows, sizes):
    d, m = sizes
    if rows * d * m < 10**7:
        assert_unused(function, dtype, arguments(function, dtype, rows, {"d": d, "m": m}))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_is_made_of_what_was_there_in_the_last_columns(dtype):
    """Of a product of nine to twelve rows, with blocks of terms to add."""
    for function, rows, d, m in (("affine_dx", 11, 105, 448), ("affine_dw", 448, 105, 11), ("affine_dw", 300, 72, 9)):
        assert_unused(FUNCTIONS[function], dtype, arguments(FUNCTIONS[function], dtype, rows, {"d": d, "m": m}))
