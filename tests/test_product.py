"""Matrix products in their workspace: right in every cut, and no write outside of what a task was given."""

from itertools import product as product_of

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import DTYPES, assert_same_bits, assert_within, long_sizes, seeds, sizes, tolerance

from fastgrad.kernels._by_rows import FEW_ROWS
from fastgrad.kernels._plan import WORKSPACE, plan
from fastgrad.kernels._product import PRODUCT_PARTS, product
from fastgrad.kernels._task import TALL, count_anew, rooms, workspaces
from fastgrad.kernels._thin import CACHE_WAY
from fastgrad.kernels._tile import SUMS

_GUARD = 4096  # elements on either side


@numba.njit
def run(A, a_by_rows, B, b_by_rows, sums, C, bias, accumulate, threads, backwards):
    """Every task of C (+)= A B + bias one after the other, in any order that workers may finish them in, each in the
    same workspace, which is returned with where guards begin: before and behind the room of a worker."""
    cuts = plan(C, A.shape[0] if a_by_rows else A.shape[1], sums, a_by_rows, b_by_rows, threads, WORKSPACE)
    size, start, _ = workspaces(rooms(cuts), 1, C)
    work = np.full(size + 2 * _GUARD, C.dtype.type(7))
    count_anew(work)
    at_once = cuts.slots if cuts.kind == TALL else cuts.tasks  # of a long sum, as many as there are slots for
    for first in range(0, cuts.tasks, max(at_once, 1)):
        stop = min(first + at_once, cuts.tasks)
        for place in range(first, stop):
            task = np.intp(stop - 1 - (place - first) if backwards else place)
            product(A, a_by_rows, B, b_by_rows, C, bias, accumulate, cuts, task, work, start + _GUARD)
    return work, start, start + _GUARD + cuts.own


