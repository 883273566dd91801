"""What the options of cross-entropy mean, as in PyTorch, and cases from public bug reports, with their numbers."""

import importlib.util
import itertools

import numpy as np
import pytest
from problems import DTYPES, assert_within
from test_softmax import eps, smallest, unavoidable

import fastgrad as fg
from fastgrad import reference

HAS_TORCH = importlib.util.find_spec("torch") is not None

LOGITS = np.array([[0.5, -1.0, 2.0, 0.0], [1.5, 0.25, -0.75, 1.0], [-2.0, 0.5, 0.5, 3.0]])
WEIGHT = np.array([1.0, 0.5, 2.0, 0.25])
TARGETS = {
    "index": np.array([2, 0, 1]),
    "ignored": np.array([2, -100, 1]),
    "probabilities": np.array([[0.25, 0.25, 0.5, 0], [1, 0, 0, 0], [0.125, 0.5, 0.125, 0.25]]),
}
# target, weighted, smoothing: mean and sum of torch.nn.functional.cross_entropy 2.13, last row of the mean's gradient
BY_TORCH = [
    ("index", 0, 0.0, 1.230831088554805, 3.692493265664416, [0.001918154492045, -0.309965427818297, 0.023367905515036]),
    ("index", 0, 0.2, 1.405831088554805, 4.217493265664416, [-0.014748512174622, -0.259965427818297, 0.00670123884837]),
    ("index", 1, 0.0, 0.773129461074768, 2.705953113761688, [0.000822066210876, -0.132842326207842, 0.010014816649301]),
    (
        "index",
        1,
        0.2,
        0.968101422377551,
        3.388354978321428,
        [-0.013319786487934, -0.109661161865643, -0.01680401900853],
    ),
    ("ignored", 0, 0.0, 1.500064525487461, 3.000129050974921, [0.002877231738068, -0.464948141727446, 0.0350518582725]),
    (
        "ignored",
        0,
        0.2,
        1.662564525487461,
        3.325129050974922,
        [-0.022122768261932, -0.389948141727446, 0.0100518582725],
    ),
    ("ignored", 1, 0.0, 0.805435559628877, 2.013588899072194, [0.001150892695227, -0.185979256690978, 0.0140207433090]),
    ("ignored", 1, 0.2, 0.976858126526221, 2.442145316315553, [-0.018647701083108, -0.1535256266119, -0.0235256266119]),
    ("probabilities", 0, 0.0, 1.501664421888138, 4.504993265664415, [-0.039748512174622, -0.143298761151631]),
    ("probabilities", 0, 0.2, 1.622497755221472, 4.867493265664416, [-0.048081845507955, -0.126632094484964]),
    ("probabilities", 1, 0.0, 1.298856091709252, 3.896568275127755, [-0.040347935453386, -0.067267898291746]),
    ("probabilities", 1, 0.2, 1.446949035804760, 4.340847107414281, [-0.048585361062117, -0.057766169682661]),
]


@pytest.mark.parametrize(("kind", "weighted", "smoothing", "mean", "total", "entries"), BY_TORCH)
def test_options_mean_what_they_mean_in_pytorch(kind, weighted, smoothing, mean, total, entries):
    options = {"weight": WEIGHT if weighted else None, "label_smoothing": smoothing}
    loss, dS = fg.cross_entropy_value_and_grad(LOGITS, TARGETS[kind], **options)
    close = {"rel": 1e-10, "abs": 1e-11}
    assert loss == pytest.approx(mean, **close)
    assert fg.cross_entropy(LOGITS, TARGETS[kind], **options, reduction="sum") == pytest.approx(total, **close)
    assert fg.cross_entropy(LOGITS, TARGETS[kind], **options, reduction="none").sum() == pytest.approx(total, **close)
    assert dS[2, : len(entries)] == pytest.approx(entries, **close)
    if HAS_TORCH:
        compare_with_torch(LOGITS, TARGETS[kind], options)


def compare_with_torch(S, target, options):
    import torch

    weight = options["weight"]
    weight = None if weight is None else torch.from_numpy(weight)
    for reduction in ("mean", "sum", "none"):
        logits_ = torch.from_numpy(S).requires_grad_(True)
        theirs = torch.nn.functional.cross_entropy(
            logits_,
            torch.from_numpy(target),
            weight=weight,
            label_smoothing=options["label_smoothing"],
            reduction=reduction,
        )
        dloss = np.linspace(-1.0, 2.0, len(S)) if reduction == "none" else np.float64(-0.7)
        (gradient,) = torch.autograd.grad(theirs, logits_, torch.from_numpy(np.asarray(dloss)))
        loss, dS = fg.cross_entropy_value_and_grad(S, target, **options, reduction=reduction, dloss=dloss)
        np.testing.assert_allclose(loss, theirs.detach().numpy(), rtol=1e-13)
        np.testing.assert_allclose(dS, gradient.numpy(), rtol=1e-12, atol=1e-15)


# --- cases from public bug reports -----------------------------------------------------------------------------------


