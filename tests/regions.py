"""Which calls are large enough for a parallel region, seen from outside."""

import ctypes
from contextlib import contextmanager

from fastgrad.kernels._region import LARGE_WORK, WAKING_WORK, start_threads, state

_ASK = ctypes.CFUNCTYPE(ctypes.c_int)
_NEITHER = 2  # a region that is taken, as it is not 0, by nobody who asked, who would write 1


@contextmanager
def large_calls():
    """A list that grows with each call that is large enough; what is does not depend on the threading layer nor on what
    was called just before, and one core asks, too."""
    start_threads()
    before, calls = (state.least_work, state.waking_work, state.ask_threads), []
    ask = _ASK(state.ask_threads)
    counted = _ASK(lambda: (calls.append(True), ask())[1])
    state.least_work = state.waking_work = LARGE_WORK
    state.ask_threads = ctypes.cast(counted, ctypes.c_void_p).value
    try:
        yield calls
    finally:
        state.least_work, state.waking_work, state.ask_threads = before


@contextmanager
def asking():
    """A function that tells whether a call asks for a region when the last large work ended at some time, in
    nanoseconds; it gets none."""
    start_threads()
    fields = "least_work", "waking_work", "ask_threads", "taken"
    before, two = [getattr(state, field) for field in fields], _ASK(lambda: 2)
    state.least_work, state.waking_work = LARGE_WORK, WAKING_WORK
    state.ask_threads = ctypes.cast(two, ctypes.c_void_p).value

    def asks(call, ended):
        state.taken, state.ended = _NEITHER, ended
        call()
        return state.taken != _NEITHER

    try:
        yield asks
    finally:
        for field, value in zip(fields, before, strict=True):
            setattr(state, field, value)


@contextmanager
def no_region():
    """Every call is serial."""
    before, state.least_work = state.least_work, float("inf")
    try:
        yield
    finally:
        state.least_work = before
