"""The activations against mpmath within the promised ulps, their gradients as derivatives, and the special values."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import DTYPES, arguments, assert_same_bits, assert_within, dtypes, leads, seeds, sizes, ulps
from regions import large_calls

import fastgrad as fg
from fastgrad import reference
from fastgrad.kernels import _gated, _math


def logistic(x):
    return 1 / (1 + mpmath.exp(-x))


def normal(x):
    """The normal distribution function; mpmath's erfc overflows far out."""
    return mpmath.erfc(max(min(-x, 1000), -1000) / mpmath.sqrt(2)) / 2


def almost_logistic(x):
    """What gelu(approximate="tanh") multiplies x by, and its derivative."""
    root = 2 * mpmath.sqrt(2 / mpmath.pi)
    return logistic(root * (x + mpmath.mpf("0.044715") * x**3)), root * (1 + 3 * mpmath.mpf("0.044715") * x**2)


EXACT = {
    "relu": lambda x: max(x, 0),
    "sigmoid": logistic,
    "tanh": mpmath.tanh,
    "silu": lambda x: x * logistic(x),
    "gelu none": lambda x: x * normal(x),
    "gelu tanh": lambda x: x * almost_logistic(x)[0],
}
BOUNDS = {"relu": 0, "sigmoid": 2, "tanh": 2, "silu": 4, "gelu none": 4, "gelu tanh": 4}


def call(name, *arrays, **options):
    """fastgrad's function of this name, or one of the two gelus."""
    function, _, approximate = name.partition(" ")
    if approximate:
        options["approximate"] = approximate
    return getattr(fg, function)(*arrays, **options)


def pieces_of_range(dtype):
    """Where every value of the five is neither 0 nor 1, densely and up to the far tails; and every magnitude."""
    rng = np.random.default_rng(1)
    single = dtype == np.float32
    tails = [1, 12, 15, 21, 110] if single else [1, 21, 25, 40, 760]
    x = np.concatenate([edge * rng.uniform(-1, 1, 800) for edge in tails])
    return np.concatenate([x.astype(dtype), arguments(dtype)[::4]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_within_the_promised_ulps(name, dtype):
    x = pieces_of_range(dtype)
    x = x[np.isfinite(x)]
    got = call(name, x)
    with mpmath.workprec(160):
        errors = [ulps(y, EXACT[name](mpmath.mpf(float(value))), dtype) for value, y in zip(x, got, strict=True)]
    worst = int(np.argmax(errors))
    assert errors[worst] <= BOUNDS[name], f"{name}({x[worst]!r}) = {got[worst]!r} is {errors[worst]:.3f} ulp off"


@pytest.mark.parametrize("name", ["silu", "gelu none", "gelu tanh"])
def test_ulps_of_four_million_float32(name):
    """Against the same of float64: an error that only a few numbers have is met."""
    first, last = np.array([2.0**-12, 16], np.float32).view(np.int32)
    positive = np.arange(first, last, 61, dtype=np.int32).view(np.float32)
    for x in (positive, -positive):
        got, exact = call(name, x), call(name, x.astype(np.float64))
        error = np.abs(got - exact) / np.spacing(np.abs(exact.astype(np.float32)))
        worst = int(np.argmax(error))
        assert error[worst] <= BOUNDS[name], f"{name}({x[worst]!r}) = {got[worst]!r} is {error[worst]:.3f} ulp off"


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponents_are_small_enough_for_powers_of_two(dtype):
    """`scale_down` takes so many, and gradients are multiplied by two powers, which have to be normal numbers."""

    def largest(sigmoid, silu, gelu, gelu_tanh):
        itemsize = np.dtype(dtype).itemsize
        w, x, y, z = (limit.values[itemsize][0] for limit in (sigmoid, silu, gelu, gelu_tanh))
        argument = max(w, x, y**2 / 2, 2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))
        return round(argument / math.log(2) + 0.5)

    smallest, sigmoid = np.finfo(dtype).minexp, _math.SIGMOID_LARGEST
    values = largest(sigmoid, _gated.SILU_LARGEST, _gated.GELU_LARGEST, _gated.GELU_TANH_LARGEST)
    slopes = largest(sigmoid, _gated.SILU_SLOPE_LARGEST, _gated.GELU_SLOPE_LARGEST, _gated.GELU_TANH_SLOPE_LARGEST)
    assert values <= 64 - smallest
    assert slopes + 1 < -2 * smallest


def slope(name, x):
    """The derivative at x, and the sum of the sizes of its terms."""
    if name == "silu":
        gate, dz = logistic(x), 1
    elif name == "gelu tanh":
        gate, dz = almost_logistic(x)
    else:
        density = mpmath.exp(-x * x / 2) / mpmath.sqrt(2 * mpmath.pi)
        return normal(x) + x * density, normal(x) + abs(x) * density
    other = 1 - gate if x < 0 else logistic(-x) if name == "silu" else almost_logistic(-x)[0]
    return gate * (1 + x * dz * other), gate * (1 + abs(x) * dz * other)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["silu", "gelu none", "gelu tanh"])
