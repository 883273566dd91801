"""Cross-entropy of affine logits: as of the logits written out, in blocks of rows, and in little memory."""

import itertools
import re

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import DTYPES, assert_same_bits, assert_within, dtypes, leads, seeds, sizes, tolerance
from subprocesses import run
from test_cross_entropy_cases import BY_TORCH, HAS_TORCH, LOGITS, TARGETS, WEIGHT

import fastgrad as fg
from fastgrad import reference
from fastgrad.kernels import linear_cross_entropy as kernels


@pytest.fixture
def small_blocks(monkeypatch):
    """As if little memory were left: a few rows of logits at a time."""
    monkeypatch.setattr(kernels, "SETTINGS", (2000,))


@st.composite
def problems(draw):
    """Inputs of a layer, a target of either kind, and any options."""
    dtype, rng = draw(dtypes), np.random.default_rng(draw(seeds))
    lead, d, k = draw(leads(65)), draw(sizes(33)), draw(sizes(65, least=1))
    X, W = rng.standard_normal((*lead, d)).astype(dtype), rng.standard_normal((k, d)).astype(dtype)
    b = rng.standard_normal(k).astype(dtype) if draw(st.booleans()) else None
    if draw(st.booleans()):
        target = np.where(rng.random(lead) < draw(st.sampled_from([0.0, 0.3, 1.0])), -100, rng.integers(0, k, lead))
    else:
        target = rng.random((*lead, k)) + 0.1
        target = (target / target.sum(-1, keepdims=True)).astype(dtype)
    options = {
        "label_smoothing": draw(st.sampled_from([0.0, 0.1])),
        "z_loss": draw(st.sampled_from([0.0, 1e-3])),
        "reduction": draw(st.sampled_from(["none", "sum", "mean"])),
    }
    if draw(st.booleans()):
        options["weight"] = rng.random(k).astype(dtype)
    if draw(st.booleans()):
        options["sample_weight"] = rng.random(lead).astype(dtype)
    if draw(st.booleans()):
        options["dloss"] = rng.standard_normal(lead).astype(dtype) if options["reduction"] == "none" else -0.7
    return X, W, b, target, options


def wide(value):
    return value.astype(np.longdouble) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def check(X, W, b, target, options):
    """Loss and gradients within the error of the logits and of the sums, of what the logits written out give."""
    loss, gradients = fg.linear_cross_entropy_value_and_grad(X, W, b, target, **options)
    exact, exact_options = [wide(v) for v in (X, W, b, target)], {n: wide(v) for n, v in options.items()}
    expected_loss, expected = reference.linear_cross_entropy_value_and_grad(*exact, **exact_options)
    magnitude = np.abs(exact[0]) @ np.abs(exact[1]).T + (0 if b is None else np.abs(exact[2]))
    of_logits = tolerance(X.dtype, X.shape[-1]) * (1 + magnitude.max(initial=0))
    assert_within(loss, expected_loss, of_logits * (1 + 2 * np.abs(expected_loss)))
    _, dS = reference.cross_entropy_value_and_grad(reference.affine(*exact[:3]), exact[3], **exact_options)
    # dS is off by at most of_logits times the share of its row, and each sum adds what sums add.
    share = np.abs(dS).max(initial=0) + np.abs(dS).sum(-1).max(initial=0)
    rows = int(np.prod(X.shape[:-1]))
    for got, want, terms, other in zip(
        gradients,
        expected,
        (W.shape[0], rows, rows),
        (np.abs(W).max(initial=0), np.abs(X).max(initial=0), 1),
        strict=True,
    ):
        assert got.dtype == X.dtype
        bound = (of_logits + tolerance(X.dtype, terms)) * (1 + share) * other * max(terms, 1)
        assert_within(got, want, bound)
    value = {name: v for name, v in options.items() if name != "dloss"}
    assert_same_bits(np.asarray(fg.linear_cross_entropy(X, W, b, target, **value)), np.asarray(loss))
    return loss, gradients


@given(problems())
def test_against_the_logits_written_out(problem):
    check(*problem)


