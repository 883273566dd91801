"""What the machine can do at most: multiply-adds a second, and bytes copied a second for working sets of many sizes."""

import math
import time
from dataclasses import asdict, dataclass

import numba
import numpy as np

from .._functions import DTYPES
from ..kernels._loads import load, store
from ..kernels._simd import fma, splat
from ..kernels._vec import cpu_features

_COUNT, _REPEATS, _LEAST_SECONDS = 2_000_000, 9, 0.05
_SIZES = [2**k for k in range(16, 29)]  # bytes read and written
_MANY_REGISTERS = "avx512f" in cpu_features()  # 32 for as many vectors; elsewhere a vector takes two or four


@dataclass(frozen=True)
class Limits:
    """`peak` by dtype in flop/s; `copy` as pairs of a working set in bytes and a rate in bytes/s."""

    threads: int
    peak: dict
    copy: list

    def bandwidth(self, nbytes):
        """Bytes a second at a working set of this size: a small problem lives in the caches."""
        sizes, rates = zip(*self.copy, strict=True)
        return float(np.interp(math.log(max(nbytes, 1)), np.log(sizes), rates))

    def seconds(self, dtype, flops, nbytes):
        """The least time for so many flops and bytes: each case is bound by the one or the other."""
        return max(flops / self.peak[np.dtype(dtype).name], nbytes / self.bandwidth(nbytes))

    def or_higher(self, others):
        """The higher ones: a measurement comes out too low where other programs, or its own threads, share a core."""
        return Limits(
            self.threads,
            {dtype: max(peak, others.peak[dtype]) for dtype, peak in self.peak.items()},
            [(size, max(rate, other)) for (size, rate), (_, other) in zip(self.copy, others.copy, strict=True)],
        )

    def as_json(self):
        return asdict(self)


def measure():
    """The limits for as many threads as Numba has; takes a few seconds."""
    return Limits(
        numba.get_num_threads(),
        {dtype: _peak(dtype) for dtype in DTYPES},
        [(size, _copy_rate(size)) for size in _SIZES],
    )


@numba.njit(nogil=True)
def _multiply_adds(like, count):
    """Chains of `count` multiply-adds, as many as there are registers for, so that none waits for another."""
    x, y = splat(like, 0.999), splat(like, 0.001)
    a = b = c = d = e = f = g = h = i = j = k = m = y
    for _ in range(count):
        a, b, c, d, e, f = fma(a, x, y), fma(b, x, y), fma(c, x, y), fma(d, x, y), fma(e, x, y), fma(f, x, y)
        if _MANY_REGISTERS:
            g, h, i, j, k, m = fma(g, x, y), fma(h, x, y), fma(i, x, y), fma(j, x, y), fma(k, x, y), fma(m, x, y)
    store(like, 0, a + b + c + d + e + f + g + h + i + j + k + m)


@numba.njit(parallel=True)
def _on_every_thread(rooms, count):
    for thread in numba.prange(rooms.shape[0]):
        _multiply_adds(rooms[np.intp(thread)], count)


def _peak(dtype):
    rooms = np.zeros((numba.get_num_threads(), 64), dtype)
    _on_every_thread(rooms, 1)
    flops = 2 * (12 if _MANY_REGISTERS else 6) * (64 // rooms.itemsize) * _COUNT * len(rooms)
    return flops / min(_timed(lambda: _on_every_thread(rooms, _COUNT)))


@numba.njit(nogil=True)
def _copy(source, target, times):
    for _ in range(times):
        for i in range(0, source.size, 64):
            store(target, i, load(source, i))
            store(target, i + 16, load(source, i + 16))
            store(target, i + 32, load(source, i + 32))
            store(target, i + 48, load(source, i + 48))


@numba.njit(parallel=True)
def _copy_by_parts(source, target, times):
    for part in numba.prange(source.shape[0]):
        _copy(source[np.intp(part)], target[np.intp(part)], times)


def _copy_rate(nbytes):
    """Of one thread or of all, whichever is faster."""
    times = max(1, int(2e6 / nbytes))
    seconds = []
    for copy, parts in ((_copy, 1), (_copy_by_parts, numba.get_num_threads())):
        source, target = (_aligned(parts, nbytes // 8 // parts // 64 * 64) for _ in range(2))
        if copy is _copy:
            source, target = source[0], target[0]
        copy(source, target, 1)
        best = min(_timed(lambda c=copy, s=source, t=target: c(s, t, times)))
        seconds.append(best / (2 * source.nbytes * times))
    return 1 / min(seconds)


def _aligned(parts, size):
    """So many arrays of float32 that begin at a line of the cache: what lies over two of them takes longer."""
    room = np.ones(parts * size + 16, np.float32)
    start = -(room.ctypes.data // room.itemsize) % 16
    return room[start : start + parts * size].reshape(parts, size)


def _timed(call):
    """The seconds of several calls. Where threads wake up on one CPU, the system takes milliseconds to part them."""
    seconds, end = [], time.perf_counter() + _LEAST_SECONDS
    while len(seconds) < _REPEATS or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds
