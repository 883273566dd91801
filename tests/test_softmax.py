"""The softmax family against wider arithmetic within the promised errors, the derivation's sums, and each other."""

import itertools

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import DTYPES, assert_same_bits, assert_within, classes, dtypes, leads, long_sizes, seeds, sizes
from regions import large_calls

import fastgrad as fg
from fastgrad import reference
from fastgrad._functions import FUNCTIONS

IN_PLACE = [f for f in FUNCTIONS.values() if f.has_axis and f.signature.inplace]


@st.composite
def logits(draw, count=None):
    """Logits of any shape and scale, some saturated, some with a common offset, some with ties."""
    dtype, rng = draw(dtypes), np.random.default_rng(draw(seeds))
    shape = (*draw(leads()), draw(long_sizes() if count is None else count))
    scale = draw(st.sampled_from([0.0, 1e-3, 1.0, 5.0, 20.0, 300.0]))
    offset = draw(st.sampled_from([0.0, -50.0, 1e3, 1e6]))
    S = offset + scale * rng.standard_normal(shape)
    if draw(st.booleans()):
        S = np.round(S)
    return S.astype(dtype)


def eps(array):
    return np.finfo(array.dtype).eps


def smallest(array):
    return float(np.finfo(array.dtype).smallest_subnormal)


def wide(*arrays):
    return [array.astype(np.longdouble) for array in arrays]


def unavoidable(S):
    """What rounding S_j − S_m to the dtype of S costs log-probabilities, whatever comes after: |S_i − S_m| eps and
    the mean of these over all classes."""
    (exact,) = wide(S)
    depth = np.abs(exact - reference._max(exact, -1))
    return eps(S) * (depth + (reference.softmax(exact) * depth).sum(-1, keepdims=True))


def spread(Y, dY):
    """Σ_j Y_j |dY_i − dY_j|: with Y_i before it, the size that the condition of the softmax gradient dictates."""
    return (Y[..., None, :] * np.abs(dY[..., :, None] - dY[..., None, :])).sum(-1)


@given(logits())
def test_softmax_is_within_4_eps(S):
    Y = fg.softmax(S)
    (exact,) = wide(S)
    expected = reference.softmax(exact)
    assert Y.dtype == S.dtype
    assert_within(Y, expected, (4 * eps(S) + unavoidable(S)) * expected + smallest(S))


@given(logits())
def test_log_softmax_and_logsumexp_are_within_4_eps(S):
    (exact,) = wide(S)
    expected = reference.log_softmax(exact)
    L = fg.log_softmax(S)
    assert L.dtype == S.dtype
    assert_within(L, expected, 4 * eps(S) * np.abs(expected) + unavoidable(S) + smallest(S))
    sums = fg.logsumexp(S)
    assert sums.dtype == S.dtype
    if S.shape[-1]:
        rest = reference.logsumexp(exact) - S.max(-1)
        bound = 4 * eps(S) * (np.abs(S.max(-1)) + rest) + unavoidable(S).min(-1) + smallest(S)
        assert_within(sums, reference.logsumexp(exact), bound)
    else:
        assert np.all(sums == -np.inf)


@given(logits(classes()), seeds)
def test_softmax_gradient_is_within_16_eps(S, seed):
    Y = fg.softmax(S)
    dY = np.random.default_rng(seed).standard_normal(S.shape).astype(S.dtype)
    bound = 16 * eps(S) * Y * spread(*wide(Y, dY)) + 4 * smallest(S)
    assert_within(fg.softmax_vjp(dY, Y), reference.softmax_vjp(*wide(dY, Y)), bound)
    assert_within(fg.softmax_jvp(dY, Y), reference.softmax_jvp(*wide(dY, Y)), bound)