@numba.njit
def rows_of_a_block(n, k, itemsize, room):
    return kernels.block_rows(n, k, itemsize, room)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("probabilities", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_blocks_of_rows(dtype, probabilities, reduction):
    rng = np.random.default_rng(0)
    n, d, k = 101, 19, 37
    assert 1 < rows_of_a_block(n, k, dtype().itemsize, *kernels.SETTINGS) < 20
    X, W, b = (rng.standard_normal(shape).astype(dtype) for shape in ((n, d), (k, d), k))
    target = rng.integers(0, k, n)
    target[40:60] = -100
    if probabilities:
        target = reference.softmax(rng.standard_normal((n, k))).astype(dtype)
    for options in ({}, {"label_smoothing": 0.1, "weight": rng.random(k).astype(dtype)}):
        options |= {"reduction": reduction, "sample_weight": rng.random(n).astype(dtype)}
        dloss = rng.standard_normal(n).astype(dtype) if reduction == "none" else 2.0
        check(X, W, b, target, options | {"dloss": dloss})


def test_blocks_have_a_row_though_it_needs_more_memory_than_there_is():
    assert [rows_of_a_block(n, 2**26, 4, *kernels.SETTINGS) for n in (0, 1, 2, 10, 33)] == [1] * 5
    assert [rows_of_a_block(n, 0, 4, *kernels.SETTINGS) for n in (0, 1, 10)] == [1, 1, 10]


def test_a_row_has_the_same_bits_in_blocks_and_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    X, W, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((130, 70), (50, 70), 50))
    target = rng.integers(0, 50, 130)
    loss, (dX, _, _) = fg.linear_cross_entropy_value_and_grad(X, W, b, target, reduction="none")
    loss_of_logits, dS = fg.cross_entropy_value_and_grad(fg.affine(X, W, b), target, reduction="none")
    assert_same_bits((loss, dX), (loss_of_logits, fg.affine_dx(dS, W)))
    monkeypatch.setattr(kernels, "SETTINGS", (7 * 50 * 4,))
    in_blocks, (dX_in_blocks, _, _) = fg.linear_cross_entropy_value_and_grad(X, W, b, target, reduction="none")
    assert_same_bits((in_blocks, dX_in_blocks), (loss, dX))


@given(problems(), seeds)
def test_gradients_are_the_derivative(problem, seed):
    """⟨gradients, V⟩ = d/dt J(P + t V), by the complex step on the formula."""
    X, W, b, target, options = problem
    b = np.zeros(len(W)) if b is None else b
    parameters = [array.astype(np.float64) for array in (X, W, b)]
    rng, step = np.random.default_rng(seed), 1e-30
    directions = [rng.standard_normal(array.shape) for array in parameters]
    x, w, c = (array + 1j * step * V for array, V in zip(parameters, directions, strict=True))
    S = x @ w.T + c
    largest = S.real.max(-1, keepdims=True)
    L = S - largest - np.log(np.exp(S - largest).sum(-1, keepdims=True))
    t = np.arange(len(W)) == target[..., None] if target.dtype == np.int64 else target.astype(np.float64)
    smoothing = options["label_smoothing"]
    shares = ((1 - smoothing) * t + smoothing / len(W)) * ((target != -100)[..., None] if t.dtype == bool else 1)
    losses = -(shares * L).sum()
    _, gradients = fg.linear_cross_entropy_value_and_grad(
        *parameters, target, label_smoothing=smoothing, reduction="sum"
    )
    terms = [g * V for g, V in zip(gradients, directions, strict=True)]
    size = 1 + sum(np.abs(term).sum() for term in terms)
    assert abs(np.imag(losses) / step - sum(term.sum() for term in terms)) <= 1e-10 * size


