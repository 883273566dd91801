"""How compiled code calls a loop nest: without Python's lock, the GIL, where that pays, and as a parallel region, of
which there is one at a time.

To ask in Python who may be parallel would take a microsecond. A second region at the same time aborts the process under
workqueue, and under OpenMP its threads would fight for the cores. Whoever finds the region taken works on serially, and
takes a core from the next: two Python threads on two cores each keep theirs, which takes two thirds of the time.
"""

import ctypes
import math
import os
import sys
import time
from contextlib import contextmanager, suppress
from importlib import import_module

import llvmlite.binding
import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.ufunc import parallel as numba_threads

from . import _cores
from ._vec import I32, I64

# Nanoseconds of work that pay for a region, which takes 2 µs where its threads wait for it, up to 5 where cores share
# no cache; that pay for waking its threads, which takes some 25 µs; and what pays for one under workqueue.
LARGE_WORK, WAKING_WORK, _LARGE_WORK_OF_WORKQUEUE = 12_000.0, 80_000.0, 1_000_000.0
# Nanoseconds after large work in which more of it pays for a region, though the threads may sleep: where one such call
# follows another at once, more will.
_SOON = 50_000

# How often threads of GNU OpenMP look for work before they sleep, which is some 100 µs. Its own choice, 300 000, keeps
# cores from others for 8 ms after each region: a step of NumPy's products and fastgrad's activations would take three
# to five times as long. And where a thread is woken on the core of the one that waits for it, as happens in virtual
# machines, both would stand still for as long.
_LOOKS = "4000"
_OF_THE_USER = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"


class _State(ctypes.Structure):
    """What all regions have in common: the least work that pays for one, infinite where only one thread can work, and
    for waking its threads; the system's clock, none where it has another; when the last large work ended; Numba's
    function that tells the number of threads, none before they are started; whether there is a region now, and how many
    Python threads are in a serial call though the work is large; whether there are cores enough for each thread to have
    one; who asked for the region, and on which core, -1 while there is none, or if there are not."""

    _fields_ = (
        ("least_work", ctypes.c_double),
        ("waking_work", ctypes.c_double),
        ("clock", ctypes.c_void_p),
        ("ended", ctypes.c_int64),
        ("ask_threads", ctypes.c_void_p),
        ("taken", ctypes.c_int64),
        ("serial_calls", ctypes.c_int64),
        ("cores_enough", ctypes.c_int64),
        ("caller", ctypes.c_int64),
        ("callers_core", ctypes.c_int64),
    )


_LLVM: dict = {ctypes.c_double: ir.DoubleType(), ctypes.c_void_p: cgutils.voidptr_t, ctypes.c_int64: I64}

_THREADS = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
_MONOTONIC = getattr(time, "CLOCK_MONOTONIC", 0)
_CLOCK = getattr(ctypes.CDLL(None), "clock_gettime", None) if os.name == "posix" else None
state = _State(
    least_work=math.inf if _THREADS == 1 else LARGE_WORK,
    waking_work=WAKING_WORK if _CLOCK else 0.0,
    clock=ctypes.cast(_CLOCK, ctypes.c_void_p) if _CLOCK else None,
    callers_core=-1,
)
llvmlite.binding.add_symbol(f"{__name__}.state", ctypes.addressof(state))


def _load_openmp():
    """GNU OpenMP reads the environment once, when it is loaded, which a user's call of Numba would do, too. Whoever has
    set how long threads wait knows better."""
    if sys.platform != "linux" or any(name in os.environ for name in _OF_THE_USER):
        return
    os.environ["GOMP_SPINCOUNT"] = _LOOKS
    try:
        with suppress(ImportError):  # not there: then Numba has threads of another kind
            import_module("numba.np.ufunc.omppool")
    finally:
        del os.environ["GOMP_SPINCOUNT"]


_load_openmp()


def start_threads():
    """Numba's; this tells the threading layer."""
    numba.get_num_threads()
    if numba.threading_layer() == "workqueue":
        state.least_work = _LARGE_WORK_OF_WORKQUEUE
    state.cores_enough = _cores.KNOWN and len(os.sched_getaffinity(0)) >= _THREADS
    state.ask_threads = ctypes.cast(numba_threads._get_num_threads, ctypes.c_void_p)