@given(dtypes, seeds, st.sampled_from([1, 16, 33, 300, 500]), st.sampled_from([0.0, 1.0, 3.0, 20.0]))
def test_softmax_gradient_of_many_classes_whatever_the_first_entries(dtype, seed, more, scale):
    """Most rows of more than 14 vectors are not shifted by their entry at the largest class, but by a mean of the first
    ones: which may have no probability, or one of them be the largest, or stand out, or all be alike."""
    rng, few, k = np.random.default_rng(seed), 40, 14 * 64 // np.dtype(dtype).itemsize + more
    S, dY = scale * rng.standard_normal((6, k)), rng.standard_normal((6, k))
    S[1, :few] = -np.inf
    dY[1, few:] += 1e6
    dY[2, rng.integers(few)] = 1e6
    S[3, rng.integers(k)] += 60
    dY[4] = 1e6 + np.exp(3 * dY[4])
    dY[5] = dY[5, 0]
    Y, dY = fg.softmax(S.astype(dtype)), dY.astype(dtype)
    y, g = wide(Y, dY)
    g -= np.where(y.max(-1, keepdims=True) > 0.5, reference._at_largest(g, y, -1), np.median(g, -1, keepdims=True))
    expected = y * (g * y.sum(-1, keepdims=True) - (y * g).sum(-1, keepdims=True))
    dS = fg.softmax_vjp(dY, Y)
    assert_within(dS, expected, 16 * eps(Y) * y * spread(y, g) + 4 * smallest(Y))
    for i in range(6):
        assert_same_bits(fg.softmax_vjp(dY[i], Y[i]), dS[i])


@given(dtypes, classes(least=2), st.sampled_from([0.0, 1.0, 3.0]), st.sampled_from([0.0, 1.0, 1e4]), seeds)
def test_softmax_gradient_where_the_largest_class_alone_has_a_cotangent(dtype, k, scale, offset, seed):
    """As of a loss of that class: the others' gradients are Y_i Y_m, however little that is."""
    S = (scale * np.random.default_rng(seed).standard_normal(k)).astype(dtype)
    S[np.argmax(S)] += dtype(1e-3)
    dY = np.full(k, offset, dtype)
    dY[np.argmax(S)] += dtype(1)
    Y = fg.softmax(S)
    exact, wide_dY = wide(Y, dY)
    exact /= exact.sum()
    wide_dY -= wide_dY.min()
    expected = exact * (wide_dY - (exact * wide_dY).sum())
    bound = 16 * eps(S) * exact * spread(exact, wide_dY) + 4 * smallest(S)
    for function in (fg.softmax_vjp, fg.softmax_jvp):
        assert_within(function(dY, Y), expected, bound)


@given(logits(st.one_of(classes(), st.sampled_from([255, 257, 513]))), seeds)
def test_log_softmax_gradients_are_within_16_eps(S, seed):
    L = fg.log_softmax(S)
    dL = np.random.default_rng(seed).standard_normal(S.shape).astype(S.dtype)
    p, q = np.exp(wide(L)[0]), -np.expm1(wide(L)[0])
    others = np.abs(dL).sum(-1, keepdims=True) - np.abs(dL)
    bound = 16 * eps(S) * (np.abs(dL) * q + p * others) + 4 * smallest(S)
    assert_within(fg.log_softmax_vjp(dL, L), reference.log_softmax_vjp(*wide(dL, L)), bound)
    size = spread(p, wide(dL)[0]) + np.abs(wide(dL)[0] - reference._at_largest(*wide(dL, L), -1))
    bound = 16 * eps(S) * size + 4 * smallest(S)
    assert_within(fg.log_softmax_jvp(dL, L), reference.log_softmax_jvp(*wide(dL, L)), bound)


@given(st.one_of(classes(), st.sampled_from([255, 257, 513])), dtypes, seeds)
def test_log_softmax_gradient_of_what_is_no_logarithm_of_probabilities(k, dtype, seed):
    """dS_j = dL_j − exp(L_j) Σ_c dL_c even where several classes have more than half."""
    rng = np.random.default_rng(seed)
    L, dL = rng.uniform(-2, 1, (5, k)).astype(dtype), rng.standard_normal((5, k)).astype(dtype)
    exact, g = wide(L, dL)
    bound = 64 * eps(L) * (np.abs(g) + np.exp(exact) * np.abs(g).sum(-1, keepdims=True))
    assert_within(fg.log_softmax_vjp(dL, L), g - np.exp(exact) * g.sum(-1, keepdims=True), bound)


@given(logits(sizes(33)))
def test_jacobian_is_the_derivation(S):
    """J_ij = Y_i (δ_ij − Y_j), and dS = J dY as the double sum over it."""
    Y = fg.softmax(S.astype(np.float64))
    J = fg.softmax_jacobian(Y)
    k = S.shape[-1]
    literal = np.einsum("...i,ij->...ij", Y, np.eye(k)) - np.einsum("...i,...j->...ij", Y, Y)
    assert_within(J, literal, 4 * eps(Y))
    exact = reference.softmax_jacobian(*wide(Y))
    assert_within(J, exact, 8 * eps(Y) * np.abs(exact) + smallest(Y))
    dY = np.random.default_rng(k).standard_normal(Y.shape)
    assert_within(fg.softmax_vjp(dY, Y), np.einsum("...i,...ij->...j", dY, literal), 64 * eps(Y))
    rows = int(np.prod(Y.shape[:-1]))
    Y, dY = Y.reshape(rows, k), dY.reshape(rows, k)
    minibatch = np.einsum("rc,ri,rc,cj->ij", dY, np.eye(rows), Y, np.eye(k))
    minibatch -= np.einsum("rc,ri,rc,rj->ij", dY, np.eye(rows), Y, Y)
    assert_within(fg.softmax_vjp(dY, Y), minibatch, 64 * eps(Y))


