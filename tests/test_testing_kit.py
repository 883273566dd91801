"""The rest of the testing kit: its measure of an error, its strategies, and functions of other libraries."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from subprocesses import run

import fastgrad as fg
from fastgrad import testing


def test_gradient_error():
    got = np.array([1.0, 0.0], np.float32)
    eps = np.finfo(np.float32).eps
    assert testing.gradient_error(got, [1 + 3 * float(eps), 0], [1, 0]) == pytest.approx(3, rel=1e-6)
    assert testing.gradient_error(got, [1, 1e-30], [1, 1]) < 1e-20
    assert testing.gradient_error(got, [1, 1e-30], [1, 0]) == np.inf
    assert testing.gradient_error([np.nan], [np.nan], [1]) == 0
    assert testing.gradient_error([np.nan], [0.0], [1]) == np.inf
    assert testing.gradient_error(np.zeros((0, 3)), np.zeros((0, 3)), 1) == 0


REGIMES = {
    "uniform": lambda S: np.abs(S).max() <= 4,
    "saturated": lambda S: (np.sort(S)[:, -1] - np.sort(S)[:, -2] >= 16).all(),
    "offset": lambda S: np.abs(S).min() >= 900,
    "ties": lambda S: (np.sort(S)[:, -1] == np.sort(S)[:, -2]).all(),
    "masked": lambda S: (-np.inf == S).any() and (-np.inf < S).any(-1).all(),
    "subnormal": lambda S: (
        (fg.softmax(S) < np.finfo(S.dtype).smallest_normal).any(-1) & (fg.softmax(S) > 0).all(-1)
    ).any(),
    "equal": lambda S: (S[:, :1] == S).all(),
}


@pytest.mark.parametrize("regime", REGIMES)
@given(data=st.data())
def test_logits_are_of_their_regime(regime, data):
    S = data.draw(testing.logits(regime))
    assert S.ndim == 2
    assert REGIMES[regime](S)


@given(st.data())
def test_strategies_have_the_shapes_that_are_asked_for(data):
    X, W, b, dY = data.draw(testing.affine_problems(dtypes=[np.float32], most=5))
    assert max(X.shape + W.shape) <= 5
    assert dY.shape == (X @ W.T + b).shape
    assert {a.dtype for a in (X, W, b, dY)} == {np.dtype(np.float32)}
    S = data.draw(testing.logits(rows=3, classes=4, dtypes=[np.float64]))
    assert (S.shape, S.dtype) == ((3, 4), np.float64)
    index = data.draw(testing.targets(9, 4, ignore_index=-100))
    assert set(index.tolist()) <= {0, 1, 2, 3, -100}
    p = data.draw(testing.targets(3, 4, kind="probabilities"))
    assert np.allclose(p.sum(-1), 1)
    assert data.draw(testing.cotangents((3, 4))).shape == (3, 4)
    assert np.array_equal(data.draw(testing.layouts())(S), S)


def test_strategies_shrink_to_what_can_be_read():
    text = run(
        """
        import numpy as np
        from hypothesis import given, settings
        from fastgrad import testing

        @settings(derandomize=True, database=None)
        @given(testing.affine_problems())
        def search(problem):
            X, W, b, dY = problem
            testing.check_vjp(lambda X, W: X @ W.T, lambda dY, X, W: (dY @ W, 0 * W), (X, W))

        try:
            search()
        except AssertionError as error:
            print(error)
        """
    )
    args = re.search(r"args = (.*)", text).group(1)
    assert len(args) < 80, args


def test_importing_fastgrad_imports_neither_the_kit_nor_hypothesis():
    code = "import sys, fastgrad; print([m for m in ('hypothesis', 'fastgrad.testing') if m in sys.modules])"
    assert run(code) == "[]"


# --- functions of other libraries ------------------------------------------------------------------------------------

ADAPTERS = {
    "torch": """
        import torch
        F = lambda S, W: torch.softmax(S @ W.T, -1)
        f = lambda *args: F(*map(torch.as_tensor, args))
        vjp = lambda dY, *args: torch.func.vjp(F, *map(torch.as_tensor, args))[1](torch.as_tensor(dY))
    """,
    "jax": """
        import jax
        f = lambda S, W: jax.nn.softmax(S @ W.T)
        vjp = lambda dY, *args: jax.vjp(f, *args)[1](dY)
    """,
    "autograd": """
        import autograd, autograd.numpy as anp
        f = lambda S, W: anp.tanh(anp.dot(S, W.T))
        vjp = lambda dY, *args: autograd.make_vjp(lambda a: f(*a))(args)[0](dY)
    """,
}


def test_readme_shows_these_adapters():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    for code in ADAPTERS.values():
        for line in code.splitlines():
            if line.strip().startswith(("vjp", "f = lambda *args")):
                assert f"`{line.strip()}`" in readme


INSTALLED = [library for library in ADAPTERS if importlib.util.find_spec(library)]


@pytest.mark.parametrize("library", INSTALLED)
def test_adapters(library):
    code = "\n".join(line[8:] for line in ADAPTERS[library].splitlines())
    code += """
import numpy as np
from fastgrad.testing import check_vjp
rng = np.random.default_rng(0)
for dtype in (np.float32, np.float64):
    args = rng.standard_normal((3, 4)).astype(dtype), rng.standard_normal((5, 4)).astype(dtype)
    check_vjp(f, vjp, args)
    try:
        check_vjp(f, lambda *a: (vjp(*a)[0], 1.01 * np.asarray(vjp(*a)[1])), args)
    except AssertionError as error:
        print(str(error).splitlines()[0])
"""
    lines = run(code, OMP_NUM_THREADS="1").splitlines()
    name = "args[1]" if library == "torch" else "W"  # torch's adapter takes *args
    assert [re.sub(r"\d+ of", "n of", line) for line in lines] == [
        f"check_vjp: the gradient of {name} is wrong in n of 20 entries"
    ] * 2
