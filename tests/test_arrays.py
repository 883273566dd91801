"""Arrays within kernels: parts of them, and memory of their own."""

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys
from problems import DTYPES

from fastgrad.kernels import _arrays
from fastgrad.kernels._arrays import as_rows, borrowed, flag, flat, give_back, some_rows

ON_STACK = 2**14  # bytes


@pytest.mark.parametrize("dtype", DTYPES)
def test_parts_of_arrays_are_views(dtype):
    @numba.njit
    def double(A, start, stop):
        part = some_rows(A, start, stop)
        vector = flat(part)
        for i in range(vector.size):
            vector[i] *= 2
        return part.shape, as_rows(flat(A), 2, 5).sum()

    A = np.arange(12, dtype=dtype).reshape(4, 3)
    expected = A.copy()
    expected[1:3] *= 2
    shape, total = double(A, 1, 3)
    assert shape == (2, 3)
    np.testing.assert_array_equal(A, expected)
    assert total == A.ravel()[:10].sum()


def test_some_rows_of_vectors_end_with_them():
    @numba.njit
    def part(vector, start, stop):
        return some_rows(vector, start, stop).copy()

    vector = np.arange(5.0)
    for start, stop in ((0, 5), (1, 9), (5, 7), (7, 9), (2, 2)):
        np.testing.assert_array_equal(part(vector, start, stop), vector[start:stop])


@pytest.mark.parametrize(("like", "itemsize"), [(np.ones(1, np.float32), 4), (np.ones(1), 8), (np.int64, 8)])
def test_borrowed_memory_is_ones_own(like, itemsize):
    """Below, at and beyond what is on the stack and what is kept, three at a time, again and again."""

    @numba.njit
    def work(size, times):
        wrong = 0
        for _ in range(times):
            one, two, three = borrowed(like, size), borrowed(like, 2 * size), borrowed(like, size)
            for i in range(size):
                one[i], two[i], two[size + i], three[i] = i, 2 * i, -i, 3 * i
            for i in range(size):
                wrong += one[i] != i or two[i] != 2 * i or two[size + i] != -i or three[i] != 3 * i
            wrong += one.size != size or two.size != 2 * size
            for vector in (one, two, three):
                wrong += vector.ctypes.data % 64 != 0
                give_back(vector)
        return wrong

    for size in (0, 1, ON_STACK // itemsize, ON_STACK // itemsize + 1, ON_STACK, 2**23 // itemsize, 2**24 // itemsize):
        assert work(size, 3) == 0


def test_borrowed_memory_is_used_again_and_bounded():
    """Numba counts what it allocates and frees: of two blocks at a time, nothing new after the first time."""
    for slot in _arrays._kept:  # what other tests have left there is nobody's now
        slot.value = 0

    @numba.njit
    def work(size):
        one, other = borrowed(np.float64, size), borrowed(np.float64, size)
        one[0], other[0] = 1, 2
        give_back(one)
        give_back(other)

    def allocated(size, times):
        _nrt_python.memsys_enable_stats()
        try:
            before = rtsys.get_allocation_stats()
            for _ in range(times):
                work(size)
            after = rtsys.get_allocation_stats()
        finally:
            _nrt_python.memsys_disable_stats()
        return after.alloc - before.alloc, after.free - before.free

    work(2**17)
    assert allocated(2**17, 5) == (0, 0)
    assert allocated(2**16, 5) == (0, 0)  # less fits
    assert allocated(2**18, 5) == (2, 2)  # more takes the place of what was kept
    assert allocated(2**22, 5) == (10, 12)  # 32 MiB are not kept


def test_threads_never_have_the_same_memory():
    @numba.njit(nogil=True)
    def work(number, times):
        wrong = 0
        for _ in range(times):
            mine = borrowed(np.float64, 5000)
            for i in range(mine.size):
                mine[i] = number
            for i in range(mine.size):
                wrong += mine[i] != number
            give_back(mine)
        return wrong

    work(0, 1)
    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(work, range(8), [200] * 8))


def test_a_flag_is_no_literal():
    @numba.njit
    def negated(value):
        return not value

    @numba.njit
    def both():
        return negated(flag(True)), negated(flag(False))

    assert both() == (False, True)
    assert len(negated.signatures) == 1
