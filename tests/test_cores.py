"""Threads of a region leave the core of its caller."""

import ctypes
import os
import threading

import numba
import numpy as np
import pytest
from regions import changed
from subprocesses import run

from fastgrad import affine
from fastgrad.kernels import _cores
from fastgrad.kernels._region import settled, state

pytestmark = pytest.mark.skipif(not _cores.KNOWN, reason="only Linux tells on which core a thread is")
_NOBODY, _ATTEMPTS = 1, 20  # the system itself may move a thread, but not so often


@numba.njit
def settle(piece):
    return settled(piece)


@pytest.fixture
def core():
    """A function that tells on which core it is called."""
    settle(0)
    return ctypes.CDLL(None).sched_getcpu


def _moved(core, caller):
    """For each attempt, whether the thread was elsewhere once it had looked where the caller is."""
    moves = []
    for _ in range(_ATTEMPTS):
        before = core()
        with changed(caller=caller, callers_core=before):
            settle(0)
        moves.append(core() != before)
    return moves


def test_another_thread_leaves_the_callers_core(core):
    allowed = os.sched_getaffinity(0)
    assert any(_moved(core, _NOBODY)) == (len(allowed) > 1)
    assert os.sched_getaffinity(0) == allowed


def test_the_caller_stays(core):
    assert not all(_moved(core, threading.get_ident()))


def test_without_a_region_nobody_moves():
    affine(np.ones((300, 300)), np.ones((300, 300)))  # large enough for one
    assert state.callers_core == -1
    assert settle(7) == 7


def test_who_may_use_one_core_stays(core):
    allowed = os.sched_getaffinity(0)
    one = {min(allowed)}
    os.sched_setaffinity(0, one)
    try:
        assert not any(_moved(core, _NOBODY))
        assert os.sched_getaffinity(0) == one
    finally:
        os.sched_setaffinity(0, allowed)


def test_pieces_are_numbers_with_a_sign():
    @numba.njit
    def one_before(piece):
        return settled(numba.uint64(piece)) - 1

    assert repr(one_before(0)) == "-1"


@pytest.mark.parametrize("more", [0, 1])
def test_a_region_tells_where_its_caller_is_if_there_are_cores_enough(more):
    """Where there are more threads, they would crowd on all cores but the caller's."""
    code = """
        import threading
        import numba
        import numpy as np
        from fastgrad import affine
        from fastgrad.kernels._region import state
        numba.set_num_threads(2)
        A, told = np.ones((700, 700)), False
        affine(A, A)
        caller = threading.Thread(target=lambda: [affine(A, A) for _ in range(20)])
        caller.start()
        while caller.is_alive():
            told = told or state.callers_core >= 0
        print(state.ask_threads is not None, state.cores_enough, told, state.callers_core)
    """
    threads = max(len(os.sched_getaffinity(0)), 2) + more
    enough = threads <= len(os.sched_getaffinity(0))
    answer = run(code, NUMBA_NUM_THREADS=str(threads))
    assert answer == f"True {int(enough)} {enough} -1"
