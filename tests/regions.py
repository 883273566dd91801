"""Which calls are large enough for a parallel region, seen from outside."""

import ctypes
from contextlib import contextmanager

from fastgrad.kernels._region import LARGE_WORK, start_threads, state

_ASK = ctypes.CFUNCTYPE(ctypes.c_int)


@contextmanager
def large_calls():
    """A list that grows with each call that is large enough; what is does not depend on the threading layer, and one
    core asks, too."""
    start_threads()
    before, numbas, calls = state.least_work, state.ask_threads, []
    ask = _ASK(numbas)
    counted = _ASK(lambda: (calls.append(True), ask())[1])
    state.least_work, state.ask_threads = LARGE_WORK, ctypes.cast(counted, ctypes.c_void_p).value
    try:
        yield calls
    finally:
        state.least_work, state.ask_threads = before, numbas


@contextmanager
def no_region():
    """Every call is serial."""
    before, state.least_work = state.least_work, float("inf")
    try:
        yield
    finally:
        state.least_work = before