@given(logits(classes(least=1)), seeds)
def test_gradients_are_the_complex_step(S, seed):
    """Im f(S + i h V) / h is the directional derivative, without a difference to cancel in."""
    S = np.clip(S.astype(np.float64), -300, 300)
    V = np.random.default_rng(seed).standard_normal(S.shape)
    step = 1e-30
    e = np.exp(S - S.max(-1, keepdims=True) + 1j * step * V)
    total = e.sum(-1, keepdims=True)
    close = {"rtol": 1e-11, "atol": 1e-13}
    np.testing.assert_allclose(fg.softmax_jvp(V, fg.softmax(S)), np.imag(e / total) / step, **close)
    derivative = V - np.imag(np.log(total)) / step
    np.testing.assert_allclose(fg.log_softmax_jvp(V, fg.log_softmax(S)), derivative, **close)


@given(logits(classes()), seeds)
def test_vjp_is_the_adjoint_of_jvp(S, seed):
    """⟨U, jvp(V)⟩ = ⟨vjp(U), V⟩"""
    rng = np.random.default_rng(seed)
    U, V = (rng.standard_normal(S.shape).astype(S.dtype) for _ in range(2))
    Y, L = fg.softmax(S), fg.log_softmax(S)
    size = np.abs(U).sum(-1) @ np.abs(V).sum(-1) if S.ndim == 2 else np.abs(U).sum() * np.abs(V).sum()
    for vjp, jvp, at in (
        (fg.softmax_vjp, fg.softmax_jvp, Y),
        (fg.log_softmax_vjp, fg.log_softmax_jvp, L),
    ):
        one_side, other_side = np.vdot(*wide(vjp(U, at), V)), np.vdot(*wide(U, jvp(V, at)))
        assert abs(one_side - other_side) <= 16 * eps(S) * size


@given(logits(), st.floats(-1e4, 1e4))
def test_a_constant_in_the_cotangent_changes_no_gradient(S, constant):
    """Not one bit, but in rows that are shifted by their mean, which is rounded: long ones, and those without a class
    that has more than ⅛."""
    Y = fg.softmax(S)
    dY = np.round(64 * np.random.default_rng(0).standard_normal(S.shape)).astype(S.dtype)
    one, other = fg.softmax_vjp(dY, Y), fg.softmax_vjp(dY + S.dtype.type(round(constant)), Y)
    lanes = 64 // S.itemsize
    if S.shape[-1] <= 14 * lanes:
        same = Y.max(-1, initial=0) > (0.125 if S.shape[-1] >= lanes else 0)
        assert np.array_equal(one[same], other[same])
    y, g = wide(Y, dY)
    assert_within(one, other, 16 * eps(S) * y * spread(y, g) + 4 * smallest(S))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [f for f in FUNCTIONS.values() if f.has_axis], ids=lambda f: f.name)
def test_every_number_of_classes(function, dtype):
    """There are loops of their own for many of them: the same bits alone, in a batch and in place; the right ones."""
    rng, ulp = np.random.default_rng(0), np.finfo(dtype).eps
    for k in range(1, 150):
        arguments = function.arguments(rng, dtype, (5,), k=k)
        result = function.call(fg, arguments)
        exact = function.call(reference, {name: array.astype(np.longdouble) for name, array in arguments.items()})
        np.testing.assert_allclose(result, exact, rtol=8 * ulp, atol=16 * ulp * np.abs(exact).max(), err_msg=str(k))
        assert_same_bits(function.call(fg, {name: array[2:3] for name, array in arguments.items()}), result[2:3])
        if function.signature.inplace:
            last = list(arguments.values())[-1]
            assert_same_bits(function.call(fg, arguments, out=last), result)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [f for f in FUNCTIONS.values() if f.has_axis and f.has_out], ids=lambda f: f.name)
