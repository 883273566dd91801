"""Which calls are large enough for a parallel region, seen from outside."""

import ctypes
from contextlib import contextmanager

from fastgrad.kernels._region import LARGE_WORK, WAKING_WORK, start_threads, state

_ASK = ctypes.CFUNCTYPE(ctypes.c_int)
_NEITHER = 2  # a region that is taken, as it is not 0, by nobody who asked, who would write 1


@contextmanager
def changed(**fields):
    """The state of all regions, with these fields changed for a while."""
    before = {name: getattr(state, name) for name in fields}
    for name, value in fields.items():
        setattr(state, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(state, name, value)


def _address(function):
    return ctypes.cast(function, ctypes.c_void_p).value


@contextmanager
def large_calls():
    """A list that grows with each call that is large enough; what is does not depend on the threading layer nor on what
    was called just before, and one core asks, too."""
    start_threads()
    ask, calls = _ASK(state.ask_threads), []
    counted = _ASK(lambda: (calls.append(True), ask())[1])
    with changed(least_work=LARGE_WORK, waking_work=LARGE_WORK, ask_threads=_address(counted)):
        yield calls


@contextmanager
def asking():
    """A function that tells whether a call asks for a region when the last large work ended at some time, in
    nanoseconds; it gets none."""
    start_threads()
    two = _ASK(lambda: 2)

    def asks(call, ended):
        state.taken, state.ended = _NEITHER, ended
        call()
        return state.taken != _NEITHER

    with changed(least_work=LARGE_WORK, waking_work=WAKING_WORK, ask_threads=_address(two), taken=_NEITHER):
        yield asks


def no_region():
    """Every call is serial."""
    return changed(least_work=float("inf"))
