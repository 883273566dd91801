"""Cross-entropy against wider arithmetic within the promised errors, the derivation's sums, and itself."""

import itertools
import re

import mpmath
import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import DTYPES, assert_same_bits, assert_within, classes, seeds, sizes
from regions import large_calls
from test_softmax import eps, logits, smallest, unavoidable, wide

import fastgrad as fg
from fastgrad import reference


@st.composite
def problems(draw, count=None):
    """Logits, a target of either kind, and any options."""
    S = draw(logits(classes(least=1) if count is None else count))
    rng = np.random.default_rng(draw(seeds))
    lead, k = S.shape[:-1], S.shape[-1]
    if draw(st.booleans()):
        target = rng.integers(0, k, lead)
        target = np.where(rng.random(lead) < draw(st.sampled_from([0.0, 0.3, 1.0])), -100, target)
    else:
        target = rng.random(S.shape) * (rng.random(S.shape) < 0.7)
        target[..., rng.integers(k)] += 0.5
        target = (target / target.sum(-1, keepdims=True)).astype(S.dtype)
    options = {
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 1.0])),
        "z_loss": draw(st.sampled_from([0.0, 1e-3])),
        "reduction": draw(st.sampled_from(["none", "sum", "mean"])),
    }
    if draw(st.booleans()):
        options["weight"] = (rng.random(k) * (rng.random(k) < 0.8)).astype(S.dtype)
    if draw(st.booleans()):
        options["sample_weight"] = rng.random(lead).astype(S.dtype)
    if draw(st.booleans()):
        options["dloss"] = rng.standard_normal(lead).astype(S.dtype) if options["reduction"] == "none" else -0.7
    return S, target, options


def widened(S, target, options):
    widths = {n: wide(v)[0] if isinstance(v, np.ndarray) else v for n, v in options.items()}
    return wide(S)[0], target if target.dtype == np.int64 else wide(target)[0], widths


def without_dloss(options):
    return {name: value for name, value in options.items() if name != "dloss"}


def sizes_of_errors(S, target, options):
    """What one eps and the rounding of S_j − S_m cost: the loss of each row, and the entries of its gradient (for
    reduction "sum" and dloss 1), as (sizes for one eps, unavoidable)."""
    exact, target, options = widened(S, target, options)
    k, smoothing, z = S.shape[-1], options["label_smoothing"], options["z_loss"]
    t = target if target.dtype != np.int64 else np.arange(k) == target[..., None]
    counts = np.ones(S.shape[:-1]) if target.dtype != np.int64 else target != -100
    w = options.get("weight", np.ones(k, np.longdouble))
    s = counts * options.get("sample_weight", 1)
    a = s[..., None] * w * ((1 - smoothing) * t + smoothing / k)
    of_row = s * (w * t).sum(-1)
    p, lost = reference.softmax(exact), unavoidable(S)
    lse, largest = reference.logsumexp(exact), exact.max(-1)
    lse_error = 4 * eps(S) * (np.abs(largest) + (lse - largest)) + lost.min(-1)
    row_loss = -(a * reference.log_softmax(exact)).sum(-1) + of_row * z * lse**2
    row_lost = (a * lost).sum(-1) + of_row * z * (2 * np.abs(lse) * lse_error + lse_error**2)
    others, other_p = a.sum(-1, keepdims=True) - a, p.sum(-1, keepdims=True) - p
    q = 2 * z * of_row[..., None]
    entry = p * others + a * other_p + q * np.abs(lse[..., None]) * p
    lost_p = p * lost + smallest(S)  # which underflows before it is multiplied
    lost_others = lost_p.sum(-1, keepdims=True) - lost_p
    entry_lost = lost_p * (others + q * np.abs(lse[..., None])) + a * lost_others + q * lse_error[..., None] * p
    return row_loss, row_lost, entry, entry_lost


