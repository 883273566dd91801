"""Memory: nothing outside of the arrays is touched, addresses have 64 bits, and nothing is left behind."""

import ctypes
import mmap

import inside_njit
import numba
import numpy as np
import pytest
from problems import DTYPES, assert_same_bits
from reproducibility import arguments, as_list, large_problems, small_problems
from subprocesses import run
from test_rules import as_given, every_function

import fastgrad as fg
from fastgrad.kernels import _across, _loads, _simd, _tile, _tile_loads

# --- nothing outside of the arrays -----------------------------------------------------------------------------------


def guarded(array, at_end):
    """A copy that begins or ends beside memory which ends the process when it is read or written."""
    page = mmap.PAGESIZE
    inside = -(-array.nbytes // page) * page
    memory = mmap.mmap(-1, inside + 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for guard in (start, start + page + inside):
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0
    offset = page + (inside - array.nbytes if at_end else 0)
    copy = np.frombuffer(memory, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.parametrize("dtype", DTYPES)
@every_function
def test_nothing_before_and_behind_an_array(function, dtype):
    problems = [p for p in small_problems(function, dtype) if max(a.size for a in p.values()) < 20_000]
    if function.name != "affine_jacobian":  # few rows beside whole vectors that do not fill the last panel
        problems += 2 * [arguments(function, dtype, 10, {"d": 80, "m": 80, "k": 80})]
    for place, problem in enumerate([*problems, *large_problems(function, dtype)]):
        expected = function.call(fg, problem)
        inputs = {name: guarded(array, at_end=place % 2) for name, array in problem.items()}
        options = {}
        if function.has_out:
            outs = function.outs(as_list(expected))
            options["out"] = as_given([guarded(array, at_end=place % 2) for array in outs])
        assert_same_bits(tuple(as_list(function.call(fg, inputs, **options))), tuple(as_list(expected)))


# --- 64 bits ---------------------------------------------------------------------------------------------------------

FAR = 2**32 + 64  # bytes from one row to the next
MANY = 2**31 + 9  # elements; pages that are only read take no memory


def far_apart(array, step):
    """A copy whose two elements along the first axis lie farther apart than 32 bits reach, forwards or backwards."""
    rest = array.strides[1:]
    memory = np.zeros((FAR + array.nbytes) // array.itemsize, array.dtype)
    copy = np.lib.stride_tricks.as_strided(memory, array.shape, (FAR, *rest))[::step]
    copy[...] = array
    return copy


@pytest.mark.parametrize("module", [fg, inside_njit], ids=["python", "njit"])
@pytest.mark.parametrize("step", [1, -1])
@every_function
def test_strides_beyond_32_bits(function, step, module):
    given = arguments(function, np.float32, 2, {"d": 3, "m": 2, "k": 2})
    expected = function.call(fg, given)
    far, options = {name: far_apart(array, step) for name, array in given.items()}, {}
    if function.has_out:
        options["out"] = as_given([far_apart(array, step) for array in function.outs(as_list(expected))])
    assert_same_bits(tuple(as_list(function.call(module, far, **options))), tuple(as_list(expected)))


def test_more_elements_than_32_bits_count():
    """What stands behind 2³¹ elements of 0, along rows and along columns."""
    x = np.zeros(MANY, np.float32)
    x[-1] = 40
    row, column = x[None], x[:, None]
    assert fg.affine(row, row) == 1600
    assert fg.affine_db(column) == 40
    assert fg.logsumexp(x) == 40
    assert fg.cross_entropy(x, np.array(MANY - 1)) < 1e-7
    assert fg.cross_entropy(x, np.array(MANY - 2)) == 40


@numba.njit
def _write_far(array, row, column):
    _loads.store(array, (row, column), _simd.splat(array, 1.0))
    tile = _tile.tile_zeros(array, SMALL_TILE)
    _tile_loads.tile_store(tile, array, row * array.shape[1] + column + 1, 1)
    return _across.lane_sum(_loads.load(array, (row, column)))


SMALL_TILE = _tile.TileShape(1, 1)


def test_vectors_are_written_beyond_32_bits():
    array = np.zeros((2, MANY), np.float32)
    assert _write_far(array, 1, MANY - 32) == 1
    (found,) = np.nonzero(array[1, -64:])
    assert found.tolist() == [32]


# --- nothing is left behind ------------------------------------------------------------------------------------------

PEAK = """
    import resource, sys, numba, numpy as np, fastgrad as fg
    from fastgrad._functions import FUNCTIONS
    sys.path.append("tests")
    import inside_njit

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
"""


def test_a_million_calls_leave_nothing_behind():
    """Calls that go straight to the kernel, calls that do not, calls inside @njit, and calls that raise: 1 MiB more
    would be one byte for each."""
    code = """
    from functools import partial

    def repeat(count, call):
        for _ in range(count):
            call()

    def wrong(function, given):
        try:
            function.call(fg, given, out=[1.0])
        except (TypeError, ValueError):
            pass

    def calls(count):
        for function in FUNCTIONS.values():
            given = function.arguments(np.random.default_rng(0), np.float64, (2,), d=3, m=2, k=4)
            strided = {name: array.repeat(2, 0)[::2] for name, array in given.items()}
            repeat(count, function.call(make, given))
            repeat(count // 20, function.call(make, strided))
            if function.has_out:
                repeat(count // 20, partial(wrong, function, given))
        S, target = np.ones((3, 4)), np.zeros(3, np.int64)
        repeat(count, partial(inside_njit.affine_vjp, S[:, ::2], S, S[::2]))
        repeat(count, partial(inside_njit.cross_entropy_value_and_grad, S, target))

    class make:
        def __getattr__(self, name):
            return partial(partial, getattr(fg, name))

    make = make()
    calls(200)
    before = peak()
    calls(1_000_000 // len(FUNCTIONS))
    print(peak() - before < 2**20)
    """
    assert run(PEAK + code) == "True"


def test_workspaces_are_bounded():
    """Beside inputs and outputs, once everything is loaded: 16 MiB at most, whatever the work is."""
    code = """
    for dtype in (np.float32, np.float64):
        more = []
        for size in (256, 512, 1024, 2048):
            dY, X, W, dX, dW = np.ones((5, size, size), dtype)
            out = dX, dW, np.empty(size, dtype)
            before = peak()
            fg.affine_vjp(dY, X, W, out=out)
            more.append(peak() - before)
        print(sum(more[1:]) < 16 * 2**20)
    """
    assert run(PEAK + code).split() == ["True", "True"]