def test_gradients_are_within_16_eps_of_their_terms(name, dtype):
    x = pieces_of_range(dtype)[::2]
    x = x[np.isfinite(x)]
    largest = np.log(np.finfo(dtype).max) - 8
    dY = np.exp(np.random.default_rng(0).uniform(-largest, largest, x.size)).astype(dtype)
    function, _, approximate = name.partition(" ")
    got = call(f"{function}_vjp {approximate}".strip(), dY, x)
    eps, smallest = float(np.finfo(dtype).eps), float(np.finfo(dtype).smallest_subnormal)
    with mpmath.workprec(160):
        for value, dy, dx in zip(x, dY, got, strict=True):
            derivative, size = slope(name, mpmath.mpf(float(value)))
            dy = mpmath.mpf(float(dy))
            bound = dy * (16 * eps * size + 4 * smallest) + smallest
            assert abs(mpmath.mpf(float(dx)) - dy * derivative) <= bound, value


@st.composite
def problems(draw):
    rng, dtype = np.random.default_rng(draw(seeds)), draw(dtypes)
    shape = draw(leads()) + draw(st.sampled_from([(), (draw(sizes()),)]))
    scale = draw(st.sampled_from([1e-3, 1.0, 20.0]))
    return tuple((factor * rng.standard_normal(shape)).astype(dtype) for factor in (1, scale))


@given(problems())
def test_gradients_are_those_of_the_reference(problem):
    """In float64 for float32; the formulas are what differs for float64."""
    dY, X = problem
    eps = np.finfo(X.dtype).eps
    wide = [array.astype(np.float64) for array in problem]
    for name in ("relu", "sigmoid", "tanh"):
        Y = getattr(fg, name)(X)
        expected = getattr(reference, f"{name}_vjp")(wide[0], Y.astype(np.float64))
        assert_within(getattr(fg, f"{name}_vjp")(dY, Y), expected, 4 * eps * np.abs(wide[0]))
    for name, options in (("silu", {}), ("gelu", {"approximate": "none"}), ("gelu", {"approximate": "tanh"})):
        got = getattr(fg, f"{name}_vjp")(dY, X, **options)
        expected = getattr(reference, f"{name}_vjp")(*wide, **options)
        assert_within(got, expected, 16 * eps * np.abs(wide[0]))


@given(problems())
def test_gradients_are_the_complex_step(problem):
    """Im f(x + i h) / h is the derivative, without a difference to cancel in."""
    dY, X = (array.astype(np.float64) for array in problem)
    z = np.clip(X, -300, 300) + 1e-30j
    cubic = 2 * np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)
    cubic = np.clip(cubic.real, -300, 300) + 1j * cubic.imag
    cases = {
        "sigmoid": (1 / (1 + np.exp(-z)), fg.sigmoid_vjp(dY, fg.sigmoid(X))),
        "tanh": (np.tanh(z), fg.tanh_vjp(dY, fg.tanh(X))),
        "silu": (z / (1 + np.exp(-z)), fg.silu_vjp(dY, X)),
        "gelu": (z / (1 + np.exp(-cubic)), fg.gelu_vjp(dY, X, "tanh")),
    }
    for values, got in cases.values():
        np.testing.assert_allclose(got, dY * values.imag / 1e-30, rtol=1e-12, atol=1e-13)


