"""Vectors and masks, one operation at a time, on both float types and a length that is no multiple of the lanes."""

import operator

import numba
import numpy as np
import pytest
from problems import DTYPES

from fastgrad.kernels import _across as across
from fastgrad.kernels import _loads as loads
from fastgrad.kernels import _scale as scaling
from fastgrad.kernels import _simd as simd
from fastgrad.kernels import _sums as sums
from fastgrad.kernels import _vec as vec

L = {np.float32: 16, np.float64: 8}


def on_vectors(function, arguments, count):
    """A compiled loop that applies `function` to vectors of `count` arrays and stores the result."""
    first, load, store, lanes = simd.first, loads.load_masked, loads.store_masked, simd.lanes
    splat = simd.splat

    @numba.njit(error_model="numpy")
    def one(x, result):
        for i in range(0, x.size, lanes(x)):
            inside = first(x, x.size - i)
            store(result, i, function(load(x, i, inside, splat(x, 1))), inside)

    @numba.njit(error_model="numpy")
    def two(x, y, result):
        for i in range(0, x.size, lanes(x)):
            inside = first(x, x.size - i)
            store(result, i, function(load(x, i, inside, splat(x, 1)), load(y, i, inside, splat(x, 1))), inside)

    @numba.njit(error_model="numpy")
    def three(x, y, z, result):
        for i in range(0, x.size, lanes(x)):
            inside = first(x, x.size - i)
            a, b = load(x, i, inside, splat(x, 1)), load(y, i, inside, splat(x, 1))
            store(result, i, function(a, b, load(z, i, inside, splat(x, 1))), inside)

    result = np.full(len(arguments[0]) + 3, 7, arguments[0].dtype)
    (one, two, three)[count - 1](*arguments, result[:-3])
    assert np.all(result[-3:] == 7)
    return result[:-3]