def _after_fork_in_child():
    """A child has none of the parent's threads, and GNU OpenMP would abort it: it works serially."""
    state.taken = state.serial_calls = 0
    state.callers_core = -1
    if numba_threads._is_initialized:
        state.least_work = math.inf


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _now(context, builder):
    """The nanoseconds of the system's clock; 0 without one."""
    timespec = ir.LiteralStructType([I64, I64])
    room = cgutils.alloca_once_value(builder, ir.Constant(timespec, [0, 0]))
    clock = builder.load(_field(context, builder, "clock"))
    with builder.if_then(cgutils.is_not_null(builder, clock), likely=True):
        read = ir.FunctionType(I32, [I32, timespec.as_pointer()]).as_pointer()
        builder.call(builder.bitcast(clock, read), [I32(_MONOTONIC), room])
    seconds, nanoseconds = (builder.load(cgutils.gep_inbounds(builder, room, 0, i)) for i in range(2))
    return builder.add(builder.mul(seconds, I64(10**9)), nanoseconds)


def _end_large(context, builder):
    builder.store(_now(context, builder), _field(context, builder, "ended"))


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
def pays_for_waking(typingctx, work):
    """Whether so many nanoseconds on one core, or large work just before, pay for waking threads, should they sleep."""

    def codegen(context, builder, sig, args):
        least = builder.load(_field(context, builder, "waking_work"))
        pays = cgutils.alloca_once_value(builder, builder.fcmp_ordered(">", args[0], least))
        with builder.if_then(builder.not_(builder.load(pays))):
            passed = builder.sub(_now(context, builder), builder.load(_field(context, builder, "ended")))
            builder.store(builder.icmp_signed("<", passed, I64(_SOON)), pays)
        return builder.load(pays)

    return types.boolean(types.float64), codegen


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
    """part(*args) without the GIL, in the region that was taken, and is free again after it; 0 for nothing."""

    def codegen(context, builder, sig, values):
        with _without_gil(context, builder, cgutils.true_bit):
            given, core = cgutils.unpack_tuple(builder, values[1]), _field(context, builder, "callers_core")
            if _cores.KNOWN:
                enough = builder.trunc(builder.load(_field(context, builder, "cores_enough")), cgutils.bool_t)
                builder.store(_cores.thread(builder), _field(context, builder, "caller"))
                builder.store(builder.select(enough, _cores.core(builder), I64(-1)), core)
            status, result = part.typing_key.call(context, builder, args.types, given)
            builder.store(I64(-1), core)
            _end_large(context, builder)
            builder.store_atomic(I64(0), _field(context, builder, "taken"), "release", 8)
        return _returned(context, builder, status, part.typing_key.returns, result)

    return types.int64(part, args), codegen


@intrinsic
def settled(typingctx, piece):
    """The number of a piece of a loop of `prange`, which may be unsigned, as a signed one; who works on it, and is on
    the core of the caller, leaves that first."""

    def codegen(context, builder, sig, args):
        if _cores.KNOWN:
            callers = builder.load(_field(context, builder, "callers_core"))
            with (
                builder.if_then(builder.icmp_signed(">=", callers, I64(0)), likely=False),
                builder.if_then(builder.icmp_signed("==", callers, _cores.core(builder))),
            ):
                caller = builder.load(_field(context, builder, "caller"))
                with builder.if_then(builder.icmp_signed("!=", caller, _cores.thread(builder)), likely=False):
                    _cores.leave(builder, callers)
        return context.cast(builder, args[0], sig.args[0], types.intp)

    return types.intp(piece), codegen


@intrinsic
def call_serially(typingctx, function, args, released, large):
    """function(*args), 0 for nothing: without the GIL where `released` is true, and known to regions where it
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
            given = cgutils.unpack_tuple(builder, values[1])
            status, result = context.call_internal_no_propagate(builder, compiled.fndesc, compiled.signature, given)
            with builder.if_then(values[3], likely=False):
                builder.atomic_rmw("sub", calls, I64(1), "acq_rel")
                _end_large(context, builder)
        return _returned(context, builder, status, compiled.signature.return_type, result)

    return types.int64(function, args, types.boolean, types.boolean), codegen


@contextmanager
def _without_gil(context, builder, released):
    api = context.get_python_api(builder)
    state = cgutils.alloca_once(builder, cgutils.voidptr_t)
    with builder.if_then(released, likely=False):
        builder.store(api.save_thread(), state)
    yield
    with builder.if_then(released, likely=False):
        api.restore_thread(builder.load(state))


def _returned(context, builder, status, kind, result):
    with cgutils.if_unlikely(builder, status.is_error):
        context.call_conv.return_status_propagate(builder, status)
    return I64(0) if kind == types.none else result
