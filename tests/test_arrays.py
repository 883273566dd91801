"""Arrays within kernels: parts of them, and scratch memory on the stack and on the heap."""

import numba
import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys
from problems import DTYPES

from fastgrad.kernels._arrays import as_rows, flag, flat, scratch, some_rows

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
def test_scratch_is_ones_own_and_freed(like, itemsize):
    """Below, at and beyond what is on the stack, twice in one function and again and again in a loop."""

    @numba.njit
    def work(size, times):
        wrong = 0
        for _ in range(times):
            one, other = scratch(like, size), scratch(like, size)
            for i in range(size):
                one[i], other[i] = i, -i
            for i in range(size):
                wrong += one[i] != i or other[i] != -i
            wrong += one.size != size or one.ctypes.data % 64 != 0 or other.ctypes.data % 64 != 0
        return wrong

    for size in (0, 1, ON_STACK // itemsize, ON_STACK // itemsize + 1, ON_STACK):
        assert work(size, 2) == 0
        _nrt_python.memsys_enable_stats()
        try:
            before = rtsys.get_allocation_stats()
            work(size, 3)
            after = rtsys.get_allocation_stats()
        finally:
            _nrt_python.memsys_disable_stats()
        assert after.alloc - before.alloc == (6 if size * itemsize > ON_STACK else 0)
        assert after.free - before.free == after.alloc - before.alloc


def test_a_flag_is_no_literal():
    @numba.njit
    def negated(value):
        return not value

    @numba.njit
    def both():
        return negated(flag(True)), negated(flag(False))

    assert both() == (False, True)
    assert len(negated.signatures) == 1
