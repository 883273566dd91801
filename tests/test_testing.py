"""The testing kit proves itself: every mistake of `gradients.py` is rejected, every right gradient accepted.

`conftest.py` counts both in the last lines of the run.
"""

import re
from pathlib import Path

import gradients as g
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import DTYPES

import fastgrad as fg
from fastgrad import testing

RNG = np.random.default_rng(7)
X, W, B, V, T = (RNG.standard_normal(shape) for shape in ((6, 4), (4, 4), 4, (3, 4), (6, 4)))
TARGET = np.array([0, 3, 5, 2, 1])
S = 3 * RNG.standard_normal((5, 6))
SATURATED, LARGE = S + 22 * (np.arange(6) == TARGET[:, None]), S + 800


def vjp_of(f):
    return lambda vjp, args: testing.check_vjp(f, vjp, args)


def jvp_of(f):
    return lambda jvp, args: testing.check_jvp(f, jvp, args)


def with_threads(function, args):
    testing.check_threads(function, args, threads=(1, 2, 3, 7), set_threads=g.set_threads)


# check, arguments, the right gradient, the mistakes in it
DERIVATIVES = [
    (
        vjp_of(g.mean_square),
        (X, W, T),
        g.mean_square_vjp,
        (g.without_the_1_over_n, g.without_the_2, g.sign_of_the_target, g.loss_gradient_ignored),
    ),
    (
        vjp_of(g.affine),
        (X, W, B),
        g.affine_vjp,
        (
            g.transposed_W,
            g.transposed_dW,
            g.upstream_ignored_in_dW,
            g.mean_of_the_bias,
            g.last_row_left_out,
            g.no_bias_gradient,
            g.first_row_only,
        ),
    ),
    (vjp_of(fg.affine), (X, W, B), g.affine_vjp, (g.transposed_W, g.upstream_ignored_in_dW, g.last_row_left_out)),
    (jvp_of(g.affine), (X, W, B), g.affine_jvp, (g.bias_tangent_ignored, g.tangents_multiplied)),
    (vjp_of(g.relu_layer), (X, W), g.relu_layer_vjp, (g.relu_of_the_cotangent, g.relu_not_masked)),
    (vjp_of(g.net), (X, W, V), g.net_vjp, (g.tanh_of_the_input,)),
    (
        vjp_of(g.softmax),
        (S,),
        g.softmax_vjp,
        (g.softmax_elementwise, g.softmax_sum_left_out, g.softmax_sum_over_rows),
    ),
    (vjp_of(g.softmax), (SATURATED,), g.softmax_vjp, (g.softmax_usual,)),
    (vjp_of(g.cross_entropy), (SATURATED, TARGET), g.cross_entropy_vjp, (g.p_minus_1,)),
    (vjp_of(g.logsumexp), (LARGE,), g.logsumexp_vjp, (g.max_not_excluded,)),
    (vjp_of(g.normalise), (S,), g.normalise_vjp, (g.normalise_mean_left_out,)),
    (vjp_of(g.silu), (S,), g.silu_vjp, (g.silu_product_rule_forgotten,)),
    (
        lambda jvp, args: testing.check_adjoint(jvp, g.affine_vjp, args),
        (X, W, B),
        g.affine_jvp,
        (g.bias_tangent_ignored,),
    ),
    (
        lambda J, args: testing.check_jacobian(fg.softmax, J, args),
        (S[0],),
        lambda S: fg.softmax_jacobian(fg.softmax(S)),
        (g.jacobian_without_delta,),
    ),
    (
        lambda hvp, args: testing.check_hvp(g.quartic_gradient, hvp, args),
        (X,),
        g.quartic_hvp,
        (g.quartic_hvp_diagonal,),
    ),
]
# the same for what does not depend on the formula
INVARIANTS = [
    (testing.check_accumulate, (T, X), fg.affine_dw, (g.not_accumulating,)),
    (testing.check_out, (T, X), fg.affine_dw, (g.accumulating_always, g.out_ignored, g.out_as_contiguous)),
    (testing.check_inputs_unmodified, (T, X), lambda dY, X: dY * (1 - np.tanh(X) ** 2), (g.writes_its_input,)),
    (testing.check_layouts, (T, X), lambda dY, X: dY.T @ X, (g.as_if_contiguous,)),
    (
        lambda vjp, args: testing.check_linearity(np.tanh, vjp, args),
        (X,),
        lambda dY, X: dY * (1 - np.tanh(X) ** 2),
        (g.clipped,),
    ),
    (testing.check_batch_invariance, (S,), g.softmax, (g.normalised_over_the_batch,)),
    (with_threads, (RNG.standard_normal((999, 3)),), fg.affine_db, (g.sum_split_by_threads,)),
    (testing.check_deterministic, (RNG.standard_normal((999, 3)),), fg.affine_db, (g.atomic_sum, g.never_cleared)),
]
CASES = [(*case, dtype) for case in DERIVATIVES for dtype in DTYPES] + [(*case, np.float64) for case in INVARIANTS]
MISTAKES = [(check, args, wrong, dtype) for check, args, _, wrongs, dtype in CASES for wrong in wrongs]
# float64 alone: what rounding to float32 does to a gradient
MISTAKES.append((vjp_of(g.silu), (S,), g.in_float32, np.float64))
# whatever is not real, or no number at all
MISTAKES += [
    (check, (S,), wrong, np.float64)
    for check in (
        vjp_of(np.tanh),
        lambda jvp, args: testing.check_jvp(np.tanh, jvp, args),
        lambda jvp, args: testing.check_adjoint(jvp, lambda dY, X: dY * (1 - np.tanh(X) ** 2), args),
        lambda vjp, args: testing.check_adjoint(lambda dX, X: dX * (1 - np.tanh(X) ** 2), vjp, args),
    )
    for wrong in (g.complex_tanh_vjp, g.tanh_vjp_of_nan)
]