@pytest.mark.usefixtures("small_blocks")
def test_nothing_is_written_where_a_target_is_wrong():
    """A class index that is out of range in the last block of rows."""
    rng = np.random.default_rng(0)
    X, W, target = rng.standard_normal((100, 5)), rng.standard_normal((30, 5)), rng.integers(0, 30, 100)
    target[99] = 30
    out = [np.full(shape, 7.0) for shape in ((100, 5), (30, 5), 30)]
    message = "linear_cross_entropy_value_and_grad: target holds 30 at (99,) but must be at least 0 and below 30"
    with pytest.raises(ValueError, match=re.escape(message)):
        fg.linear_cross_entropy_value_and_grad(X, W, None, target, out=tuple(out))
    with pytest.raises(ValueError, match="linear_cross_entropy: target holds 30"):
        fg.linear_cross_entropy(X, W, None, target)
    assert all((array == 7).all() for array in out)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0), (0, 0, 0)])
def test_sizes_of_zero(shape):
    n, d, k = shape
    loss, (dX, dW, db) = fg.linear_cross_entropy_value_and_grad(
        np.ones((n, d)), np.ones((k, d)), np.ones(k), np.full(n, -100 if k == 0 else 1)
    )
    assert loss == pytest.approx(np.log(k) if n and k else 0)
    assert (dX.shape, dW.shape, db.shape) == ((n, d), (k, d), (k,))
    assert not dX.any()
    assert dW.any() == bool(n and d and k)


# --- PyTorch, and public bug reports ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "weighted", "smoothing", "mean", "total", "entries"), BY_TORCH)
def test_options_mean_what_they_mean_in_pytorch(kind, weighted, smoothing, mean, total, entries):
    """With W = δ and b = 0 the logits are X, and so dX is the gradient of the logits."""
    target, options = TARGETS[kind], {"weight": WEIGHT if weighted else None, "label_smoothing": smoothing}
    eye, zeros, close = np.eye(4), np.zeros(4), {"rel": 1e-10, "abs": 1e-11}
    loss, (dX, dW, db) = fg.linear_cross_entropy_value_and_grad(LOGITS, eye, zeros, target, **options)
    assert loss == pytest.approx(mean, **close)
    assert dX[2, : len(entries)] == pytest.approx(entries, **close)
    assert dW == pytest.approx(dX.T @ LOGITS, **close)
    assert db == pytest.approx(dX.sum(0), **close)
    for reduction in ("sum", "none"):
        losses = fg.linear_cross_entropy(LOGITS, eye, zeros, target, **options, reduction=reduction)
        assert losses.sum() == pytest.approx(total, **close)
    if HAS_TORCH:
        rng = np.random.default_rng(0)
        X, W, b = rng.standard_normal((3, 5)), rng.standard_normal((4, 5)), rng.standard_normal(4)
        for reduction, dloss in (("mean", -0.7), ("sum", 1.5), ("none", np.linspace(-1, 2, 3))):
            compare_with_torch(X, W, b, target, options | {"reduction": reduction}, dloss)


def compare_with_torch(X, W, b, target, options, dloss):
    import torch

    x, w, c = (torch.from_numpy(array).requires_grad_(True) for array in (X, W, b))
    S = torch.nn.functional.linear(x, w, c)
    given = {n: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for n, v in options.items()}
    theirs = torch.nn.functional.cross_entropy(S, torch.from_numpy(target), **given)
    expected = torch.autograd.grad(theirs, (x, w, c), torch.from_numpy(np.asarray(dloss, np.float64)))
    loss, gradients = fg.linear_cross_entropy_value_and_grad(X, W, b, target, **options, dloss=dloss)
    np.testing.assert_allclose(loss, theirs.detach().numpy(), rtol=1e-12)
    for got, want in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-11, atol=1e-13)


def test_ignored_rows_and_an_upstream_gradient_for_each():
    """Liger 968: reduction "none", ignored rows, a mask as upstream gradient: it belongs inside the sums over rows."""
    rng = np.random.default_rng(0)
    X, W, b = rng.standard_normal((2, 4, 10)), rng.standard_normal((15, 10)), rng.standard_normal(15)
    target, mask = rng.integers(0, 15, (2, 4)), rng.random((2, 4))
    target[0, :2] = -100
    options = {"reduction": "none", "dloss": mask}
    _, dS = fg.cross_entropy_value_and_grad(fg.affine(X, W, b), target, **options)
    expected = fg.affine_vjp(dS, X, W)
    _, gradients = fg.linear_cross_entropy_value_and_grad(X, W, b, target, **options)
    assert_same_bits(gradients, expected)
    assert not gradients[0][0, :2].any()
    assert np.abs(gradients[0][target != -100]).sum(-1).all()
    if HAS_TORCH:
        compare_with_torch(X.reshape(-1, 10), W, b, target.reshape(-1), {"reduction": "none"}, mask.reshape(-1))