@numba.njit
def bytes_of_workspace(C, K, sums, a_by_rows, b_by_rows, threads):
    cuts = plan(C, K, sums, a_by_rows, b_by_rows, threads, WORKSPACE)
    return workspaces(rooms(cuts), min(threads, cuts.tasks), C)[0] * C.itemsize


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2, 8, 24, 64])
def test_no_workspace_is_larger_than_it_may_be(dtype, threads):
    """Of any shape: long and narrow ones, too, whose totals and last rows are the whole of it."""
    rng, most = np.random.default_rng(threads), max(2**24, threads * 5 * 2**17)
    shapes = [(2, 60_000, 3000), (3, 40_000, 2000), (3, 21_000, 2000), (4, 30_000, 1500), (64, 2000, 2000)]
    shapes += [(9, 200_000, 300), (12, 300_000, 900)]  # of nine to twelve rows
    shapes += [tuple(np.exp2(rng.uniform(4, 12.5, 3)).astype(int)) for _ in range(300)]
    for m, n, K in shapes:
        for shape in ((m, n), (n, m)):
            for sums, a_by_rows, b_by_rows in product_of((1, SUMS), (False, True), (False, True)):
                C = np.empty(shape, dtype)
                assert bytes_of_workspace(C, K, sums, a_by_rows, b_by_rows, threads) <= most, (shape, K)


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    # few rows beside whole tiles of others, and few alone; few columns, for which the transpose is computed
    shape=st.one_of(
        st.tuples(st.one_of(sizes(40), st.integers(8, 8 + FEW_ROWS)), long_sizes()),
        st.tuples(long_sizes(), st.integers(1, 9)),
        st.tuples(st.integers(8, 13), st.integers(15, 52)),  # tiles that lie over one another
        st.just((CACHE_WAY // 4, 200)),  # rows that are packed
    ),
    K=st.one_of(long_sizes(), st.integers(0, 26), st.just(CACHE_WAY // 4), st.sampled_from([1025, 1300])),
    threads=st.integers(1, 4),
    a_by_rows=st.booleans(),
    b_by_rows=st.booleans(),
    sums=st.sampled_from([1, SUMS]),
    with_bias=st.booleans(),
    accumulate=st.booleans(),
    backwards=st.booleans(),
    seed=seeds,
)
def test_a_task_stays_in_its_workspace(
    dtype, shape, K, threads, a_by_rows, b_by_rows, sums, with_bias, accumulate, backwards, seed
):
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
    work, before, behind = run(given_A, a_by_rows, given_B, b_by_rows, sums, C, bias, accumulate, threads, backwards)
    assert (work[before : before + _GUARD] == 7).all()
    assert (work[behind:] == 7).all()
    assert (around_C[:_GUARD] == 7).all()
    assert (around_C[_GUARD + m * n :] == 7).all()
    assert_within(C, expected, tolerance(dtype, K) * size_of_terms)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("terms", [1, 2, 4, 5, 24])
def test_few_terms_have_the_same_bits_wherever_a_row_begins(dtype, terms):
    """At any place in a line of the cache, all rows at the same or each at its own, for one thread or two; each column
    has the bits that it has among a few. Where strips or rows lie over others, an old C is added once."""
    for part in PRODUCT_PARTS:
        part.link(dtype)
    rng = np.random.default_rng(terms)
    for columns in (256, 260, 511, 512, 1000):
        for rows in (1, 9, 70, 131):
            A, B = rng.standard_normal((rows, terms)).astype(dtype), rng.standard_normal((terms, columns)).astype(dtype)
            bias = rng.standard_normal(columns).astype(dtype)
            few = np.concatenate([_product(A, B[:, j : j + 20], bias[j : j + 20]) for j in range(0, columns, 20)], 1)
            for offset, threads in ((0, 2), (1, 1), (4, 1), (7, 2), (15, 2)):
                around_C = np.full(rows * columns + 2 * _GUARD, dtype(7))
                C = around_C[_GUARD + offset : _GUARD + offset + few.size].reshape(few.shape)
                run(A, False, B, True, 1, C, bias, False, threads, False)
                assert_same_bits(C, few)
                C[:] = old = rng.standard_normal(few.shape).astype(dtype)
                run(A, False, B, True, 1, C, bias, True, threads, False)
                assert_same_bits(C, old + few)
                assert (around_C[: _GUARD + offset] == 7).all()
                assert (around_C[_GUARD + offset + few.size :] == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 3, 6, 8, 9, 11, 12, 16, 40])
def test_few_rows_have_the_same_bits_wherever_a_factor_begins(dtype, rows):
    """At any place in a line of the cache, for one thread or two, and as columns, where the transpose is computed."""
    for part in PRODUCT_PARTS:
        part.link(dtype)
    rng = np.random.default_rng(rows)
    in_line = 64 // np.dtype(dtype).itemsize
    for terms, columns, sums in ((300, 39 * in_line, 1), (100, 66 * in_line, 1), (330, 39 * in_line, SUMS)):
        A, B = rng.standard_normal((rows, terms)).astype(dtype), rng.standard_normal((terms, columns)).astype(dtype)
        bias, nothing = rng.standard_normal(columns).astype(dtype), np.empty(0, dtype)
        other = np.ascontiguousarray(A.T)
        around_B, results = np.empty(B.size + 2 * in_line, dtype), []
        past = around_B.ctypes.data % 64 // np.dtype(dtype).itemsize
        for begin in range(in_line):
            place = (in_line - past) % in_line + begin
            moved = around_B[place : place + B.size].reshape(B.shape)
            moved[:] = B
            for threads in (1, 2):
                C, turned = np.ones((rows, columns), dtype), np.ones((columns, rows), dtype)
                work, before, behind = run(A, False, moved, True, sums, C, bias, True, threads, False)
                assert (work[before : before + _GUARD] == 7).all()
                assert (work[behind:] == 7).all()
                run(moved, True, other, True, sums, turned, nothing, False, threads, False)
                results.append((C, turned))
        for C, turned in results[1:]:
            assert_same_bits(C, results[0][0])
            assert_same_bits(turned, results[0][1])
        product_ = A.astype(float) @ B.astype(float)
        size_of_terms = abs(A).astype(float) @ abs(B).astype(float) + abs(bias) + 1
        assert_within(C, product_ + bias + 1, tolerance(dtype, terms) * size_of_terms)
        assert_within(turned, product_.T, tolerance(dtype, terms) * size_of_terms.T)


def _product(A, B, bias):
    C = np.empty((len(A), len(bias)), A.dtype)
    run(A, False, np.ascontiguousarray(B), True, 1, C, bias, False, 1, False)
    return C


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [9, 10, 11, 12])
@pytest.mark.parametrize("a_by_rows", [False, True])
def test_a_few_more_rows_than_a_tile_have_the_bits_that_each_has_alone(dtype, rows, a_by_rows):
    """In tiles of ten or twelve rows, for one thread and two; 1024 terms lie in rows that meet in the caches."""
    for part in PRODUCT_PARTS:
        part.link(dtype)
    rng = np.random.default_rng(rows)
    for columns, terms in ((49, 1024), (64, 300), (65, 1030), (97, 257), (113, 512), (300, 260)):
        B, nothing = rng.standard_normal((terms, columns)).astype(dtype), np.empty(0, dtype)
        A = rng.standard_normal((terms, rows) if a_by_rows else (rows, terms)).astype(dtype)
        together, alone = np.empty((rows, columns), dtype), np.empty((1, columns), dtype)
        for threads in (1, 2):
            work, before, behind = run(A, a_by_rows, B, True, 1, together, nothing, False, threads, threads > 1)
            assert (work[before : before + _GUARD] == 7).all()
            assert (work[behind:] == 7).all()
            for i in range(rows):
                row = A[:, i : i + 1] if a_by_rows else A[i : i + 1]
                run(np.ascontiguousarray(row), a_by_rows, B, True, 1, alone, nothing, False, 1, False)
                assert_same_bits(together[i], alone[0])


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    shape=st.one_of(
        st.tuples(sizes(64, least=1), sizes(least=1)),
        st.tuples(st.integers(1, 2), st.integers(1, 17)),  # of few elements, blocks are summed side by side
        st.tuples(st.integers(1, 17), st.integers(1, 2)),
        st.tuples(st.integers(1, 2), st.integers(1, 70)),  # of more, in tiles of two rows
    ),
    K=st.integers(1024, 12_000),
    threads=st.integers(2, 64),
    seed=seeds,
)
def test_blocks_of_a_long_sum_are_added_in_their_order(dtype, shape, K, threads, seed):
    """Whichever is finished first, by any number of threads; the same beside other rows, in other tiles."""
    for part in PRODUCT_PARTS:
        part.link(dtype)
    rng, (rows, columns) = np.random.default_rng(seed), shape
    A, B = rng.standard_normal((K, rows)).astype(dtype), rng.standard_normal((K, columns)).astype(dtype)
    one_by_one, backwards = np.empty((2, rows, columns), dtype)
    run(A, True, B, True, 1, one_by_one, B[0, :0], False, 1, False)
    run(A, True, B, True, 1, backwards, B[0, :0], False, threads, True)
    assert_same_bits(one_by_one, backwards)
    beside_others = np.empty((3 * rows, columns), dtype)
    run(np.tile(A, 3), True, B, True, 1, beside_others, B[0, :0], False, 1, False)
    assert_same_bits(beside_others[:rows], one_by_one)
    assert_within(one_by_one, A.T.astype(float) @ B.astype(float), tolerance(dtype, K) * (abs(A).T @ abs(B)))