def of_dtype(args, dtype):
    return tuple(a.astype(dtype) if a.dtype.kind == "f" else a for a in args)


def name(function, dtype):
    return f"{getattr(function, '__name__', 'right')}-{np.dtype(dtype)}"


@pytest.mark.parametrize(
    ("check", "args", "right", "dtype"),
    [(c, a, r, d) for c, a, r, _, d in CASES],
    ids=[name(c[2], c[4]) for c in CASES],
)
def test_right_gradient_is_accepted(check, args, right, dtype):
    check(right, of_dtype(args, dtype))


@pytest.mark.parametrize(("check", "args", "wrong", "dtype"), MISTAKES, ids=[name(m[2], m[3]) for m in MISTAKES])
def test_wrong_gradient_is_rejected(check, args, wrong, dtype):
    with pytest.raises(AssertionError, match=r"^check_\w+: "):
        check(wrong, of_dtype(args, dtype))


# --- right ones wherever gradients go wrong --------------------------------------------------------------------------


@given(testing.logits())
def test_right_softmax_gradient_is_accepted_in_every_regime(S):
    testing.check_vjp(g.softmax, g.softmax_vjp, S)
    testing.check_vjp(g.logsumexp, g.logsumexp_vjp, S)
    testing.check_adjoint(fg.softmax_jvp, fg.softmax_vjp, fg.softmax(S))


@given(testing.logits(most=4))
def test_right_gradients_that_take_no_complex_numbers(S):
    testing.check_vjp(fg.log_softmax, lambda dL, S: fg.log_softmax_vjp(dL, fg.log_softmax(S)), S)
    testing.check_jvp(fg.softmax, lambda dS, S: fg.softmax_jvp(dS, fg.softmax(S)), S)


@given(testing.affine_problems(lead=st.tuples(st.integers(1, 5)), most=5))
def test_right_layers_are_accepted(problem):
    X, W, b, dY = problem
    testing.check_vjp(fg.affine, lambda dY, X, W, b: fg.affine_vjp(dY, X, W), (X, W, b))
    testing.check_vjp(g.relu_layer, g.relu_layer_vjp, (X, W))  # kinks wherever X Wᵀ is 0
    for check in (testing.check_out, testing.check_accumulate, testing.check_deterministic):
        check(fg.affine_vjp, (dY, X, W))
    testing.check_layouts(fg.affine_vjp, (dY, X, W), exact=True)
    testing.check_layouts(fg.affine, (X, W, None), exact=True)
    testing.check_batch_invariance(fg.affine_dx, (dY, W), exact=True)