def values(dtype, seed=0, size=37):
    x = np.random.default_rng(seed).standard_normal(size).astype(dtype)
    x[3], x[5], x[7], x[9] = 0, np.inf, -np.inf, np.nan
    return x


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", [operator.add, operator.sub, operator.mul, operator.truediv])
def test_arithmetic(dtype, op):
    x, y = values(dtype), values(dtype, 1)[::-1].copy()
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(on_vectors(numba.njit(lambda a, b: op(a, b)), (x, y), 2), op(x, y))
        half = on_vectors(numba.njit(lambda a: op(op(0.5, a), 2)), (x,), 1)
        np.testing.assert_array_equal(half, op(op(dtype(0.5), x), dtype(2)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "op", [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne], ids=lambda op: op.__name__
)
def test_comparisons_and_select(dtype, op):
    x, y = values(dtype), values(dtype, 1)
    y[:12] = x[:12]
    select, splat = simd.select, simd.splat
    got = on_vectors(numba.njit(lambda a, b: select(op(a, b), splat(a, 1), splat(a, 0))), (x, y), 2)
    np.testing.assert_array_equal(got, op(x, y))
    both = on_vectors(
        numba.njit(lambda a, b: select(op(a, b) & (a > 0.0) | (b < -1.0), splat(a, 1), splat(a, 0))), (x, y), 2
    )
    np.testing.assert_array_equal(both, op(x, y) & (x > 0) | (y < -1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_fma_rounds_once(dtype):
    eps = np.finfo(dtype).eps
    x = np.full(20, 1 + eps, dtype)
    fma = simd.fma
    got = on_vectors(numba.njit(lambda a, b, c: fma(a, b, c)), (x, x, -(x * x)), 3)
    np.testing.assert_array_equal(got, eps * eps)  # (1 + ε)² − fl((1 + ε)²)


@pytest.mark.parametrize("dtype", DTYPES)
def test_lane_functions(dtype):
    x = np.array([0.5, 1.5, -0.5, -1.5, 2.5, 0.0, -3.7, 1e6], dtype)
    rint, absolute, maximum = simd.rint, simd.absolute, simd.maximum
    np.testing.assert_array_equal(on_vectors(numba.njit(lambda a: rint(a)), (x,), 1), np.rint(x))
    np.testing.assert_array_equal(on_vectors(numba.njit(lambda a: absolute(a)), (x,), 1), np.abs(x))
    np.testing.assert_array_equal(on_vectors(numba.njit(lambda a: -a), (x,), 1), -x)
    y = x[::-1].copy()
    np.testing.assert_array_equal(on_vectors(numba.njit(lambda a, b: maximum(a, b)), (x, y), 2), np.maximum(x, y))
    nan = np.full_like(x, np.nan)
    np.testing.assert_array_equal(on_vectors(numba.njit(lambda a, b: maximum(a, b)), (nan, x), 2), x)
    np.testing.assert_array_equal(on_vectors(numba.njit(lambda a, b: maximum(a, b)), (x, nan), 2), nan)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_and_integers(dtype):
    x = values(dtype)
    bits, from_bits, to_float, lane_numbers = simd.bits, simd.from_bits, simd.to_float, simd.lane_numbers
    np.testing.assert_array_equal(on_vectors(numba.njit(lambda a: from_bits(bits(a))), (x,), 1), x)
    got = on_vectors(numba.njit(lambda a: to_float(((lane_numbers(a) - 5 << 2) + 3) >> 1)), (x[: L[dtype]],), 1)
    np.testing.assert_array_equal(got, (((np.arange(L[dtype]) - 5) << 2) + 3) >> 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scale_is_ldexp(dtype):
    info = np.finfo(dtype)
    x = np.linspace(0.7, 1.42, 41).astype(dtype)
    scale, splat = scaling.scale, simd.splat
    edges = info.maxexp, info.maxexp - 1, info.minexp, info.minexp - 10, info.minexp - info.nmant - 3
    for k in (0, 1, -1, *edges, 2 * info.minexp, -2 * info.minexp):
        got = on_vectors(numba.njit(lambda a, k=k: scale(a, splat(a, k))), (x,), 1)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(got, np.ldexp(x, k))


@pytest.mark.parametrize("dtype", DTYPES)
def test_scale_down_is_ldexp(dtype):
    info = np.finfo(dtype)
    x = np.linspace(0.5, 2, 41)
    x = np.concatenate([x, -x, [0, np.nan]]).astype(dtype)
    scale_down, splat = scaling.scale_down, simd.splat
    edges = info.maxexp - 66, info.minexp, info.minexp - 10, info.minexp - info.nmant - 3, info.minexp - 64
    for k in (0, 1, -1, *edges):
        got = on_vectors(numba.njit(lambda a, k=k: scale_down(a, splat(a, k))), (x,), 1)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(got, np.ldexp(x, k))


@pytest.mark.parametrize("dtype", DTYPES)
def test_power_is_ldexp(dtype):
    info = np.finfo(dtype)
    k = np.arange(info.minexp, info.maxexp).astype(dtype)
    power = scaling.power
    got = on_vectors(numba.njit(lambda a: power(a)), (k,), 1)
    np.testing.assert_array_equal(got, np.ldexp(dtype(1), k.astype(int)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_horner(dtype):
    coefficients = vec.Constant((2.0, -1.0, 0.5), (3.0, 0.25, -4.0))
    x = values(dtype)[10:]
    horner = simd.horner
    a, b, c = (dtype(v) for v in coefficients.values[x.itemsize])
    got = on_vectors(numba.njit(lambda v: horner(v, coefficients)), (x,), 1)
    np.testing.assert_allclose(got, (a * x + b) * x + c, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_across_lanes(dtype):
    lane_sum, lane_max, lane, load = across.lane_sum, across.lane_max, across.lane, loads.load

    @numba.njit
    def run(x, result):
        v = load(x, 0)
        result[0], result[1], result[2] = lane_sum(v), lane_max(v), lane(v, 5)

    count = L[dtype]
    x, result = np.arange(count).astype(dtype), np.empty(3, dtype)
    x[::3] *= -1.7
    run(x, result)
    tree = x.copy()
    while len(tree) > 1:  # lane l with lane l + half
        half = len(tree) // 2
        tree = tree[:half] + tree[half:]
    np.testing.assert_array_equal(result, np.array([tree[0], x.max(), x[5]], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_masks_touch_no_other_lane(dtype):
    first, load_masked, store_masked, splat = simd.first, loads.load_masked, loads.store_masked, simd.splat

    @numba.njit
    def run(x, count, result):
        store_masked(result, (0, 1), load_masked(x, (0, 1), first(x, count), splat(x, -1)), first(x, count + 1))

    for count in (-1, 0, 1, L[dtype] - 1, L[dtype], L[dtype] + 1, 2**40):
        x = np.arange(2 * L[dtype], dtype=dtype).reshape(1, -1)
        result = np.full_like(x, 7)
        run(x, count, result)
        expected = np.full_like(x, 7)
        lanes = np.arange(L[dtype])
        expected[0, 1 : L[dtype] + 1] = np.where(
            lanes < count + 1, np.where(lanes < count, x[0, 1 : L[dtype] + 1], -1), 7
        )
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_pair_is_two_vectors(dtype):
    """Masks, integers, constants and the one operation that LLVM does not split, on both."""
    half = vec.Constant(0.5, 0.5)

    @numba.njit(error_model="numpy")
    def mixed(x):
        bits = simd.from_bits(simd.bits(x) + (simd.lane_numbers(x) - simd.lane_numbers(x)))
        return scaling.scale(simd.select(x > 0.0, simd.fma(x, x, simd.splat(x, half)), bits), simd.rint(x))

    @numba.njit(error_model="numpy")
    def in_pairs(x, result):
        for i in range(0, x.size, 2 * simd.lanes(x)):
            loads.store(result, i, mixed(loads.load_masked(x, i, vec.PAIR, simd.splat(x, 0))))

    x = values(dtype, size=8 * L[dtype])
    x[np.isinf(x)] = 1
    result = np.empty_like(x)
    in_pairs(x, result)
    np.testing.assert_array_equal(result, on_vectors(mixed, (x,), 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("count", "whole", "some"), [(1, 0, 1), (2, 1, 2), (4, 2, 4), (8, 0, 8), (8, 4, 8), (4, 2, 3), (8, 6, 7)]
)
def test_several_vectors_with_one_mask(dtype, count, whole, some):
    """No element behind the mask is read, written or kept; halves and a repeated vector have their lanes in order."""
    times = vec.Times(count, whole, some)
    first_of, load_masked, repeated, halves = simd.first_of, loads.load_masked, simd.repeated, across.halves
    store_masked, splat, load = loads.store_masked, simd.splat, loads.load

    @numba.njit
    def run(x, size, result):
        inside = first_of(times, x, size)
        store_masked(result, 0, load_masked(x, 0, inside, splat(x, -1)) + repeated(times, load(x, 0)), inside)

    @numba.njit
    def keep(x, size, result):
        all_of_x = load_masked(x, 0, times, splat(x, 0))
        store_masked(result, 0, simd.kept(all_of_x, first_of(times, x, size)), times)

    @numba.njit
    def exchange(x, result):
        one, other = halves(load_masked(x, 0, times, splat(x, -1)))
        store_masked(result, 0, other, None)
        store_masked(result, result.size // 2, one, None)

    lanes = count * L[dtype]
    most = some * L[dtype]
    for size in (whole * L[dtype], whole * L[dtype] + 1, most - 1, most, *([most + 5] if some == count else [])):
        x = np.arange(1, lanes + 1, dtype=dtype)
        result, expected = np.full(lanes + 3, 7, dtype), np.full(lanes + 3, 7, dtype)
        stop = min(size, lanes)
        run(x if size >= L[dtype] else np.resize(x, max(stop, L[dtype])), size, result)
        expected[:stop] = (x + np.tile(x[: L[dtype]], count))[:stop]
        np.testing.assert_array_equal(result, expected)
        keep(x, size, result)
        np.testing.assert_array_equal(result[:lanes], np.where(np.arange(lanes) < stop, x, 0))
    if count > 1:
        result = np.empty(lanes, dtype)
        exchange(x, result)
        np.testing.assert_array_equal(result, np.roll(x, lanes // 2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_first_true(dtype, count):
    times = vec.Times(count)
    first_true, load_masked, splat = across.first_true, loads.load_masked, simd.splat

    @numba.njit
    def run(x):
        return first_true(load_masked(x, 0, times, splat(x, 0)) > 0.0)

    lanes = count * L[dtype]
    assert run(np.zeros(lanes, dtype)) == lanes
    for place in range(lanes):
        x = np.zeros(lanes, dtype)
        x[place] = x[lanes - 1] = 1
        assert run(x) == place


SOME_VECTORS = [
    vec.Times(1),
    vec.Times(2, 1),
    vec.Times(4, 2, 3),
    vec.Times(8, 6, 7),
    vec.Times(16),
    vec.Times(32, 20, 24),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("times", SOME_VECTORS, ids=[f"{times.some} of {times.count}" for times in SOME_VECTORS])
def test_across_vectors(dtype, times):
    """Sums, products and the largest are lane by lane. What lies behind the vectors that may be more than empty counts
    in none."""

    @numba.njit
    def run(x, y, total, dot, top):
        a, b = loads.load_masked(x, 0, times, simd.splat(x, 0)), loads.load_masked(y, 0, times, simd.splat(y, 0))
        loads.store(total, 0, across.vector_sum(times, a))
        loads.store(dot, 0, across.vector_dot(times, a, b))
        loads.store(top, 0, across.vector_max(times, a))

    lanes = times.some * L[dtype]
    x, y = np.full((2, times.count * L[dtype]), 9, dtype)
    x[:lanes] = np.arange(lanes) % 7
    y[:lanes] = np.arange(lanes) % 5
    total, dot, top = np.empty((3, L[dtype]), dtype)
    run(x, y, total, dot, top)
    a, b = (each[:lanes].reshape(times.some, -1) for each in (x, y))
    assert np.array_equal(total, a.sum(0))
    assert np.array_equal(dot, (a * b).sum(0))
    assert np.array_equal(top, a.max(0))
    for place in range(lanes):
        x[:lanes] = 0
        x[place] = 1
        run(x, y, total, dot, top)
        assert np.array_equal(top, a.max(0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("times", SOME_VECTORS, ids=[f"{times.some} of {times.count}" for times in SOME_VECTORS])
def test_place_of_largest(dtype, times):
    """Found at every place, beside others that are less by more than the last nine bits, and among zeros."""

    @numba.njit
    def run(x):
        return across.place_of_largest(times, loads.load_masked(x, 0, times, simd.splat(x, 0)))

    lanes = times.some * L[dtype]
    for largest in (1, 0.3, np.finfo(dtype).tiny, np.finfo(dtype).max):
        for place in range(lanes):
            x = np.full(times.count * L[dtype], np.inf, dtype)
            x[:lanes] = dtype(largest) * (1 - 1200 * np.finfo(dtype).eps)
            x[place] = largest
            assert run(x) == place
            x[:lanes] = 0
            x[place] = largest
            assert run(x) == place


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_element_that_lanes_of_32_bits_cannot_count(dtype):
    @numba.njit
    def place(x, j, m):
        return across.first_true(sums.is_element(x, j, m))

    x = np.zeros(1, dtype)
    for far in (0, 2**31, 2**32, 2**40):
        assert [place(x, far, far + m) for m in range(L[dtype])] == list(range(L[dtype]))
        for m in (-1, L[dtype], 2**31, 2**32, 2**32 + 1, -(2**32)):
            assert place(x, far, far + m) == L[dtype]
