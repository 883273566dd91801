"""In real programs: many threads, every way to start a process, settings of the host, and Ctrl-C."""

import importlib.util
import inspect
import os

import pytest
from subprocesses import PACKAGE, run

every_layer = pytest.mark.parametrize(
    "layer", ["omp", "workqueue", *(["tbb"] if importlib.util.find_spec("tbb") else [])]
)

# Work of every kind, some of it large enough for the parallel binaries under any layer; what is right is known from one
# thread, before any other is there.
WORK = """
import os, threading
import numba, numpy as np, fastgrad as fg
rng = np.random.default_rng(0)
A, B, S = rng.standard_normal((300, 300)), rng.standard_normal((8, 8)), rng.standard_normal((2000, 300))

def work():
    return [fg.affine(A, A), fg.affine(B, B), fg.softmax(S), *fg.affine_vjp(A, A, A), fg.affine_db(A)]

def right():
    return all(np.array_equal(one, other) for one, other in zip(work(), expected, strict=True))

numba.set_num_threads(1)
expected = work()
numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
"""


def run_beside_work(code, tmp_path, **environment):
    """What a program prints that has WORK as a module, so that processes can import it."""
    (tmp_path / "program.py").write_text(WORK)
    path = os.pathsep.join([str(tmp_path), str(PACKAGE.parent)])
    environment = {"NUMBA_NUM_THREADS": "2", "PYTHONWARNINGS": "ignore::DeprecationWarning"} | environment
    code = f"from program import *\n{inspect.cleandoc(code)}"
    return run(code, tmp_path, PYTHONPATH=path, **environment)


@every_layer
def test_any_number_of_python_threads(layer, tmp_path):
    code = """
        answers = []
        threads = [threading.Thread(target=lambda: answers.extend(right() for _ in range(4))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(numba.threading_layer(), len(answers), all(answers))
    """
    assert run_beside_work(code, tmp_path, NUMBA_THREADING_LAYER=layer) == f"{layer} 32 True"


def test_the_gil_is_released(tmp_path):
    """While one thread is inside a call, another one counts."""
    code = """
        large, inside, counts = rng.standard_normal((1200, 1200)), [], []

        def long_call():
            inside.append(True)
            fg.affine(large, large)
            inside.clear()

        for _ in range(5):
            thread, count = threading.Thread(target=long_call), 0
            thread.start()
            while thread.is_alive():
                count += bool(inside)
            counts.append(count)
        print(max(counts) > 1000)
    """
    assert run_beside_work(code, tmp_path, NUMBA_NUM_THREADS="1") == "True"