@given(testing.logits(classes=5), st.data())
def test_right_cross_entropy_is_accepted(S, data):
    if np.isfinite(S).all():
        target = data.draw(testing.targets(len(S), 5))
        testing.check_vjp(g.cross_entropy, g.cross_entropy_vjp, (S, target))


# --- what it says ----------------------------------------------------------------------------------------------------


def message(check, *args, **options):
    with pytest.raises(AssertionError) as caught:
        check(*args, **options)
    return str(caught.value)


def test_of_one_wrong_entry_among_many_nothing_is_said_of_every_entry():
    """Where it is found in all that are not looked at one by one."""

    def vjp(dY, X):
        dX = dY * (1 - np.tanh(X) ** 2)
        dX[777] *= 2
        return dX

    text = message(testing.check_vjp, np.tanh, vjp, np.linspace(-1, 1, 2000), entries=5)
    assert "vjp, at x[777]" in text
    assert "in every entry" not in text


def test_the_message_names_the_worst_entry_and_repeats_it():
    X, W = np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([[3.0, -1.0]])

    def vjp(dY, X, W):
        dX, dW = dY @ W, dY.T @ X
        dW[0, 1] += 1
        return dX, dW

    text = message(testing.check_vjp, lambda X, W: X @ W.T, vjp, (X, W))
    assert "the gradient of W is wrong in 1 of 2 entries" in text
    assert "at W[0, 1]" in text
    assert "complex step" in text
    scope = {"np": np, "vjp": vjp}
    *lines, last = (line.strip() for line in text.split("To repeat:\n")[1].splitlines())
    for line in lines:
        exec(line, scope)
    got = float(re.search(r"W\[0, 1\] +(\S+)", text).group(1))
    assert eval(last, scope) == got


@pytest.mark.parametrize(
    ("wrong", "guess"),
    [
        (lambda dY, X: 2 * dY * X / 6, "yours is 1/6 of that in every entry"),
        (lambda dY, X: -2 * dY * X, "minus that in every entry: is a sign wrong?"),
        (lambda dY, X: 2 * X, "is dY used?"),
        (lambda dY, X: (2 * dY * X).T, "the transpose of that"),
        (lambda dY, X: 2 * dY * X * np.nan, "not finite"),
        (lambda dY, X: 2 * dY * X * (1 + 1e-5 * np.sin(X)), "the leading digits are right"),
        (lambda dY, X: np.where(X > 0, 0, 2 * dY * X), "does it round to 0"),
    ],
)
def test_the_message_guesses_what_is_wrong(wrong, guess):
    assert guess in message(testing.check_vjp, lambda X: X**2, wrong, W)


def test_kinks_are_detected_and_said():
    x = np.array([-1.0, 0.0, 2.0])
    for f in (lambda x: np.maximum(x, 0), fg_relu):
        for at_zero in (0.0, 0.5, 1.0):
            testing.check_vjp(f, lambda dY, x, z=at_zero: dY * np.where(x == 0, z, x > 0), x)
        text = message(testing.check_vjp, f, lambda dY, x: dY * np.where(x == 0, -1, x > 0), x)
        assert "f is not differentiable at x[1]: anything from" in text
    ties = np.array([3.0, 3.0, 1.0])
    testing.check_vjp(lambda x: x.max(), lambda dY, x: dY * np.array([1.0, 0, 0]), ties)
    testing.check_vjp(lambda x: x.max(), lambda dY, x: dY * np.array([0.5, 0.5, 0]), ties)
    assert "not differentiable" in message(
        testing.check_vjp, lambda x: x.max(), lambda dY, x: dY * np.array([1.5, 0.5, 0]), ties
    )


def fg_relu(x):
    """Refuses complex numbers."""
    return np.maximum(np.asarray(x, dtype=np.float64, copy=None), 0) if x.dtype.kind == "f" else 1 / 0


def test_what_cannot_be_told_is_said():
    x = np.array([0.5, 2.0])
    calls = iter(range(10**6))
    text = message(testing.check_vjp, lambda x: x + next(calls), lambda dY, x: dY, x)
    assert "not deterministic" in text
    noisy = message(testing.check_vjp, lambda x: np.real(x) + 1e-3 * np.sin(1e17 * np.real(x)), lambda dY, x: dY, x)
    assert "cannot tell at x[0]" in noisy
    with pytest.raises(TypeError, match="floating-point"):
        testing.check_vjp(lambda n: n, lambda dY, n: dY, np.array([1, 2]))


