"""Public functions in a user's own prange: what becomes of results, and of errors, in threads that are Numba's."""

import os

import pytest
from subprocesses import PACKAGE, run
from test_processes import every_layer

USER = """
import numba, numpy as np, fastgrad as fg

@numba.njit(parallel=True, cache=True)
def layer(X, W, target, loss, gradients):
    for i in numba.prange(len(X)):
        loss[i], _ = fg.linear_cross_entropy_value_and_grad(
            X[i], W, None, target[i], out=(gradients[0][i], gradients[1][i], gradients[2][i])
        )

@numba.njit(parallel=True, cache=True)
def affine(X, W, wrong, Y):
    for i in numba.prange(len(X)):
        fg.affine(X[i], W[:, int(i == wrong):], None, Y[i])
"""

# A process that waits for ever ends with the stacks of its threads.
START = """
import faulthandler
faulthandler.dump_traceback_later(200, exit=True)
import numpy as np, fastgrad as fg, user
rng = np.random.default_rng(0)
X, W, target = rng.standard_normal((40, 60, 50)), rng.standard_normal((400, 50)), rng.integers(0, 400, (40, 60))
"""


@pytest.fixture
def call(tmp_path):
    """Runs code beside the user's module in a process of its own; the module's machine code is saved."""
    (tmp_path / "user.py").write_text(USER)
    path = os.pathsep.join([str(tmp_path), str(PACKAGE.parent)])
    return lambda code, **environment: run(START + code, tmp_path, PYTHONPATH=path, **environment)


@every_layer
def test_results_in_every_thread(call, layer):
    """Of linear cross-entropy, compiled now and loaded from the cache. Work that is parallel elsewhere is serial there:
    workqueue ends a process with a parallel region within another."""
    code = """
loss, gradients = np.zeros(40), (np.zeros((40, 60, 50)), np.zeros((40, 400, 50)), np.zeros((40, 400)))
user.layer(X, W, target, loss, gradients)
expected = [fg.linear_cross_entropy_value_and_grad(x, W, None, t) for x, t in zip(X, target)]
right = np.array_equal(loss, [loss for loss, _ in expected]) and all(
    np.array_equal(got, [each[place] for _, each in expected]) for place, got in enumerate(gradients)
)
print(right, sum(user.layer.stats.cache_hits.values()))
"""
    for hits in (0, 1):
        environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
        assert call(code, **environment) == f"True {hits}"


ERRORS = """
import warnings
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    Y = np.full((40, 60, 400), np.nan)
    try:
        user.affine(X, W, WRONG, Y)
        print("nothing", end=" ")
    except SystemError as error:
        print(type(error.__cause__).__name__, error.__cause__, end=" ")
print(*[warning.message for warning in told], np.isnan(Y).all((1, 2)).sum(), sum(user.affine.stats.cache_hits.values()))
"""
MESSAGE = "affine: W has shape (400, 49) but beside X of shape (60, 50) it needs (m, 50)"


def test_an_error_is_the_cause_of_numbas(call):
    """In the calling thread, compiled now and loaded from the cache."""
    environment = {"NUMBA_THREADING_LAYER": "omp", "NUMBA_NUM_THREADS": "1"}
    for hits in (0, 1):
        assert call(ERRORS.replace("WRONG", "39"), **environment) == f"ValueError {MESSAGE} 1 {hits}"


@every_layer
def test_an_error_that_numba_loses_is_a_warning(call, layer):
    """In another thread there is nobody to raise it: once Numba hands it on, README has to say so."""
    environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
    for hits in (0, 1):
        answer = call(ERRORS.replace("WRONG", "39"), **environment)
        assert answer == f"nothing {MESSAGE} (in a prange, where Numba loses the error) 1 {hits}"
