"""Work without the GIL: other Python threads go on meanwhile, and errors arrive with it."""

import threading

import numba
import numpy as np
import pytest

import fastgrad as fg
from fastgrad.kernels._region import call_serially


@numba.njit
def recur(x, times):
    """A tenth of a second that nothing can shorten."""
    if x.size == 0:
        raise ValueError("nothing to start from")
    for _ in range(times):
        x[0] = x[0] * 0.999 + 1


@numba.njit
def released(x, times, release):
    call_serially(recur, (x, times), release, False)


def test_another_thread_goes_on_meanwhile():
    x = np.zeros(1)
    released(x, 1, True)  # compiled
    worker = threading.Thread(target=released, args=(x, 50_000_000, True))
    worker.start()
    steps = 0
    while worker.is_alive():
        steps += 1
    assert steps > 1000
    assert abs(x[0] - 1000) < 1e-6


@pytest.mark.parametrize("release", [True, False])
def test_an_error_is_raised_with_the_lock(release):
    for _ in range(3):
        with pytest.raises(ValueError, match="nothing to start from"):
            released(np.zeros(0), 1, release)


@pytest.mark.parametrize("size", [8, 64, 300])
def test_threads_that_call_at_once(size):
    """Work that keeps the lock, releases it, and is large: right results from each thread."""
    rng = np.random.default_rng(size)
    problems = [rng.standard_normal((3, size, size)) for _ in range(4)]
    expected = [fg.affine_vjp(*problem) for problem in problems]
    wrong = []

    def work(problem, right):
        for _ in range(20):
            wrong.extend(not np.array_equal(*pair) for pair in zip(fg.affine_vjp(*problem), right, strict=True))

    threads = [threading.Thread(target=work, args=each) for each in zip(problems, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 4 * 20 * 3
    assert not any(wrong)