@given(problems())
def test_losses_are_within_4_eps_and_gradients_within_16(problem):
    S, target, options = problem
    row_loss, row_lost, entry, entry_lost = sizes_of_errors(*problem)
    expected_loss, expected = reference.cross_entropy_value_and_grad(*widened(*problem)[:2], **widened(*problem)[2])
    loss, dS = fg.cross_entropy_value_and_grad(S, target, **options)
    assert loss.dtype == dS.dtype == S.dtype
    scale = np.longdouble(1)
    if options["reduction"] == "mean":  # what a reduced loss is multiplied by
        ones = options | {"reduction": "sum", "label_smoothing": 0.0, "z_loss": 0.0}
        weights = reference.cross_entropy(np.zeros(S.shape, np.longdouble), target, **without_dloss(ones))
        weights /= np.log(np.longdouble(S.shape[-1])) if S.shape[-1] > 1 else 1
        if target.dtype != np.int64 or S.shape[-1] == 1:
            counts = np.ones(S.shape[:-1]) if target.dtype != np.int64 else target != -100
            of_class = 1
            if target.dtype == np.int64:
                of_class = wide(options.get("weight", np.ones(1)))[0][0]
            weights = (counts * of_class * options.get("sample_weight", np.longdouble(1))).sum()
        scale = 1 / weights if weights else 0
    dloss = np.abs(np.asarray(options.get("dloss", 1), np.longdouble))
    assert_within(
        dS, expected, (16 * eps(S) * entry + entry_lost) * np.asarray(scale * dloss)[..., None] + 4 * smallest(S)
    )
    size, lost = (row_loss, row_lost) if options["reduction"] == "none" else (row_loss.sum(), row_lost.sum())
    assert_within(loss, expected_loss, (4 * eps(S) * size + lost) * scale + 4 * smallest(S))
    assert_same_bits(np.asarray(fg.cross_entropy(S, target, **without_dloss(options))), np.asarray(loss))


@given(
    st.sampled_from([100, 700, 1000, 2049, 4096, 50_000]), st.sampled_from(DTYPES), st.sampled_from([1e-2, 0.37, 0.5])
)
def test_sums_of_many_equal_terms(size, dtype, smoothing):
    """Shares of classes, losses of rows, and weights of rows, one of which is larger by far."""
    even = np.zeros((1, size), dtype)
    expected = np.log(np.longdouble(size))
    for target, options in (([3], {"label_smoothing": smoothing}), (np.full_like(even, 1 / size), {})):
        total = np.sum(target, dtype=np.longdouble) if isinstance(target, np.ndarray) else 1
        assert_within(fg.cross_entropy(even, target, **options), total * expected, 4 * eps(even) * expected)
    rows = np.tile(np.array([0, 0.1], dtype), (size, 1))
    expected = reference.cross_entropy(rows[:1].astype(np.longdouble), [0])
    assert_within(fg.cross_entropy(rows, np.zeros(size, int)), expected, 4 * eps(even) * expected)
    weights = np.full(size, eps(even) * 8, dtype)
    weights[3] = 1
    _, dS = fg.cross_entropy_value_and_grad(np.zeros((size, 2), dtype), np.zeros(size, int), sample_weight=weights)
    expected = wide(weights)[0] / 2 / wide(weights)[0].sum()
    assert_within(dS[:, 1], expected, 16 * eps(even) * expected)


@given(problems())
def test_in_place_over_the_logits(problem):
    S, target, options = problem
    loss, dS = fg.cross_entropy_value_and_grad(S, target, **options)
    again, out = fg.cross_entropy_value_and_grad(S, target, **options, out=S)
    assert out is S
    assert_same_bits(np.asarray(again), np.asarray(loss))
    assert_same_bits(S, dS)


@given(problems(sizes(33, least=1)))
def test_gradient_is_the_derivation(problem):
    """dS_ij = Σ_r Σ_c dL_rc δ_ri (δ_cj − p_rj) with the cotangent dL of log-softmax, the deltas as written."""
    S, target, options = problem
    S = np.clip(S.astype(np.float64), -300, 300)
    S, k = S.reshape(-1, S.shape[-1]), S.shape[-1]
    target = target.reshape(-1) if target.dtype == np.int64 else target.reshape(-1, k).astype(np.float64)
    if target.dtype != np.int64:
        target /= target.sum(-1, keepdims=True)
    smoothing, weight = options["label_smoothing"], options.get("weight", np.ones(k))
    t = np.eye(k)[np.where(target == -100, 0, target)] if target.dtype == np.int64 else target
    dL = -weight * ((1 - smoothing) * t + smoothing / k)
    if target.dtype == np.int64:
        dL[target == -100] = 0
    p, rows, columns = reference.softmax(S), np.eye(len(S)), np.eye(k)
    literal = np.einsum("rc,ri,cj->ij", dL, rows, columns) - np.einsum("rc,ri,rj->ij", dL, rows, p)
    _, dS = fg.cross_entropy_value_and_grad(S, target, weight=weight, label_smoothing=smoothing, reduction="sum")
    assert_within(dS, literal, 64 * eps(S) * (np.abs(dL).sum(-1, keepdims=True) + 1e-3))


