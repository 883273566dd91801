"""Matrix products in their workspace: right in every cut, and no write outside of what a task was given."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import DTYPES, assert_within, long_sizes, seeds, sizes, tolerance

from fastgrad.kernels._product import CACHE_WAY, PRODUCT_PARTS, plan, product
from fastgrad.kernels._thin import FEW_ROWS

_GUARD = 4096  # elements on either side


@numba.njit
def run(A, a_by_rows, B, b_by_rows, C, bias, accumulate, threads):
    """Every task of C (+)= A B + bias one after the other, each in the same workspace, which is returned with the
    guards around it and its size."""
    cuts = plan(C, A.shape[0] if a_by_rows else A.shape[1], threads)
    tasks, size = cuts[:2]
    work = np.full(size + 2 * _GUARD, C.dtype.type(7))
    for task in range(tasks):
        product(A, a_by_rows, B, b_by_rows, C, bias, accumulate, cuts, np.intp(task), work, np.intp(_GUARD))
    return work, size


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    # few rows beside whole tiles of others, and few alone; few columns, for which the transpose is computed
    shape=st.one_of(
        st.tuples(st.one_of(sizes(40), st.integers(8, 8 + FEW_ROWS)), long_sizes()),
        st.tuples(long_sizes(), st.integers(1, 9)),
        st.just((CACHE_WAY // 4, 200)),  # rows that are packed
    ),
    K=st.one_of(long_sizes(), st.just(CACHE_WAY // 4)),
    threads=st.integers(1, 4),
    a_by_rows=st.booleans(),
    b_by_rows=st.booleans(),
    with_bias=st.booleans(),
    accumulate=st.booleans(),
    seed=seeds,
)
def test_a_task_stays_in_its_workspace(dtype, shape, K, threads, a_by_rows, b_by_rows, with_bias, accumulate, seed):
    for part in PRODUCT_PARTS:
        part.link(dtype)
    rng = np.random.default_rng(seed)
    m, n = shape
    A, B = rng.standard_normal((m, K)).astype(dtype), rng.standard_normal((K, n)).astype(dtype)
    around_C = np.full(m * n + 2 * _GUARD, dtype(7))
    C = around_C[_GUARD : _GUARD + m * n].reshape(m, n)
    C[:] = rng.standard_normal((m, n))
    bias = rng.standard_normal(n if with_bias else 0).astype(dtype)
    shift = bias if with_bias else dtype(0)
    expected = A.astype(float) @ B.astype(float) + shift + (C if accumulate else 0)
    size_of_terms = abs(A).astype(float) @ abs(B).astype(float) + abs(shift) + (abs(C) if accumulate else 0)
    given_A = np.ascontiguousarray(A.T) if a_by_rows else A
    given_B = B if b_by_rows else np.ascontiguousarray(B.T)
    work, size = run(given_A, a_by_rows, given_B, b_by_rows, C, bias, accumulate, threads)
    assert (work[:_GUARD] == 7).all()
    assert (work[_GUARD + size :] == 7).all()
    assert (around_C[:_GUARD] == 7).all()
    assert (around_C[_GUARD + m * n :] == 7).all()
    assert_within(C, expected, tolerance(dtype, K) * size_of_terms)
