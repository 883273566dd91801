"""How compiled code calls a loop nest: without Python's lock, the GIL, where that pays, and as a parallel region, of
which there is one at a time.

To ask in Python who may be parallel would take a microsecond. A second region at the same time aborts the process under
workqueue, and under OpenMP its threads would fight for the cores. Whoever finds the region taken works on serially, and
takes a core from the next: two Python threads on two cores each keep theirs, which takes two thirds of the time.
"""

import ctypes
import math
import os
from contextlib import contextmanager

import llvmlite.binding
import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import signature
from numba.extending import intrinsic
from numba.np.ufunc import parallel as numba_threads

from ._vec import I64

# Nanoseconds of work that pay for a region, which takes 2 µs where its threads wait for it, as they do for some
# milliseconds after the last one, up to 5 where cores share no cache, and 20 to 40 where threads fell asleep; and what
# pays for one under workqueue.
LARGE_WORK, _LARGE_WORK_OF_WORKQUEUE = 12_000.0, 1_000_000.0


class _State(ctypes.Structure):
    """What all regions have in common: the least work that pays for one, infinite where only one thread can work;
    Numba's function that tells the number of threads, none before they are started; whether there is a region now, and
    how many Python threads are in a serial call though the work is large."""

    _fields_ = (
        ("least_work", ctypes.c_double),
        ("ask_threads", ctypes.c_void_p),
        ("taken", ctypes.c_int64),
        ("serial_calls", ctypes.c_int64),
    )


_LLVM: dict = {ctypes.c_double: ir.DoubleType(), ctypes.c_void_p: cgutils.voidptr_t, ctypes.c_int64: I64}

_ONE_THREAD = numba.config.NUMBA_NUM_THREADS == 1  # type: ignore[attr-defined]
state = _State(least_work=math.inf if _ONE_THREAD else LARGE_WORK)
llvmlite.binding.add_symbol(f"{__name__}.state", ctypes.addressof(state))


def start_threads():
    """Numba's; this tells the threading layer."""
    numba.get_num_threads()
    if numba.threading_layer() == "workqueue":
        state.least_work = _LARGE_WORK_OF_WORKQUEUE
    state.ask_threads = ctypes.cast(numba_threads._get_num_threads, ctypes.c_void_p)


def _after_fork_in_child():
    """A child has none of the parent's threads, and GNU OpenMP would abort it: it works serially."""
    state.taken = state.serial_calls = 0
    if numba_threads._is_initialized:
        state.least_work = math.inf


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _field(context, builder, name):
    """Where a field of the state is."""
    names, kinds = zip(*_State._fields_, strict=True)
    whole = context.get_c_value(builder, ir.LiteralStructType([_LLVM[kind] for kind in kinds]), f"{__name__}.state")
    return cgutils.gep_inbounds(builder, whole, 0, names.index(name))


@intrinsic
def least_parallel_work(typingctx):
    """The nanoseconds on one core from which on a region pays."""
    return types.float64(), lambda context, builder, sig, args: builder.load(_field(context, builder, "least_work"))


@intrinsic
def free_threads(typingctx):
    """How many threads a region would have: Numba's, but for the cores of serial calls. -1: they are not started."""

    def codegen(context, builder, sig, args):
        ask = builder.load(_field(context, builder, "ask_threads"))
        free = cgutils.alloca_once_value(builder, I64(-1))
        with builder.if_then(cgutils.is_not_null(builder, ask), likely=True):
            threads = builder.call(builder.bitcast(ask, ir.FunctionType(ir.IntType(32), []).as_pointer()), [])
            serial = builder.load(_field(context, builder, "serial_calls"))
            left = builder.sub(builder.sext(threads, I64), serial)
            builder.store(builder.select(builder.icmp_signed(">", left, I64(0)), left, I64(0)), free)
        return builder.load(free)

    return types.int64(), codegen


@intrinsic
def take_region(typingctx):
    """Whether the region was free; it is taken now."""

    def codegen(context, builder, sig, args):
        taken = builder.atomic_rmw("xchg", _field(context, builder, "taken"), I64(1), "acq_rel")
        return builder.icmp_signed("==", taken, I64(0))

    return types.boolean(), codegen


@intrinsic
def call_in_region(typingctx, part, args):
    """part(*args) without the GIL, in the region that was taken, and is free again after it."""

    def codegen(context, builder, sig, values):
        with _without_gil(context, builder, cgutils.true_bit):
            given = cgutils.unpack_tuple(builder, values[1])
            status = part.typing_key.call(context, builder, args.types, given)
            builder.store_atomic(I64(0), _field(context, builder, "taken"), "release", 8)
        return _raised(context, builder, status)

    return types.none(part, args), codegen


@intrinsic
def call_serially(typingctx, function, args, released, large):
    """function(*args), which returns nothing: without the GIL where `released` is true, and known to regions where it
    is `large`.

    Numba can release the lock around whatever a function does: that takes a twentieth of a small call, and makes Python
    threads that call at once wait for each other longer than if they took turns. Only large work is worth it.
    """
    dispatcher = function.dispatcher
    dispatcher.compile(args.types)

    def codegen(context, builder, sig, values):
        compiled = dispatcher.overloads[args.types]
        context.active_code_library.add_linking_library(compiled.library)
        calls = _field(context, builder, "serial_calls")
        with _without_gil(context, builder, values[2]):
            with builder.if_then(values[3], likely=False):
                builder.atomic_rmw("add", calls, I64(1), "acq_rel")
            given, of_call = cgutils.unpack_tuple(builder, values[1]), signature(types.none, *args.types)
            status, _ = context.call_internal_no_propagate(builder, compiled.fndesc, of_call, given)
            with builder.if_then(values[3], likely=False):
                builder.atomic_rmw("sub", calls, I64(1), "acq_rel")
        return _raised(context, builder, status)

    return types.none(function, args, types.boolean, types.boolean), codegen


@contextmanager
def _without_gil(context, builder, released):
    api = context.get_python_api(builder)
    state = cgutils.alloca_once(builder, cgutils.voidptr_t)
    with builder.if_then(released, likely=False):
        builder.store(api.save_thread(), state)
    yield
    with builder.if_then(released, likely=False):
        api.restore_thread(builder.load(state))


def _raised(context, builder, status):
    with cgutils.if_unlikely(builder, status.is_error):
        context.call_conv.return_status_propagate(builder, status)
    return context.get_dummy_value()
