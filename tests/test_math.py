"""The elementary functions against mpmath: the ulp bounds of their docstrings, over the whole range and its edges."""

import mpmath
import numba
import numpy as np
import pytest
from problems import DTYPES, arguments, ulps

from fastgrad.kernels import _loads, _math, _simd, _tanh

BOUNDS = {"exp": 1, "expm1": 2, "log": 2, "log1p": 2, "tanh": 2, "sigmoid": 2, "erf": 2}
AT_INFINITY = {"exp": (0, mpmath.inf), "expm1": (-1, mpmath.inf), "tanh": (-1, 1), "erf": (-1, 1), "sigmoid": (0, 1)}


def function_of(name):
    return getattr(_tanh if name == "tanh" else _math, name)


def on_array(function):
    first, load, store, lanes, splat = _simd.first, _loads.load_masked, _loads.store_masked, _simd.lanes, _simd.splat

    @numba.njit(error_model="numpy")
    def run(x, result):
        for i in range(0, x.size, lanes(x)):
            inside = first(x, x.size - i)
            store(result, i, function(load(x, i, inside, splat(x, 0))), inside)

    return run


def exact_value(name, x):
    if np.isnan(x):
        return mpmath.nan
    if np.isinf(x):
        return AT_INFINITY.get(name, (mpmath.nan, mpmath.inf))[int(x > 0)]
    x = mpmath.mpf(float(x))
    if name.startswith("log"):
        edge = -1 if name == "log1p" else 0
        if x <= edge:
            return -mpmath.inf if x == edge else mpmath.nan
    return 1 / (1 + mpmath.exp(-x)) if name == "sigmoid" else getattr(mpmath, name)(x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BOUNDS)
def test_ulp_bound(name, dtype):
    x = arguments(dtype)
    got = np.empty_like(x)
    on_array(function_of(name))(x, got)
    with mpmath.workprec(160):
        errors = [ulps(y, mpmath.mpmathify(exact_value(name, value)), dtype) for value, y in zip(x, got, strict=True)]
    worst = int(np.argmax(errors))
    assert errors[worst] <= BOUNDS[name], f"{name}({x[worst]!r}) = {got[worst]!r} is {errors[worst]:.3f} ulp off"
    assert f"within {BOUNDS[name]} ulp" in function_of(name).__doc__


@pytest.mark.parametrize("name", [name for name in BOUNDS if name != "erf"])
def test_ulp_bound_of_four_million_float32(name):
    """Against NumPy in float64: an error that only a few exponents have is met."""
    x = np.arange(0, 2**32, 1009, dtype=np.uint64).astype(np.uint32).view(np.float32)
    got = np.empty_like(x)
    on_array(function_of(name))(x, got)
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64)
        exact = 1 / (1 + np.exp(-wide)) if name == "sigmoid" else getattr(np, name)(wide)
        rounded = exact.astype(np.float32)
        error = np.abs(got - exact) / np.spacing(np.abs(rounded))
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(got[~finite], rounded[~finite])
    worst = np.argmax(np.where(finite, error, 0))
    assert error[worst] <= BOUNDS[name], f"{name}({x[worst]!r}) = {got[worst]!r} is {error[worst]:.3f} ulp off"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["expm1", "log1p", "tanh", "erf"])
def test_signed_zero_stays(name, dtype):
    x = np.array([0.0, -0.0], dtype)
    got = np.empty_like(x)
    on_array(function_of(name))(x, got)
    np.testing.assert_array_equal(np.signbit(got), [False, True])