@given(problems(classes(least=2)), seeds)
def test_gradient_is_the_complex_step(problem, seed):
    """Im J(S + i h V) / h is the derivative of J along V, without a difference to cancel in."""
    S, target, options = problem
    options = without_dloss(options)
    S = np.clip(S.astype(np.float64), -300, 300)
    V = np.random.default_rng(seed).standard_normal(S.shape)
    step, k = 1e-30, S.shape[-1]
    smoothing, weight = options["label_smoothing"], options.get("weight", np.ones(k))
    weight = weight.astype(np.float64)
    t = target.astype(np.float64) if target.dtype != np.int64 else np.arange(k) == target[..., None]
    s = options.get("sample_weight", np.float64(1)).astype(np.float64) * (target != -100 if t.dtype == bool else 1)
    z = S + 1j * step * V
    lse = S.max(-1) + np.log(np.exp(z - S.max(-1, keepdims=True)).sum(-1))
    shares = weight * ((1 - smoothing) * t + smoothing / k)
    losses = s * ((shares * (lse[..., None] - z)).sum(-1) + options["z_loss"] * lse**2 * (weight * t).sum(-1))
    _, dS = fg.cross_entropy_value_and_grad(S, target, **(options | {"reduction": "sum"}))
    size = 1 + (np.abs(dS) * np.abs(V)).sum()
    assert abs(np.imag(losses.sum()) / step - (dS * V).sum()) <= 1e-11 * size


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [2, 10, 140])
def test_saturated_rows_against_two_hundred_digits(dtype, k):
    rng = np.random.default_rng(k)
    for scale, target in itertools.product((1, 20, 80), (0, k - 1)):
        S = (scale * rng.standard_normal(k)).astype(dtype)
        loss, dS = fg.cross_entropy_value_and_grad(S, target)
        lost = unavoidable(S)
        with mpmath.workdps(200):
            exps = [mpmath.exp(mpmath.mpf(float(x))) for x in S]
            total = mpmath.fsum(exps)
            exact = mpmath.log(total / exps[target])
            assert abs(mpmath.mpf(float(loss)) - exact) <= 4 * eps(S) * exact + lost[target] + smallest(S)
            for j in range(k):
                others = mpmath.fsum(e for c, e in enumerate(exps) if c != target)
                entry = -others / total if j == target else exps[j] / total
                bound = (16 * eps(S) + lost.max()) * abs(entry) + 4 * smallest(S)
                assert abs(mpmath.mpf(float(dS[j])) - entry) <= bound