def test_shapes_are_checked():
    text = message(testing.check_vjp, g.affine, lambda dY, X, W, b: (dY @ W, dY.T @ X), (X, W, B))
    assert text == "check_vjp: vjp gives 2 arrays but needs 3: one for each of X, W, b"
    text = message(testing.check_vjp, g.affine, lambda dY, X, W, b: (dY @ W, dY.T @ X, dY.sum()), (X, W, B))
    assert text == "check_vjp: vjp gives shape () for b but needs (4,)"


def test_a_function_that_is_not_analytic_falls_back_to_differences():
    """|x| of a complex number is real, and x.real drops the step: both would make the derivative 0."""
    for f, vjp in (
        (lambda x: np.abs(x) ** 3, lambda dY, x: dY * 3 * x * np.abs(x)),
        (lambda x: np.real(x) * 2 + 0 * x, lambda dY, x: 2 * dY),
    ):
        testing.check_vjp(f, vjp, np.array([1.0, -2.0, 0.5]))
        assert "central differences" in message(testing.check_vjp, f, lambda dY, x: 0 * dY, np.array([1.0, -2.0]))


def test_a_function_that_computes_in_float32_inside_is_judged_by_what_it_can_tell():
    def f(x):
        return np.tanh(np.asarray(x, np.float32)).astype(np.float64)

    x = np.array([0.5, -0.3, 1.2])
    testing.check_vjp(f, lambda dY, x: dY * (1 - np.tanh(x) ** 2), x)
    assert "central differences" in message(testing.check_vjp, f, lambda dY, x: dY * (1 - np.tanh(x)), x)


def test_one_wrong_entry_among_many_is_found():
    X, W = RNG.standard_normal((40, 50)), RNG.standard_normal((7, 50))

    def vjp(dY, X, W):
        dX = dY @ W
        dX[31, 17] *= 1.01
        return dX, dY.T @ X

    text = message(testing.check_vjp, lambda X, W: X @ W.T, vjp, (X, W), entries=30)
    assert "at X[31, 17]" in text
    testing.check_vjp(lambda X, W: X @ W.T, lambda dY, X, W: (dY @ W, dY.T @ X), (X, W), entries=30)


def test_masked_logits_and_results_that_are_not_finite():
    S = np.array([[1.0, -np.inf, 2.0, 0.5]])
    testing.check_vjp(g.softmax, g.softmax_vjp, S)
    testing.check_vjp(fg.log_softmax, lambda dL, S: fg.log_softmax_vjp(dL, fg.log_softmax(S)), S)


def test_several_results_integers_and_scalars():
    def f(x, n, a):
        return x * a, x**n

    def vjp(dY, x, n, a):
        return dY[0] * a + dY[1] * n * x ** (n - 1), None, (dY[0] * x).sum()

    args = (np.array([0.5, 2.0]), np.array([2, 3]), 1.5)
    testing.check_vjp(f, vjp, args)
    text = message(testing.check_vjp, f, lambda *a: (*vjp(*a)[:2], 0.0), args)
    assert "the gradient of a is wrong in 1 of 1 entries" in text


def test_the_seed_decides():
    def wrong(dY, X):
        return dY * X

    texts = [message(testing.check_vjp, lambda X: X**2, wrong, X, seed=seed) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


NUMBER = re.compile(r"-?\d+\.\d*(?:e-\d+)?|\d+e-\d+")


def test_the_message_in_readme_is_the_real_one():
    """The same words, and numbers that differ by no more than a C library's exp does."""
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    code, shown = re.search(r"```py\n(.*?)```\n\n```text\n(.*?)```", readme, re.DOTALL).groups()
    scope = {}
    real = "AssertionError: " + message(exec, code, scope) + "\n"
    assert NUMBER.sub("…", real) == NUMBER.sub("…", shown)
    numbers = [[float(n) for n in NUMBER.findall(text)] for text in (real, shown)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-2)

    mended = code.replace("p[target] -= 1", "p[target] = 0; p[target] = -p.sum()")
    assert mended != code
    exec(mended, {})