def test_an_ignored_row_poisons_nothing():
    """pytorch 11551: logits of −inf, inf and NaN, of finite inputs, in a row that is ignored."""
    rng = np.random.default_rng(0)
    X, W = rng.standard_normal((4, 2)), np.array([[1, 1], [-1, -1], [1, -1], [2, 0.5], [0.5, 3.0]])
    expected_loss, expected = fg.linear_cross_entropy_value_and_grad(X[:3], W, None, [0, 1, 2])
    X[3] = 1e308, 1e308
    for smoothing in (0.0, 0.1):
        loss, (dX, dW, db) = fg.linear_cross_entropy_value_and_grad(
            X, W, None, [0, 1, 2, -1], ignore_index=-1, label_smoothing=smoothing
        )
        assert np.array_equal(dX[3], [0, 0])
        assert all(np.isfinite(array).all() for array in (dX, dW, db))
        if smoothing == 0:
            assert loss == expected_loss
            assert_same_bits((dX[:3], dW, db), expected)


def test_all_rows_ignored():
    """pytorch 70348: the mean over nothing is 0 here, and so are its gradients."""
    X, W = np.random.default_rng(0).random((10, 7)), np.ones((5, 7))
    for smoothing, reduction in itertools.product((0.0, 0.1), ("mean", "sum")):
        options = {"label_smoothing": smoothing, "reduction": reduction}
        loss, gradients = fg.linear_cross_entropy_value_and_grad(X, W, None, [-100] * 10, **options)
        assert loss == 0
        assert not any(array.any() for array in gradients)


def test_a_gradient_that_is_small_is_not_zero():
    """pytorch 195684: p − 1 gives 0 where the entry is −5.55e-17."""
    x, tiny = 37.42994775023705, 5.551115123125776e-17
    loss, (dX, dW, db) = fg.linear_cross_entropy_value_and_grad(np.array([[x]]), np.array([[1.0], [0.0]]), None, [0])
    for got, expected in ((loss, tiny), (dX, [[-tiny]]), (dW, [[-x * tiny], [x * tiny]]), (db, [-tiny, tiny])):
        assert np.asarray(got) == pytest.approx(np.array(expected), rel=8e-15)


def test_a_class_that_is_masked():
    """jax 19490: a bias of −inf takes a class away; its gradient is exactly 0 and no other's is NaN."""
    rng = np.random.default_rng(0)
    X, W, b = rng.standard_normal((6, 3)), rng.standard_normal((4, 3)), np.array([0.5, -np.inf, 36, 1e4])
    loss, (dX, dW, db) = fg.linear_cross_entropy_value_and_grad(X, W, b, [0, 2, 3, 0, 2, 3])
    assert np.isfinite(loss)
    assert all(np.isfinite(array).all() for array in (dX, dW, db))
    assert not dW[1].any()
    assert db[1] == 0


# --- memory ----------------------------------------------------------------------------------------------------------


def test_the_logits_are_never_whole():
    """Beyond inputs and results, 5 % of the logits or 16 MiB, whichever is more, in a process of its own."""
    code = """
        import resource
        import numpy as np, fastgrad as fg
        def call(n, k, d):
            X, W = np.ones((n, d), np.float32), np.ones((k, d), np.float32)
            out = np.zeros_like(X), np.ones_like(W), np.ones(k, np.float32)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            fg.linear_cross_entropy_value_and_grad(X, W, None, np.zeros(n, int), out=out)
            return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / max(n * k * 4 / 20, 2**24)
        call(3000, 1000, 16)  # in parallel: loads all there is
        print(call(4000, 400, 300), call(2048, 16384, 16), call(2048, 60000, 32))
    """
    assert max(map(float, run(code).split())) < 1