def test_where_out_starts_in_a_line_of_the_cache_changes_no_bit(function, dtype):
    """Long rows are written from the first line on: from elsewhere, in place, and nothing beside them."""
    rng, line = np.random.default_rng(0), 64 // np.dtype(dtype).itemsize
    for rows, k in ((1, 17), (1, 30), (1, 60), (3, 33), (3, 64), (3, 150), (3, 257), (3, 385)):
        arguments = function.arguments(rng, dtype, (rows,), k=k)
        *_, last = arguments
        result = function.call(fg, arguments)
        room = np.empty(result.size + 3 * line, dtype)
        first = -room.ctypes.data % 64 // room.itemsize
        for start in range(first, first + line):
            room[:] = 7
            out = room[start : start + result.size].reshape(result.shape)
            assert_same_bits(function.call(fg, arguments, out=out), result)
            if function.signature.inplace:
                out[:] = arguments[last]
                assert_same_bits(function.call(fg, {**arguments, last: out}, out=out), result)
            if function.has_accumulate:
                out[:] = 3
                assert_same_bits(function.call(fg, arguments, out=out, accumulate=True), 3 + result)
            assert np.all(room[:start] == 7)
            assert np.all(room[start + result.size :] == 7)


@pytest.mark.parametrize("k", [7, 20, 40, 300, 5000, 70000])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", IN_PLACE, ids=lambda f: f.name)
def test_arrays_larger_than_caches_change_no_bit(function, dtype, k):
    """Rows of 13 MB are fetched, and taken fewer at a time, or one after the other, unlike a few of them alone."""
    n = 13 * 2**20 // (k * np.dtype(dtype).itemsize)
    arguments = function.arguments(np.random.default_rng(0), dtype, (n,), k=k)
    result = function.call(fg, arguments)
    for start in (0, n // 2, n - 9):
        rows = slice(start, start + 9)
        assert_same_bits(result[rows], function.call(fg, {name: array[rows] for name, array in arguments.items()}))
    assert_same_bits(function.call(fg, arguments, out=list(arguments.values())[-1]), result)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", IN_PLACE, ids=lambda f: f.name)
def test_each_row_is_one_threads(function, dtype):
    """However many there are for each thread: in place, a row that two had worked on would be wrong."""
    rng, shapes = np.random.default_rng(0), ((33, 3000), (34, 3000), (37, 3000), (301, 300), (1025, 100), (3001, 35))
    with large_calls() as calls:
        for rows, k in (*shapes, (9001, 10)):
            arguments = function.arguments(rng, dtype, (rows,), k=k)
            result = function.call(fg, arguments)
            assert_same_bits(function.call(fg, arguments, out=list(arguments.values())[-1]), result)
        assert len(calls) >= 14


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [3, 10, 100, 150, 230])
def test_saturated_rows_against_two_hundred_digits(dtype, k):
    """Where the usual formulas give 0 or noise, against mpmath."""
    rng = np.random.default_rng(k)
    info = np.finfo(dtype)
    for scale in (1, 20, 300):
        S = (scale * rng.standard_normal(k)).astype(dtype)
        dY = rng.standard_normal(k).astype(dtype)
        Y, L = fg.softmax(S), fg.log_softmax(S)
        dS = fg.softmax_vjp(dY, Y)
        with mpmath.workdps(200):
            exps = [mpmath.exp(mpmath.mpf(float(x))) for x in S]
            total = mpmath.fsum(exps)
            lost = unavoidable(S)
            for i in range(k):
                exact = mpmath.log(exps[i] / total)
                bound = 4 * info.eps * abs(exact) + lost[i] + info.smallest_subnormal
                assert abs(mpmath.mpf(float(L[i])) - exact) <= bound
            y = [mpmath.mpf(float(v)) for v in Y]
            g = [mpmath.mpf(float(v)) for v in dY]
            m = int(np.argmax(Y))
            mean = mpmath.fsum(y[j] * (g[j] - g[m]) for j in range(k))
            for i in range(k):
                exact = y[i] * ((g[i] - g[m]) - mean)
                size = y[i] * mpmath.fsum(y[j] * abs(g[i] - g[j]) for j in range(k))
                assert abs(mpmath.mpf(float(dS[i])) - exact) <= 16 * info.eps * size + 4 * info.smallest_subnormal


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [3, 17, 70, 130, 150, 300])
def test_special_values(dtype, k):
    """−inf is probability 0 and gradient 0; all −inf, +inf and NaN make their row NaN, and no other."""
    rng = np.random.default_rng(k)
    S = rng.standard_normal((40, k)).astype(dtype)
    S[3, 1] = S[4, 0] = S[5, -1] = -np.inf
    S[7] = -np.inf
    S[9, k // 2] = np.inf
    S[11, 0] = S[12, -1] = np.nan
    S[13, :2] = np.inf
    S[14, 0], S[14, 1] = np.inf, np.nan
    spoilt = [7, 9, 11, 12, 13, 14]
    clean = [i for i in range(40) if i not in spoilt]
    Y, L = fg.softmax(S), fg.log_softmax(S)
    dY = rng.standard_normal(S.shape).astype(dtype)
    for result in (Y, fg.softmax_vjp(dY, Y), fg.softmax_jvp(dY, Y)):
        assert np.isnan(result[spoilt]).all()
        assert np.isfinite(result[clean]).all()
        assert result[3, 1] == result[4, 0] == result[5, -1] == 0
    assert np.isnan(L[spoilt]).all()
    assert L[3, 1] == L[4, 0] == L[5, -1] == -np.inf
    assert np.isfinite(L[clean]).sum() == len(clean) * k - 3
    with_infinity = dY.copy()
    with_infinity[0, 0] = with_infinity[1, -1] = with_infinity[2, np.argmax(Y[2])] = np.inf
    with np.errstate(invalid="ignore"):
        expected = reference.softmax_vjp(*wide(with_infinity[:3], Y[:3]))
    np.testing.assert_allclose(fg.softmax_vjp(with_infinity[:3], Y[:3]), expected)
    sums = fg.logsumexp(S)
    assert sums[7] == -np.inf
    assert sums[9] == sums[13] == np.inf
    assert np.isnan(sums[[11, 12, 14]]).all()
    assert np.isfinite(sums[clean]).all()
    dL = rng.standard_normal(S.shape).astype(dtype)
    for result in (fg.log_softmax_vjp(dL, L), fg.log_softmax_jvp(dL, L)):
        assert np.isnan(result[spoilt]).all()
        assert np.isfinite(result[clean]).all()


@given(dtypes, st.sampled_from([17, 100, 300, 1000, 1500, 4096, 50_000]), st.floats(0, 30), seeds)
def test_one_class_before_many_equal_ones(dtype, k, depth, seed):
    """Each of these is lost beside that in part, one after the other in its lane."""
    S = np.full(k, -depth, dtype)
    S[np.random.default_rng(seed).integers(k)] = 0
    test_softmax_is_within_4_eps.hypothesis.inner_test(S)
    test_log_softmax_and_logsumexp_are_within_4_eps.hypothesis.inner_test(S)


def test_a_long_row_of_equal_logits_sums_without_drift():
    """100 000 equal terms: a running float32 sum would be off by hundreds of eps."""
    S = np.zeros(100_001, np.float32)
    S[0] = 3.3
    expected = reference.softmax(S.astype(np.float64))
    assert_within(fg.softmax(S), expected, 4 * eps(S) * expected)
    assert_within(fg.logsumexp(S), reference.logsumexp(S.astype(np.float64)), 4 * eps(S) * 12)


@pytest.mark.parametrize("function", [f for f in FUNCTIONS.values() if f.has_axis], ids=lambda f: f.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_another_axis_has_the_bits_of_the_last(function, dtype):
    """Rows that lie side by side, as many as fill vectors of them, or not; written over arrays, and added to them."""
    rng = np.random.default_rng(0)
    for outer, k, inner in itertools.product((1, 3), (0, 1, 7, 16, 17, 33, 130, 257), (1, 2, 7, 8, 15, 16, 17, 40)):
        arguments = function.arguments(rng, dtype, (outer, inner), k=k)
        moved = {name: np.ascontiguousarray(np.moveaxis(array, -1, 1)) for name, array in arguments.items()}
        expected, got = function.call(fg, arguments), function.call(fg, moved, axis=1)
        if function.has_out:
            out = np.moveaxis(rng.standard_normal(expected.shape).astype(dtype), -1, 1).copy()
            before = out.copy()
            if function.has_accumulate:
                assert function.call(fg, moved, axis=1, out=out, accumulate=True) is out
                np.testing.assert_array_equal(out, before + got)
            first_input = next(iter(moved.values()))
            function.call(fg, moved, axis=1, out=first_input)
            np.testing.assert_array_equal(first_input, got)
            got = np.moveaxis(got, 1, -1)
        np.testing.assert_array_equal(got, expected)
