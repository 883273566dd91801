"""One loop nest, two binaries: which runs, what is compiled, and that neither choice changes a bit."""

import gc
import threading
import time
from functools import partial

import numba
import numpy as np
import pytest
from problems import DTYPES, assert_same_bits
from regions import asking, large_calls, no_region
from subprocesses import run
from test_rules import as_tuple, every_function
from test_wrapper import refused

import fastgrad as fg
from fastgrad._functions import FUNCTIONS
from fastgrad._warmup import every_kernel
from fastgrad.kernels import _compiling, affine
from fastgrad.kernels._jit import Kernel
from fastgrad.kernels._region import state
from fastgrad.kernels._wrapper import MISFIT, NOT_PLAIN

KERNELS = [kernel for _, _, kernel in every_kernel() if isinstance(kernel, Kernel)]
OF_ROWS = [f for f in FUNCTIONS.values() if f.has_axis or f.family == "cross_entropy"]


@pytest.fixture
def large():
    with large_calls() as calls:
        yield calls


def results(function, dtype, rows):
    sizes = dict.fromkeys(function.sizes, 5 if function.name.endswith("jacobian") else 67)
    arguments = function.arguments(np.random.default_rng(0), dtype, (rows,), **sizes)
    return as_tuple(function.call(fg, arguments))


@every_function
@pytest.mark.parametrize("dtype", DTYPES)
def test_serial_and_parallel_have_the_same_bits(function, dtype, large):
    rows = 37
    while not large:
        rows *= 2
        results(function, dtype, rows)
    with no_region():
        serial = results(function, dtype, rows)
    before = numba.get_num_threads()
    for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
        numba.set_num_threads(threads)
        try:
            assert_same_bits(results(function, dtype, rows), serial)
        finally:
            numba.set_num_threads(before)


def test_work_decides(large):
    fg.affine_dw(*np.ones((2, 4096, 64)))
    large.clear()  # what is compiled first asks twice
    for rows in (2, 4, 8, 4096):
        fg.affine_dw(*np.ones((2, rows, 64)))
    assert len(large) == 1


@pytest.mark.parametrize(
    ("rows", "large", "pays_for_waking"), [(2, False, False), (100, True, False), (4096, True, True)]
)
def test_what_pays_for_waking_threads(rows, large, pays_for_waking):
    """Some work is shared out only where it follows other large work, as which it counts itself."""
    S, now = np.zeros((rows, 300)), partial(time.clock_gettime_ns, time.CLOCK_MONOTONIC)
    with asking() as asks:
        assert asks(lambda: fg.softmax(S), ended=0) == pays_for_waking
        assert asks(lambda: fg.softmax(S), ended=2**62) == large
        state.ended, before = 0, now()
        fg.softmax(S)
        assert (before <= state.ended <= now()) == large


@pytest.mark.parametrize("function", OF_ROWS, ids=lambda f: f.name)
def test_a_row_alone_is_not_shared_out(function, large):
    for rows in (2, 1):
        large.clear()
        function.call(fg, function.arguments(np.random.default_rng(0), np.float64, (rows,), k=10**5))
        assert bool(large) == (rows > 1)


def test_a_kernel_refuses_what_is_not_plain_and_compiles_nothing():
    X = np.ones((4, 4))
    affine.affine_db(X, np.empty(4), False)
    compiled = [len(d.signatures) for d in affine.affine_db.dispatchers.values()]
    for wrong in (X.T[:, :3], X[::-1], X.astype(int), X.astype(">f8"), X.astype(np.float16)):
        assert refused(affine.affine_db, wrong, np.empty(wrong.shape[-1]), False) == NOT_PLAIN
    assert refused(affine.affine_db, X, np.empty(5), False) == MISFIT
    assert refused(affine.affine_db, X, X[1], False) == MISFIT
    assert compiled == [len(d.signatures) for d in affine.affine_db.dispatchers.values()]


def plain(signature, changed=None):
    """Arrays for a kernel, each letter of a size of its own, but for one axis, (place of the array, place of the axis),
    that is one longer."""
    sizes = {}
    for place, operand in enumerate(signature.inputs + signature.outputs):
        known = [sizes.setdefault(letter, 3 + len(sizes)) for letter in operand.axes]
        shape = [size + (changed == (place, axis)) for axis, size in enumerate(known)]
        yield np.zeros(shape, np.int64 if operand.integer else np.float64)