def test_a_gradient_that_is_small_is_not_zero():
    """pytorch 195678, 195680, 195684: p − 1 gives 0 where the entry is −5.55e-17."""
    S, tiny = np.array([[37.42994775023705, 0.0]]), 5.551115123125776e-17
    loss, dS = fg.cross_entropy_value_and_grad(S, [0])
    assert dS == pytest.approx(np.array([[-tiny, tiny]]), rel=8e-15)
    assert loss == pytest.approx(tiny, rel=8e-15)
    Y, L, dY = fg.softmax(S[0]), fg.log_softmax(S[0]), np.array([1.0, 0.0])
    assert fg.softmax_vjp(dY, Y) == pytest.approx(np.array([tiny, -tiny]), rel=8e-15)
    assert fg.log_softmax_vjp(dY, L) == pytest.approx(np.array([tiny, -tiny]), rel=8e-15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_loss_that_is_small_is_not_zero(dtype):
    """pytorch 113708, scipy 19521: x − max − log Σ exp gives 0 where the loss is 1 / e times the smallest number."""
    for small in (np.finfo(dtype).eps, np.finfo(dtype).smallest_normal):
        S = np.array([1 - np.log(small), 0], dtype)
        expected = -reference.log_softmax(S.astype(np.longdouble))[0]
        bound = 4 * eps(S) * expected + unavoidable(S)[1] * expected + smallest(S)
        assert_within(fg.cross_entropy(S, 0), expected, bound)
        assert_within(-fg.log_softmax(S)[0], expected, bound)


def test_an_ignored_row_poisons_nothing():
    """pytorch 11551: logits of −inf in a row that is ignored."""
    S = np.random.default_rng(0).standard_normal((4, 5))
    expected_loss, expected = fg.cross_entropy_value_and_grad(S[:3], [0, 1, 2])
    for poison, smoothing in itertools.product((-np.inf, np.inf, np.nan), (0.0, 0.1)):
        S[3] = poison
        loss, dS = fg.cross_entropy_value_and_grad(S, [0, 1, 2, -1], ignore_index=-1, label_smoothing=smoothing)
        assert np.array_equal(dS[3], np.zeros(5))
        assert np.isfinite(dS).all()
        if smoothing == 0:
            assert loss == expected_loss
            assert np.array_equal(dS[:3], expected)


@pytest.mark.parametrize("k", [5, 150])
def test_all_rows_ignored(k):
    """pytorch 70348: the mean over nothing is 0 here, and so is its gradient."""
    S = np.random.default_rng(0).random((10, k))
    for smoothing, reduction in itertools.product((0.0, 0.1), ("mean", "sum")):
        loss, dS = fg.cross_entropy_value_and_grad(S, [-100] * 10, label_smoothing=smoothing, reduction=reduction)
        assert loss == 0
        assert np.array_equal(dS, np.zeros((10, k)))
    loss, dS = fg.cross_entropy_value_and_grad(np.empty((0, k)), np.empty(0, int))
    assert loss == 0
    assert dS.shape == (0, k)
    assert fg.cross_entropy(np.empty((0, k)), np.empty((0, k))) == 0
    assert fg.cross_entropy(np.empty((3, 0)), [-100] * 3) == 0


def test_a_large_negative_logit_is_no_nan():
    """scikit-learn 28046: the log loss of a raw prediction of −1e3 for the other class."""
    loss, dS = fg.cross_entropy_value_and_grad(np.array([0.0, -1e3]), 1)
    assert loss == 1000
    assert np.array_equal(dS, [1, -1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_large_logit_that_is_masked(dtype):
    """jax 19490: x = [36, 1e4], the large one masked out, which is a logit of −inf here."""
    for S, expected_loss, expected in (([36, -np.inf], 0, [0, 0]), ([36, 1e4], 1e4 - 36, [-1, 1])):
        loss, dS = fg.cross_entropy_value_and_grad(np.array(S, dtype), 0)
        assert loss == expected_loss
        assert np.array_equal(dS, np.array(expected, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [3, 200])
def test_a_row_without_weight_adds_nothing_though_its_loss_is_infinite(dtype, k):
    """However its target is written; NaN in its logits is seen."""
    S = np.zeros((2, k), dtype)
    S[0, 0] = -np.inf
    for reduction in ("none", "sum", "mean"):
        options = {"sample_weight": np.array([0, 1], dtype), "reduction": reduction}
        for target, smoothing in (([0, 1], 0.0), (np.eye(k, dtype=dtype)[:2], 0.0), ([0, 1], 1e-3)):
            for module in (fg, reference):
                loss, dS = module.cross_entropy_value_and_grad(S, target, **options, label_smoothing=smoothing)
                expected = np.log(k)
                assert np.allclose(loss, [0, expected] if reduction == "none" else expected)
                assert not dS[0].any()
                not_a_number = np.where(S == 0, S, np.nan)
                loss = module.cross_entropy(not_a_number, target, **options, label_smoothing=smoothing)
                assert np.isnan(loss).any()


def test_an_upstream_gradient_for_each_row():
    """Liger 968: reduction "none" with ignored rows, and losses that are masked and added afterwards."""
    rng = np.random.default_rng(0)
    S, target = rng.standard_normal((2, 4, 15)), rng.integers(0, 15, (2, 4))
    target[0, :2] = -100
    mask = rng.random((2, 4))
    _, dS = fg.cross_entropy_value_and_grad(S, target, reduction="none", dloss=mask)
    _, of_ones = fg.cross_entropy_value_and_grad(S, target, reduction="none")
    assert_within(dS, mask[..., None] * of_ones, 4 * eps(S))
    assert np.abs(dS[target != -100]).sum(-1).all()
    _, of_one = fg.cross_entropy_value_and_grad(S, target, reduction="none", dloss=2.0)
    assert np.array_equal(of_one, 2 * of_ones)
