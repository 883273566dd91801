"""Each thread of a region on a core of its own, as far as there are any.

Linux wakes a thread where it slept last, or where the one runs that wakes it, if other cores look busy: threads of
OpenBLAS look for work for 30 ms after each product. Then both threads of a region share a core and take turns, so that
neither ever looks like one too many, and none is moved: 512 × 512 products were as slow as serial ones, and 100 × 700 ×
10 three times as slow, for seconds.
"""

import ctypes
import sys

from llvmlite import ir
from numba.core import cgutils

from ._vec import I32, I64, call_named

_MOST = 1024  # cores that a mask has room for
_FUNCTIONS = "sched_getcpu", "sched_getaffinity", "sched_setaffinity", "pthread_self"
KNOWN = sys.platform == "linux" and all(hasattr(ctypes.CDLL(None), name) for name in _FUNCTIONS)


def core(builder):
    """The number of the core that runs this."""
    return builder.sext(call_named(builder, "sched_getcpu", I32, []), I64)


def thread(builder):
    """What tells this thread from others."""
    return call_named(builder, "pthread_self", I64, [])


def leave(builder, number):
    """Moves this thread to another core than the one of this number, of those that it may use: where it may not be, it
    moves at once; then it may again. If there is no other, the system refuses, and nothing changes."""
    words = ir.ArrayType(I64, _MOST // 64)
    mask, size = cgutils.alloca_once_value(builder, ir.Constant(words, None)), I64(_MOST // 8)
    itself, known = I32(0), builder.icmp_unsigned("<", number, I64(_MOST))
    place = cgutils.gep_inbounds(builder, mask, 0, builder.select(known, builder.lshr(number, I64(6)), I64(0)))
    failed = call_named(builder, "sched_getaffinity", I32, [itself, size, mask])
    with builder.if_then(builder.and_(known, builder.icmp_signed("==", failed, I32(0)))):
        before = builder.load(place)
        bit = builder.shl(I64(1), builder.and_(number, I64(63)))
        for allowed in (builder.and_(before, builder.not_(bit)), before):
            builder.store(allowed, place)
            call_named(builder, "sched_setaffinity", I32, [itself, size, mask])