@pytest.mark.parametrize("kernel", KERNELS, ids=[k.__name__ for k in KERNELS])
def test_a_kernel_refuses_arrays_that_do_not_fit_together(kernel):
    """Any size that stands twice, where one of the two is another; the arrays are untouched."""
    operands = kernel.signature.inputs + kernel.signature.outputs
    letters = [letter for operand in operands for letter in operand.axes]
    values = {numba.boolean: False, numba.int64: 1, numba.float64: 0.0, numba.float64[::1]: np.zeros(1)}
    options = [values[kind] for kind in kernel.types(numba.float64)[len(operands) : -1]]
    kernel(*plain(kernel.signature), *options)
    for place, operand in enumerate(operands):
        for axis, letter in enumerate(operand.axes):
            if letters.count(letter) > 1:
                arrays = list(plain(kernel.signature, (place, axis)))
                assert refused(kernel, *arrays, *options) in (MISFIT, NOT_PLAIN), (operand.name, letter)
                assert not any(array.any() for array in arrays)


def test_one_signature_a_dtype():
    """After all layouts and dtypes of the other tests, or after these few alone."""
    X = np.ones((4, 4))
    for array in (X, X.T, X.astype(int), X.astype(np.float16), X.tolist(), X.astype(np.float32)):
        fg.softmax(array)
        fg.affine(array, array)
    for kernel in KERNELS:
        for dispatcher in kernel.dispatchers.values():
            assert len(dispatcher.signatures) <= 2, (kernel.__name__, dispatcher.signatures)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(enabled):
    """After compiling, what compiles another kernel and what fails; meanwhile it is paused."""
    seen = []

    def compile_(depth):
        seen.append(gc.isenabled())
        if depth == 0:
            raise ZeroDivisionError
        paused(depth - 1)

    paused = _compiling.uncollected(compile_)
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError):
            paused(1)
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
    assert seen == [False, False]


def test_no_fast_math(tmp_path):
    """In the LLVM text of a fresh compilation: a cached one cannot be read."""
    code = """
        import numpy as np, fastgrad as fg
        from fastgrad.kernels import softmax
        fg.softmax(np.ones((2, 40)))
        print("\\n".join(softmax.softmax.dispatchers["entry"].inspect_llvm().values()))
    """
    text = run(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert " fmul <8 x double>" in text
    for flag in ("fast", "reassoc", "nnan", "ninf", "nsz", "arcp", "contract", "afn"):
        assert f" {flag} " not in text


def test_many_python_threads_at_once(large):
    """Whoever finds the parallel region taken works serially: right results, nobody waits for ever."""
    X = np.random.default_rng(0).standard_normal((120, 130))
    expected = fg.affine(X, X)
    large.clear()  # what is compiled first asks twice
    wrong = []

    def work():
        for _ in range(20):
            if not np.array_equal(fg.affine(X, X), expected):
                wrong.append(True)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(large) == 80


def test_more_serial_calls_than_threads(large):
    """Whoever comes then works serially at once, and does not ask again until a core is free."""
    X = np.random.default_rng(0).standard_normal((120, 130))
    expected = fg.affine(X, X)
    large.clear()
    state.serial_calls += numba.config.NUMBA_NUM_THREADS + 1
    try:
        assert np.array_equal(fg.affine(X, X), expected)
    finally:
        state.serial_calls -= numba.config.NUMBA_NUM_THREADS + 1
    assert len(large) == 1
    assert (state.taken, state.serial_calls) == (0, 0)


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_a_forked_child_works(layer):
    code = """
        import math, multiprocessing, numpy as np, fastgrad as fg
        from fastgrad.kernels._region import state
        X = np.random.default_rng(0).standard_normal((300, 301))
        expected = fg.affine(X, X)

        def child(_):
            return state.least_work == math.inf and np.array_equal(fg.affine(X, X), expected)

        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(state.least_work < math.inf and all(pool.map(child, range(4))))
    """
    numba_is_told = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
    assert run(code, PYTHONWARNINGS="ignore::DeprecationWarning", **numba_is_told) == "True"