@every_layer
def test_a_forked_child_works(layer, tmp_path):
    code = """
        print(right())
        child = os.fork()
        if child == 0:
            os._exit(0 if right() else 1)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), right())
    """
    assert run_beside_work(code, tmp_path, NUMBA_THREADING_LAYER=layer).split() == ["True", "0", "True"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver", "loky"])
def test_a_pool_after_a_parallel_call(method, tmp_path):
    code = """
        print(right())
        import multiprocessing, joblib, program
        if METHOD == "loky":
            answers = joblib.Parallel(2, "loky")(joblib.delayed(program.right)() for _ in range(4))
        else:
            with multiprocessing.get_context(METHOD).Pool(2) as pool:
                answers = pool.starmap(program.right, [()] * 4)
        print(all(answers), right())
    """
    assert run_beside_work(code.replace("METHOD", repr(method)), tmp_path).split() == ["True", "True", "True"]


@pytest.mark.parametrize(
    ("environment", "looks"),
    [({}, "4000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "passive"}, "0")],
)
def test_how_long_threads_wait_is_the_users(environment, looks):
    """GNU OpenMP tells what it was told; afterwards the environment is as it was."""
    code = f"""
        import os
        os.dup2(1, 2)  # where OpenMP tells
        for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
            os.environ.pop(name, None)
        os.environ.update({environment})
        before = dict(os.environ)
        import fastgrad, numba
        numba.set_num_threads(1)
        from numba.np.ufunc.omppool import openmp_vendor
        print("\\n", openmp_vendor, dict(os.environ) == before)
    """
    told = run(code, NUMBA_THREADING_LAYER="omp", OMP_DISPLAY_ENV="verbose")
    assert told.endswith(" True")
    assert f"GOMP_SPINCOUNT = '{looks}'" in told or not told.endswith("GNU True")


KERNEL = """
import numba, numpy as np
from fastgrad.kernels._jit import kernel
from fastgrad.kernels._region import state
from fastgrad.kernels._signature import Signature

@kernel(Signature("X(n) -> Y(n)"), cost=1e9)
def told(X, Y, threads):
    if X[0] < 0:
        raise MemoryError
    for i in numba.prange(Y.size):
        Y[i] = threads
"""


def test_the_number_of_threads_is_the_users(tmp_path):
    """Numba's own number is what a parallel binary is told, and one thread is no parallel region."""
    code = """
        Y = np.zeros(3)
        for threads in (3, 2, 1, 3):
            numba.set_num_threads(threads)
            print(told(np.zeros(3), Y) is Y, Y, len(told.dispatchers["parallel"].signatures))
    """
    answer = run(KERNEL + inspect.cleandoc(code), NUMBA_CACHE_DIR=str(tmp_path), NUMBA_NUM_THREADS="3")
    lines = [f"True [{threads}. {threads}. {threads}.] 1" for threads in (3, 2, 1, 3)]
    assert answer.splitlines() == lines


def test_without_a_compiler_importing_says_why():
    code = """
        try:
            import fastgrad
        except ImportError as error:
            print(error)
    """
    assert "unset NUMBA_DISABLE_JIT" in run(code, NUMBA_DISABLE_JIT="1")


@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_parallel_is_compiled_for_one_thread(threads, tmp_path):
    """Whether that is a setting of the process, or of Numba's in it."""
    code = """
        numba.set_num_threads(1)
        print(told(np.zeros(3), Y := np.zeros(3)) is Y, Y, len(told.dispatchers["parallel"].signatures))
    """
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": str(threads)}
    assert run(KERNEL + inspect.cleandoc(code), **environment) == "True [1. 1. 1.] 0"


def test_no_setting_of_the_process_is_touched(tmp_path):
    """By importing, nor by any kind of call; and under limits that the host sets on its thread pools it works."""
    code = """
        import signal, threadpoolctl
        def settings():
            found = {n: v for n, v in vars(numba.config).items() if n.isupper()}
            handlers = [signal.getsignal(s) for s in signal.valid_signals()]
            return found, dict(os.environ), np.geterr(), numba.get_num_threads(), handlers
        before = settings()
        with threadpoolctl.threadpool_limits(1):
            print(right())
        print(right(), settings() == before)
    """
    before = """
        import os, numba, numpy as np
        before = {n: v for n, v in vars(numba.config).items() if n.isupper()}, dict(os.environ), np.geterr()
        import fastgrad
        after = {n: v for n, v in vars(numba.config).items() if n.isupper()}, dict(os.environ), np.geterr()
        print(before == after)
    """
    assert run(before) == "True"
    assert run_beside_work(code, tmp_path).split() == ["True", "True", "True"]


@every_layer
def test_control_c_during_long_calls_leaves_the_process_healthy(layer, tmp_path):
    code = """
        import signal, time
        from fastgrad.kernels._region import state
        large, interrupted = rng.standard_normal((1000, 1000)), 0
        for attempt in range(5):
            timer = threading.Timer(0.05 + 0.01 * attempt, signal.raise_signal, [signal.SIGINT])
            timer.start()
            try:
                while True:
                    fg.affine(large, large)
            except KeyboardInterrupt:
                interrupted += 1
        print(interrupted, right(), state.taken, state.serial_calls)
    """
    assert run_beside_work(code, tmp_path, NUMBA_THREADING_LAYER=layer) == "5 True 0 0"


def test_a_call_that_fails_leaves_the_parallel_region_free(tmp_path):
    """In a region, in a serial call of large work, and in a region again."""
    code = """
        for threads in (2, 1, 2):
            numba.set_num_threads(threads)
            try:
                told(np.array([-1.0, 0.0]), np.zeros(2))
            except MemoryError:
                print(told(np.zeros(2), Y := np.zeros(2)) is Y, Y, state.taken, state.serial_calls)
    """
    answer = run(KERNEL + inspect.cleandoc(code), NUMBA_CACHE_DIR=str(tmp_path), NUMBA_NUM_THREADS="2")
    assert answer.splitlines() == [f"True [{threads}. {threads}.] 0 0" for threads in (2, 1, 2)]


@pytest.mark.parametrize("threads", [1, 2])
def test_without_memory_for_a_workspace_nothing_is_written(threads, tmp_path):
    """Along the first axis, rows are turned into some 15 MiB."""
    code = """
        import resource
        S, Y = np.zeros((40000, 32)), np.full((40000, 32), 7.0)
        for function in (fg.softmax, fg.log_softmax):
            function(S[:5000], axis=0)  # compiles, and starts the threads
        mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + 2**22,) * 2)
        for function in (fg.softmax, fg.log_softmax):
            try:
                function(S, axis=0, out=Y)
            except MemoryError:
                print((Y == 7).all())
    """
    assert run_beside_work(code, tmp_path, NUMBA_NUM_THREADS=str(threads)).split() == ["True", "True"]