@given(problems())
def test_vector_edges_and_shapes_change_no_bit(problem):
    """An element has the same bits alone as among any others, in arrays of any shape."""
    dY, X = problem
    for name, arrays in (("gelu", (X,)), ("gelu_vjp", (dY, X)), ("tanh", (X,)), ("relu_vjp", (dY, X))):
        function = getattr(fg, name)
        together = np.asarray(function(*arrays))
        alone = [function(*(a.reshape(-1)[i : i + 1] for a in arrays)) for i in range(min(X.size, 40))]
        assert_same_bits(together.reshape(-1)[:40], np.concatenate([*alone, np.empty(0, X.dtype)]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values(dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], dtype)
    expected = {
        "relu": [np.nan, np.inf, 0, 0, 0],
        "sigmoid": [np.nan, 1, 0, 0.5, 0.5],
        "tanh": [np.nan, 1, -1, 0, 0],
        "silu": [np.nan, np.inf, 0, 0, 0],
        "gelu none": [np.nan, np.inf, 0, 0, 0],
        "gelu tanh": [np.nan, np.inf, 0, 0, 0],
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(call(name, x), np.array(values, dtype), err_msg=name)
    assert np.signbit(fg.tanh(x)[4])
    ones = np.ones_like(x)
    for name in ("silu_vjp", "gelu_vjp none", "gelu_vjp tanh"):
        np.testing.assert_array_equal(call(name, ones, x), np.array([np.nan, 1, 0, 0.5, 0.5], dtype), err_msg=name)
        assert np.isnan(call(name, x, ones)[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_gradient_is_a_choice_not_a_product(dtype):
    """0 where Y is not positive, whatever dY is; NaN where Y is."""
    dY = np.array([np.inf, np.nan, 2, np.nan, -3, 5], dtype)
    Y = np.array([0.0, -0.0, 1, 1, np.nan, -1], dtype)
    np.testing.assert_array_equal(fg.relu_vjp(dY, Y), np.array([0, 0, 2, np.nan, np.nan, 0], dtype))


@pytest.mark.parametrize("size", [2**20 - 1, 2**20, 2**20 + 17])
@pytest.mark.parametrize("dtype", DTYPES)
def test_parts_of_threads_meet(size, dtype):
    """Every element of arrays that threads share out is written, once."""
    x = np.random.default_rng(size).standard_normal(size).astype(dtype)
    with large_calls() as calls:
        assert_same_bits(fg.relu(x), np.maximum(x, 0))
        assert_same_bits(fg.relu_vjp(x, x[::-1].copy()), np.where(x[::-1] > 0, x, 0).astype(dtype))
        assert len(calls) >= 2


@pytest.mark.parametrize("size", [0, 1, 7, 15, 16, 17, 31, 33, 100, 257])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_place_in_a_line_of_the_cache(size, dtype):
    """Wherever input and output begin, also at the same place, each element is written once, and no other."""
    rng = np.random.default_rng(size)
    x, dY = rng.standard_normal((2, size)).astype(dtype)
    functions = {fg.relu: (x,), fg.silu: (x,), fg.relu_vjp: (dY, x), fg.silu_vjp: (dY, x)}
    for function, arrays in functions.items():
        expected = function(*arrays)
        for offset in range(1, 18):
            room = np.full(size + 36, 7, dtype)
            out = room[offset : offset + size]
            function(*arrays, out=out)
            assert_same_bits(out, expected)
            assert (room[:offset] == 7).all()
            assert (room[offset + size :] == 7).all()
            out[:] = arrays[-1]
            function(*arrays[:-1], out, out=out)
            assert_same_bits(out, expected)


def test_scalars_give_scalars():
    for function in (fg.relu, fg.sigmoid, fg.tanh, fg.silu, fg.gelu):
        assert isinstance(function(0.5), np.float64)
        assert isinstance(function(np.float32(0.5)), np.float32)


@pytest.mark.parametrize("approximate", [None, True, "erf", 0])
def test_wrong_approximation(approximate):
    for name, arrays in (("gelu", (np.ones(3),)), ("gelu_vjp", (np.ones(3), np.ones(3)))):
        with pytest.raises(ValueError, match=f"^{name}: approximate is {approximate!r} but must be") as caught:
            getattr(fg, name)(*arrays, approximate=approximate)
        assert '"none" or "tanh"' in str(caught.value)