# --- values that are special, and wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [3, 17, 70, 130, 150])
def test_special_values(dtype, k):
    """−inf is probability and gradient 0; all −inf, +inf and NaN make their row NaN, and no other."""
    rng = np.random.default_rng(k)
    S, target = rng.standard_normal((40, k)).astype(dtype), rng.integers(0, 2, 40)
    S[3, 2] = S[4, 2] = -np.inf
    S[5, target[5]] = -np.inf
    S[7], S[9, k // 2], S[11, 0], S[12, -1] = -np.inf, np.inf, np.nan, np.nan
    spoilt = [7, 9, 11, 12]
    clean = [i for i in range(40) if i not in spoilt]
    probabilities = np.eye(k, dtype=dtype)[target]
    for kind in (target, probabilities):
        loss, dS = fg.cross_entropy_value_and_grad(S, kind, reduction="none", z_loss=1e-3)
        assert np.isnan(loss[spoilt]).all()
        assert np.isnan(dS[spoilt]).all()
        assert np.isfinite(dS[clean]).all()
        assert loss[5] == np.inf
        assert np.isfinite(np.delete(loss, [*spoilt, 5])).all()
        assert dS[3, 2] == dS[4, 2] == 0
        assert np.isnan(fg.cross_entropy(S, kind))
    smooth = fg.cross_entropy(S, target, reduction="none", label_smoothing=0.1)
    assert smooth[3] == smooth[4] == smooth[5] == np.inf
    weight = np.where(np.arange(k) == 2, 0, 1).astype(dtype)
    assert np.isfinite(fg.cross_entropy(S, target, reduction="none", label_smoothing=0.1, weight=weight)[3:5]).all()


def test_huge_logits_without_z_loss():
    """Where logsumexp² overflows, 0 times it is still 0."""
    loss, dS = fg.cross_entropy_value_and_grad(np.array([[1e30, 0, 0]], np.float32), [0])
    assert loss == 0
    assert np.array_equal(dS, np.zeros((1, 3)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mean_has_the_same_bits_for_any_number_of_threads(dtype):
    rng = np.random.default_rng(0)
    before = numba.get_num_threads()
    for shape in ((3001, 10), (301, 200)):
        S, target, weight = (
            rng.standard_normal(shape).astype(dtype),
            rng.integers(0, shape[1], shape[0]),
            rng.random(shape[1]),
        )
        for options in ({}, {"label_smoothing": 0.1}, {"weight": weight.astype(dtype)}):
            results = []
            for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
                numba.set_num_threads(threads)
                try:
                    with large_calls() as calls:
                        results.append(fg.cross_entropy_value_and_grad(S, target, **options))
                        assert calls
                finally:
                    numba.set_num_threads(before)
            for result in results[1:]:
                assert_same_bits(tuple(map(np.asarray, result)), tuple(map(np.asarray, results[0])))


@pytest.mark.parametrize("k", [7, 20, 100, 300, 5000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_logits_larger_than_caches_change_no_bit(dtype, k):
    """Rows of 13 MB are fetched, unlike a few of them alone: the losses, and the gradient, over the logits too."""
    rng, n = np.random.default_rng(0), 13 * 2**20 // (k * np.dtype(dtype).itemsize)
    S, target = rng.standard_normal((n, k)).astype(dtype), rng.integers(0, k, n)
    loss, dS = fg.cross_entropy_value_and_grad(S, target, reduction="none")
    assert_same_bits(fg.cross_entropy(S, target, reduction="none"), loss)
    for start in (0, n // 2, n - 9):
        rows = slice(start, start + 9)
        few = fg.cross_entropy_value_and_grad(S[rows], target[rows], reduction="none")
        assert_same_bits(few, (loss[rows], dS[rows]))
    fg.cross_entropy_value_and_grad(S, target, reduction="none", out=S)
    assert_same_bits(S, dS)


def test_a_long_row_sums_without_drift():
    """100 000 equal terms: a running float32 sum would be off by hundreds of eps."""
    S = np.zeros(100_001, np.float32)
    S[7] = 3.3
    for options in ({}, {"label_smoothing": 0.1}):
        expected_loss, expected = reference.cross_entropy_value_and_grad(S.astype(np.float64), 7, **options)
        loss, dS = fg.cross_entropy_value_and_grad(S, 7, **options)
        assert_within(loss, expected_loss, 4 * eps(S) * expected_loss)
        assert_within(dS, expected, 16 * eps(S) * np.abs(expected))


@pytest.mark.parametrize(
    "kind", [np.int8, np.uint8, np.int32, np.uint64, np.dtype(np.int64).newbyteorder(), bool, list]
)
def test_any_integers_are_class_indices(kind):
    S = np.random.default_rng(0).standard_normal((6, 4))
    target = np.array([0, 1, 1, 0, 0, 1])
    expected = fg.cross_entropy_value_and_grad(S, target)
    assert_same_bits(
        fg.cross_entropy_value_and_grad(S, target.tolist() if kind is list else target.astype(kind)), expected
    )


def test_class_indices_of_any_integers_are_kept_from_out():
    """Also where a kernel is given a converted copy."""
    memory = np.zeros(24, np.float32)
    out, target = memory.reshape(6, 4), memory[:6].view(np.int32)
    S, X, W = np.ones((6, 4), np.float32), np.ones((6, 3), np.float32), np.ones((4, 3), np.float32)
    with pytest.raises(ValueError, match="out overlaps target"):
        fg.cross_entropy_value_and_grad(S, target, out=out)
    outs = memory[:18].reshape(6, 3), np.empty_like(W), np.empty(4, np.float32)
    with pytest.raises(ValueError, match=r"out\[0\] \(dX\) overlaps target"):
        fg.linear_cross_entropy_value_and_grad(X, W, None, target, out=outs)
    assert not memory.any()


def test_python_numbers_leave_the_dtype():
    S, target = np.ones((2, 3), np.float32), np.array([0, 1])
    for options in ({"dloss": 0.5}, {"dloss": 2}, {"z_loss": np.float64(0.1)}, {"label_smoothing": 0.5}):
        loss, dS = fg.cross_entropy_value_and_grad(S, target, **options)
        assert loss.dtype == dS.dtype == np.float32
    for options in ({"dloss": np.float64(0.5)}, {"weight": np.ones(3)}, {"sample_weight": [1, 2]}):
        loss, dS = fg.cross_entropy_value_and_grad(S, target, **options)
        assert loss.dtype == dS.dtype == np.float64


WRONG = [
    ({"target": [0, 7, 1]}, ValueError, "target holds 7 at (1,) but must be at least 0 and below 4"),
    ({"target": [0, -1, 1]}, ValueError, "target holds -1 at (1,)"),
    ({"target": np.array([0, 2**64 - 100, 1], np.uint64)}, ValueError, "target holds 18446744073709551516 at (1,)"),
    ({"target": [[0, 1, 2]]}, ValueError, "target has shape (1, 3) but beside S of shape (3, 4) it needs (3,)"),
    ({"target": np.full((3, 4), 0.3)}, ValueError, "target at (0,) sums to 1.2 but probabilities must sum to 1"),
    ({"target": np.tile([1.5, -0.5, 0, 0], (3, 1))}, ValueError, "target holds -0.5 at (0, 1) but probabilities must"),
    ({"target": np.full((3, 4), np.nan)}, ValueError, "target holds nan at (0, 0)"),
    ({"target": np.array([0.0, 1.0, 1.0])}, ValueError, "target has shape (3,) but beside S of shape (3, 4) it needs"),
    ({"weight": [1, 2, -3, 1]}, ValueError, "weight holds -3 at (2,) but must not be negative or NaN"),
    ({"sample_weight": [1, np.nan, 1]}, ValueError, "sample_weight holds nan at (1,)"),
    ({"label_smoothing": 1.5}, ValueError, "label_smoothing is 1.5 but must be between 0 and 1"),
    ({"label_smoothing": np.nan}, ValueError, "label_smoothing is nan"),
    ({"label_smoothing": "a"}, TypeError, "label_smoothing has dtype"),
    ({"z_loss": [1.0]}, ValueError, "z_loss has shape (1,) but must be one number"),
    ({"reduction": "average"}, ValueError, "reduction is 'average' but must be"),
    ({"reduction": ["mean"]}, ValueError, "reduction is ['mean'] but must be"),
    ({"ignore_index": 0.5}, TypeError, "ignore_index is 0.5 but must be an integer"),
    ({"ignore_index": 2**63}, ValueError, "ignore_index is 9223372036854775808 but must fit into 64 bits"),
]


@pytest.mark.parametrize(("wrong", "exception", "message"), WRONG)
def test_wrong_values(wrong, exception, message):
    options = dict(wrong)
    target = options.pop("target", [0, 1, 2])
    out = np.full((3, 4), 7.0)
    for function, more in ((fg.cross_entropy, {}), (fg.cross_entropy_value_and_grad, {"out": out})):
        with pytest.raises(exception, match=re.escape(f"{function.__name__}: {message}")):
            function(np.ones((3, 4)), target, **options, **more)
    assert (out == 7).all()


def test_wrong_upstream_gradients():
    for dloss, reduction in (([1, 1, 1], "mean"), ([1, 1], "none"), ([[1, 1, 1]], "none")):
        with pytest.raises(ValueError, match="cross_entropy_value_and_grad: dloss has shape"):
            fg.cross_entropy_value_and_grad(np.ones((3, 4)), [0, 1, 2], dloss=dloss, reduction=reduction)
    with pytest.raises(TypeError, match="dloss has dtype"):
        fg.cross_entropy_value_and_grad(np.ones((3, 4)), [0, 1, 2], dloss=1j)
