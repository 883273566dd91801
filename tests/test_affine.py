"""The affine functions against NumPy, against the sums of the derivation as written, and against each other."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import (
    DTYPES,
    assert_same_bits,
    assert_within,
    dtypes,
    leads,
    long_sizes,
    seeds,
    sizes,
    tolerance,
)

import fastgrad as fg
from fastgrad import reference


@st.composite
def problems(draw, most=129):
    """X, W, b and a cotangent dY, of any sizes and leading axes."""
    dtype, rng = draw(dtypes), np.random.default_rng(draw(seeds))
    lead, d, m = draw(leads()), draw(sizes(most)), draw(sizes(most))
    shapes = ((*lead, d), (m, d), (m,), (*lead, m))
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def check(results, expected, sizes_of_terms, terms, dtype):
    """Each result within the bound of blocked sums: tolerance × Σ|terms|."""
    for got, want, size in zip(results, expected, sizes_of_terms, strict=True):
        assert got.dtype == dtype
        assert_within(got, want, tolerance(dtype, terms) * size)


def wide(*arrays):
    return [array.astype(np.longdouble) for array in arrays]


@given(problems())
def test_matches_the_reference(problem):
    X, W, b, dY = problem
    terms = X.size + W.size + 1
    sizes_of = [np.abs(array) for array in wide(*problem)]
    check(
        [fg.affine(X, W, b)],
        [reference.affine(*wide(X, W, b))],
        [reference.affine(*sizes_of[:3])],
        terms,
        X.dtype,
    )
    expected = reference.affine_vjp(*wide(dY, X, W))
    magnitude = reference.affine_vjp(sizes_of[3], sizes_of[0], sizes_of[1])
    check(fg.affine_vjp(dY, X, W), expected, magnitude, terms, X.dtype)
    alone = fg.affine_dx(dY, W), fg.affine_dw(dY, X), fg.affine_db(dY)
    assert_same_bits(alone, fg.affine_vjp(dY, X, W))


@given(dtypes, seeds, st.data())
def test_long_sums(dtype, seed, data):
    rng = np.random.default_rng(seed)
    n, d, m = data.draw(st.permutations([data.draw(long_sizes()), data.draw(sizes(33)), data.draw(sizes(33))]))
    X, W, dY = (rng.standard_normal(shape).astype(dtype) for shape in ((n, d), (m, d), (n, m)))
    absolute = [np.abs(array) for array in wide(dY, X, W)]
    expected, magnitude = reference.affine_vjp(*wide(dY, X, W)), reference.affine_vjp(*absolute)
    check(fg.affine_vjp(dY, X, W), expected, magnitude, max(n, d, m), dtype)
    check([fg.affine(X, W)], [reference.affine(*wide(X, W))], [reference.affine(*absolute[1:])], max(n, d, m), dtype)


@given(dtypes, st.permutations(["n", "d", "m"]), seeds, st.booleans(), st.data())
def test_how_matrices_lie_changes_no_bit(dtype, order, seed, accumulate, data):
    """By rows or by columns, each as it is and beside each; few rows, long sums, and rows that meet in the caches."""
    drawn = data.draw(st.tuples(long_sizes(), st.one_of(sizes(), st.sampled_from([1024, 1300, 4100])), sizes(33)))
    size, rng = dict(zip(order, drawn, strict=True)), np.random.default_rng(seed)
    n, d, m = size["n"], size["d"], size["m"]
    X, W, b, dY = (rng.standard_normal(shape).astype(dtype) for shape in ((n, d), (m, d), (m,), (n, m)))
    target = rng.integers(0, m, n) if m else np.full(n, -100)

    def gradients(dY, X, W):
        dX, dW = np.ones((n, d), dtype), np.ones((m, d), dtype)
        fg.affine_dx(dY, W, out=dX, accumulate=accumulate)
        fg.affine_dw(dY, X, out=dW, accumulate=accumulate)
        _, of_loss = fg.linear_cross_entropy_value_and_grad(X, W, b, target)
        return fg.affine(X, W, b), dX, dW, *fg.affine_vjp(dY, X, W), *of_loss

    expected = gradients(dY, X, W)
    for layouts in itertools.product((np.ascontiguousarray, np.asfortranarray), repeat=3):
        laid_out = [layout(array) for layout, array in zip(layouts, (dY, X, W), strict=True)]
        assert_same_bits(gradients(*laid_out), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("terms", [1, 24, 49, 300])
def test_a_few_rows_and_columns_lie_either_way(dtype, terms):
    """Of every number: each product that has few rows or columns has limits of its own."""
    rng = np.random.default_rng(terms)
    for rows, columns in itertools.product((1, 5, 8, 9, 16), range(1, 20)):
        A, B = (rng.standard_normal(shape).astype(dtype) for shape in ((rows, terms), (terms, columns)))
        exact, magnitude = A.astype(float) @ B, abs(A).astype(float) @ abs(B)
        for function, *factors in ((fg.affine, A, B.T), (fg.affine_dx, A, B), (fg.affine_dw, A.T, B)):
            one, other = map(np.ascontiguousarray, factors)
            expected = function(one, other)
            assert_within(expected, exact, tolerance(dtype, terms) * magnitude)
            turned, turned_other = map(np.asfortranarray, factors)
            for laid_out in ((turned, other), (one, turned_other), (turned, turned_other)):
                assert_same_bits(function(*laid_out), expected)


@given(problems(most=17))
def test_is_the_contraction_of_the_derivation(problem):
    """∂J/∂X_ij = Σ_r Σ_s dY_rs W_sj δ_ir and its like for W and b, written as they stand."""
    X, W, _, dY = (array.astype(np.float64) for array in problem)
    rows = int(np.prod(X.shape[:-1]))
    X, dY = X.reshape(rows, X.shape[-1]), dY.reshape(rows, dY.shape[-1])
    same_row, same_output = np.eye(rows), np.eye(len(W))

    dX = np.einsum("rs,sj,ir->ij", dY, W, same_row)
    dW = np.einsum("rs,rj,is->ij", dY, X, same_output)
    db = np.einsum("rs,is->i", dY, same_output)
    for got, sums in zip(fg.affine_vjp(dY, X, W), (dX, dW, db), strict=True):
        np.testing.assert_allclose(got, sums, rtol=1e4 * np.finfo(float).eps, atol=1e3 * np.finfo(float).eps)

    JX, JW, Jb = fg.affine_jacobian(X, W)
    np.testing.assert_array_equal(JX, np.einsum("sj,ir->rsij", W, same_row))
    np.testing.assert_array_equal(JW, np.einsum("rj,is->rsij", X, same_output))
    np.testing.assert_array_equal(Jb, np.einsum("is,r->rsi", same_output, np.ones(rows)))


@given(problems(most=33), seeds, st.sets(st.sampled_from(["dX", "dW", "db"])))
def test_jvp_is_the_complex_step(problem, seed, directions):
    """Im f(x + i h v) / h is the derivative along v, exact for an affine map but for rounding."""
    X, W, b, _ = problem
    rng = np.random.default_rng(seed)
    point = {"dX": X, "dW": W, "db": b}
    tangents = {name: rng.standard_normal(point[name].shape).astype(X.dtype) for name in directions}
    step = 1e-30
    X, W, b = (
        point[name].astype(complex) + (1j * step * tangents[name] if name in tangents else 0)
        for name in ("dX", "dW", "db")
    )
    derivative = np.imag(X @ W.T + b) / step
    got = fg.affine_jvp(problem[0], problem[1], **tangents)
    size = reference.affine_jvp(abs(X.real), abs(W.real), **{name: abs(t) for name, t in tangents.items()})
    assert got.dtype == problem[0].dtype
    assert_within(got, derivative, 4 * tolerance(got.dtype, X.size + 1) * size)


@given(problems(), seeds)
def test_vjp_is_the_adjoint_of_jvp(problem, seed):
    """⟨dY, jvp(V)⟩ = ⟨vjp(dY), V⟩ for any directions V."""
    X, W, b, dY = problem
    rng = np.random.default_rng(seed)
    VX, VW, Vb = (rng.standard_normal(array.shape).astype(X.dtype) for array in (X, W, b))
    pairs = zip(fg.affine_vjp(dY, X, W), (VX, VW, Vb), strict=True)
    one_side = sum(np.vdot(*wide(gradient, direction)) for gradient, direction in pairs)
    other_side = np.vdot(*wide(dY, fg.affine_jvp(X, W, dX=VX, dW=VW, db=Vb)))
    size = np.vdot(abs(dY), reference.affine_jvp(abs(X), abs(W), dX=abs(VX), dW=abs(VW), db=abs(Vb)))
    assert abs(one_side - other_side) <= 4 * tolerance(X.dtype, X.size + W.size) * size


def blocked_sum(left, right, sums=1):
    """Σ left·right as the kernels promise it: fused multiply-adds in blocks of 256, the blocks added in order; or in
    blocks of several sums, that of s of the terms s, s + sums, s + 2 sums, …, added in order. Those are at most 320
    terms long, multiples of 16, and as few and equal as that allows."""
    total, most = None, 256
    if sums > 1:
        most = 16 * math.ceil(len(left) / math.ceil(len(left) / 320) / 16)
    for start in range(0, max(len(left), 1), most):
        block = None
        for first in range(start, start + sums):
            terms, part = slice(first, start + most, sums), 0.0
            for a, b in zip(left[terms], right[terms], strict=True):
                part = float(Fraction(a) * Fraction(b) + Fraction(part))
            block = part if block is None else block + part
        total = block if total is None else total + block
    return total


TERMS = [0, 1, 2, 12, 13, 18, 19, 24, 25, 27, 30, 31, 48, 49, 51, 255, 256, 257, 320, 321, 700, 1024, 1281]


@pytest.mark.parametrize("terms", TERMS)
def test_the_order_of_sums_is_the_promised_one(terms):
    rng = np.random.default_rng(terms)
    a, b = rng.standard_normal(terms), rng.standard_normal(terms)
    ones, one_by_one, side_by_side = np.ones((3, terms)), blocked_sum(a, b), blocked_sum(a, b, 4 if terms else 1)
    for columns in (1, 2, 3, 4, 5, 6, 7, 40):
        of_rows = side_by_side if terms > {1: 12, 2: 18, 3: 30, 4: 30}.get(columns, 48) else one_by_one
        assert (fg.affine(a * ones, b * np.ones((columns, terms))) == of_rows).all()
        expected = of_rows if columns <= 6 else one_by_one
        assert (fg.affine_dx(a * ones, b[:, None] * np.ones((terms, columns))) == expected).all()
    assert fg.affine_dw(a[:, None] * np.ones((terms, 3)), b[:, None] * np.ones((terms, 5)))[2, 4] == one_by_one
    assert fg.affine_db(a[:, None] * np.ones((terms, 3)))[2] == blocked_sum(a, np.ones(terms))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_width_of_a_tall_product(dtype):
    """Of small integers, which are summed exactly: dW of rows and columns that fill each of the tiles, and none."""
    rng = np.random.default_rng(5)
    dY, X = (rng.integers(-4, 5, (1030, width)).astype(dtype) for width in (18, 52))
    for m in range(1, 19):
        for d in range(1, 53):
            one, other = np.ascontiguousarray(dY[:, :m]), np.ascontiguousarray(X[:, :d])
            assert (fg.affine_dw(one, other) == one.T @ other).all(), (m, d)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "terms", [1, 6, 7, 10, 13, 16, 19, 22, 24, 25, *TERMS[9:], 28, 50, 52, 259, 323, 1030, 4099, 5121]
)
def test_a_row_alone_has_the_bits_it_has_in_a_batch(dtype, terms):
    """Whichever of the ways to multiply few rows, few columns or many is taken, also where products underflow to −0."""
    rng = np.random.default_rng(terms)
    dot, batch = (rng.standard_normal((n, terms)).astype(dtype) for n in (20, 60))
    batch[:20], dot[::2] = -np.sqrt(np.finfo(dtype).tiny) / 2**30, np.sqrt(np.finfo(dtype).tiny) / 2**30
    batch[:5, ::2] = dot[1:9, 1::2] = 0
    pieces = [(0, 1), (19, 21), (0, 3), (4, 8), (18, 24), (15, 22), (12, 20), (0, 11), (50, 60), (3, 20)]
    for columns in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 17, 20, 300):  # of many, the rows are packed
        W = np.resize(dot, (columns, terms))
        for function, factor in ((fg.affine, W), (fg.affine_dx, np.ascontiguousarray(W.T))):
            whole = function(batch, factor)
            for start, stop in pieces:
                assert_same_bits(function(batch[start:stop].copy(), factor), whole[start:stop])


@pytest.mark.parametrize("columns", [1, 3, 10])
@pytest.mark.parametrize("dtype", DTYPES)
def test_factors_larger_than_caches_change_no_bit(dtype, columns):
    """Rows of 20 MB are fetched, unlike a few of them alone."""
    rng, terms = np.random.default_rng(0), 64
    W = rng.standard_normal((columns, terms)).astype(dtype)
    X = rng.standard_normal((20 * 2**20 // (terms * W.itemsize), terms)).astype(dtype)
    Y, turned = fg.affine(X, W), fg.affine(W, X)
    for start in (0, len(X) // 2, len(X) - 50):
        rows = slice(start, start + 50)
        assert_same_bits(Y[rows], fg.affine(X[rows], W))
        np.testing.assert_allclose(turned[:, rows], fg.affine(W, X[rows]), rtol=0, atol=100 * np.finfo(dtype).eps)


@given(problems(most=33), seeds)
def test_bias_and_accumulation_are_one_addition(problem, seed):
    X, W, b, dY = problem
    assert_same_bits(fg.affine(X, W, b), np.asarray(fg.affine(X, W) + b))
    old = [np.random.default_rng(seed).standard_normal(A.shape).astype(A.dtype) for A in (X, W, b)]
    sums = tuple(before + gradient for before, gradient in zip(old, fg.affine_vjp(dY, X, W), strict=True))
    assert_same_bits(fg.affine_vjp(dY, X, W, out=tuple(old), accumulate=True), sums)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_stay_in_their_row(value):
    X, W = np.ones((20, 40)), np.ones((30, 40))
    X[7, 3] = value
    Y = fg.affine(X, W)
    assert np.all(np.isfinite(Y) == (np.arange(20) != 7)[:, None])
    dY = np.ones((20, 30))
    dY[7, 5] = value
    dX, dW, db = fg.affine_vjp(dY, np.ones((20, 40)), W)
    assert np.all(np.isfinite(dX) == (np.arange(20) != 7)[:, None])
    assert np.all(np.isfinite(dW) == (np.arange(30) != 5)[:, None])
    assert np.all(np.isfinite(db) == (np.arange(30) != 5))


@pytest.mark.parametrize("dtype", DTYPES)
def test_jvp_of_missing_tangents(dtype):
    """Each is zero, whichever way a product of this shape is computed, and nothing that stood in `out` is left."""
    rng = np.random.default_rng(0)
    for n, m, d in itertools.product((0, 1, 2, 5, 8, 9, 20), (1, 2, 5, 8, 9, 20), (0, 1, 7, 20, 300)):
        X, W = rng.standard_normal((n, d)).astype(dtype), rng.standard_normal((m, d)).astype(dtype)
        tangents = {"dX": X[::-1], "dW": W[::-1], "db": rng.standard_normal(m).astype(dtype)}
        for count in range(4):
            for names in itertools.combinations(tangents, count):
                given = {name: tangents[name] for name in names}
                got = fg.affine_jvp(X, W, **given, out=np.full((n, m), np.nan, dtype))
                size = reference.affine_jvp(abs(X), abs(W), **{name: abs(t) for name, t in given.items()})
                expected = reference.affine_jvp(X.astype(float), W.astype(float), **given)
                assert_within(got, expected, 4 * tolerance(dtype, d + 1) * size)
