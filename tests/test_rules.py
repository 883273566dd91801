"""The rules that hold for every function of the table: layouts, dtypes, leading axes, axis, out, accumulate."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from problems import LAYOUTS, WRITEABLE, assert_same_bits, assert_within, classes, dtypes, layouts, leads, seeds, sizes

import fastgrad
from fastgrad import reference
from fastgrad._functions import FUNCTIONS


def each(condition):
    """Parametrizes a test with the functions that fulfil a condition."""
    chosen = {name: function for name, function in FUNCTIONS.items() if condition(function)}
    return pytest.mark.parametrize("function", chosen.values(), ids=list(chosen))


every_function = each(lambda _: True)
with_out = each(lambda function: function.has_out)
with_accumulate = each(lambda function: function.has_accumulate)
with_axis = each(lambda function: function.has_axis)


def draw_arguments(data, function, dtype=None, most=40, lead=None):
    rng = np.random.default_rng(data.draw(seeds))
    lead = data.draw(leads(most=17)) if lead is None else lead
    if function.name.endswith("jacobian"):
        most = 7
    few = function.name.endswith("jacobian") or function.sizes != ("k",)
    chosen = {letter: data.draw(sizes(most) if few else classes(most), letter) for letter in function.sizes}
    return function.arguments(rng, data.draw(dtypes) if dtype is None else dtype, lead, **chosen)


def as_tuple(result):
    """All results as one tuple, those of a loss and a tuple of gradients too."""
    if not isinstance(result, tuple):
        return (result,)
    return tuple(array for part in result for array in as_tuple(part))


def as_given(results):
    return tuple(results) if len(results) > 1 else results[0]


@every_function
@given(data=st.data())
def test_no_layout_changes_a_bit(function, data):
    arguments = draw_arguments(data, function)
    expected = function.call(fastgrad, arguments)
    laid_out = {name: LAYOUTS[data.draw(layouts, name)](array) for name, array in arguments.items()}
    assert_same_bits(function.call(fastgrad, laid_out), expected)


@every_function
@given(data=st.data())
def test_inputs_are_not_modified(function, data):
    """Whatever has to be copied, nor is a result a view of one."""
    arguments = draw_arguments(data, function)
    if data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(function.float_inputs)))
        arguments[name] = arguments[name].astype(np.float64)
    arguments = {name: LAYOUTS[data.draw(layouts, name)](array) for name, array in arguments.items()}
    before = {name: array.copy() for name, array in arguments.items()}
    results = as_tuple(function.call(fastgrad, arguments))
    for name, array in arguments.items():
        assert_same_bits(array, before[name])
        assert not any(np.may_share_memory(array, result) for result in results)


@every_function
@given(data=st.data())
def test_leading_axes_are_rows(function, data):
    """A result does not depend on how the rows are arranged in leading axes, one vector alone included."""
    arguments = draw_arguments(data, function)
    leading = {o.name for o in function.signature.inputs if "..." in o.axes}
    lead = next(
        arguments[n].shape[: -1 if o.axes[-1] != "..." else None]
        for o in function.signature.inputs
        if (n := o.name) in leading
    )
    rows = int(np.prod(lead))
    flat = {
        name: array.reshape(rows, *array.shape[len(lead) :]) if name in leading else array
        for name, array in arguments.items()
    }
    got, expected = as_tuple(function.call(fastgrad, arguments)), as_tuple(function.call(fastgrad, flat))
    for operand, one, other in zip(function.signature.outputs, got, expected, strict=True):
        shape = tuple(
            s
            for axis, size in zip(operand.axes, other.shape, strict=True)
            for s in (lead if axis == "..." else (size,))
        )
        assert_same_bits(np.asarray(one), np.asarray(other).reshape(shape))


ROW_WISE = [
    f
    for f in FUNCTIONS.values()
    if all(o.axes[0] == "..." for o in f.signature.outputs) and f.name != "affine_jacobian"
]


@pytest.mark.parametrize("function", ROW_WISE, ids=[f.name for f in ROW_WISE])
@given(data=st.data(), rows=st.integers(1, 70))
def test_a_row_has_the_same_bits_alone_and_in_any_batch(function, data, rows):
    arguments = draw_arguments(data, function, lead=(rows,))
    row = data.draw(st.integers(0, rows - 1))
    leading = {o.name for o in function.signature.inputs if o.axes[0] == "..."}
    alone = {name: array[row : row + 1] if name in leading else array for name, array in arguments.items()}
    got = tuple(result[row : row + 1] for result in as_tuple(function.call(fastgrad, arguments)))
    assert_same_bits(got, as_tuple(function.call(fastgrad, alone)))


@every_function
@given(data=st.data())
def test_lists_and_integers_are_float64(function, data):
    arguments = draw_arguments(data, function, dtype=np.float64)
    whole = arguments | {name: np.round(4 * arguments[name]) + 0.0 for name in function.float_inputs}
    kind = data.draw(st.sampled_from([np.int8, np.int64, list]))
    assume(kind is not list or all(0 not in a.shape for a in whole.values()))
    if kind is not list:
        whole = {name: np.clip(array, -100, 100) for name, array in whole.items()}
    expected = function.call(fastgrad, whole)
    other = {n: a.tolist() if kind is list else a.astype(kind) for n, a in whole.items()}
    got = function.call(fastgrad, other)
    assert type(got) is type(expected)  # of no axes, a scalar
    assert_same_bits(got, expected)


@every_function
@given(data=st.data())
def test_mixed_dtypes_are_float64(function, data):
    arguments = draw_arguments(data, function, dtype=np.float32)
    names = sorted(function.float_inputs)
    promoted = data.draw(st.sampled_from(names))
    mixed = {name: a.astype(np.float64) if name == promoted else a for name, a in arguments.items()}
    doubled = arguments | {name: arguments[name].astype(np.float64) for name in names}
    got = function.call(fastgrad, mixed)
    assert all(np.asarray(result).dtype == np.float64 for result in as_tuple(got))
    expected = function.call(fastgrad, doubled)
    assert type(got) is type(expected)
    assert_same_bits(got, expected)


@every_function
@given(data=st.data())
def test_float16_is_computed_in_float32(function, data):
    arguments = draw_arguments(data, function, dtype=np.float16)
    single = arguments | {name: arguments[name].astype(np.float32) for name in function.float_inputs}
    expected = as_tuple(function.call(fastgrad, single))
    with np.errstate(over="ignore"):
        halves = [np.asarray(result).astype(np.float16) for result in expected]
    got = as_tuple(function.call(fastgrad, arguments))
    assert_same_bits(tuple(np.asarray(g) for g in got), tuple(halves))


@every_function
@given(data=st.data())
def test_reference_agrees_on_shape_and_dtype(function, data):
    arguments = draw_arguments(data, function)
    got, expected = (as_tuple(function.call(module, arguments)) for module in (fastgrad, reference))
    for one, other in zip(got, expected, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        assert isinstance(one, np.ndarray) == isinstance(other, np.ndarray)
        if one.size and np.isfinite(other).all():
            assert_within(one, other, 1e4 * np.finfo(one.dtype).eps * max(1, np.abs(other).max()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every_function
def test_every_size_around_a_power_of_two(function, dtype):
    """Of rows, classes, features: sums are cut into blocks of such sizes."""
    rng, few = np.random.default_rng(0), dict.fromkeys(function.sizes, 3)
    for power in range(3, 9 if function.name.endswith("jacobian") else 13):
        for size in (2**power - 1, 2**power, 2**power + 1):
            for lead, chosen in (((size,), few), *(((2,), few | {letter: size}) for letter in function.sizes)):
                if function.name.endswith("jacobian") and lead[0] > 33:
                    continue
                arguments = function.arguments(rng, dtype, lead, **chosen)
                results = (as_tuple(function.call(module, arguments)) for module in (fastgrad, reference))
                for got, expected in zip(*results, strict=True):
                    bound = 64 * np.finfo(dtype).eps * size**0.5 * np.abs(expected).max(initial=1e-3)
                    assert_within(got, expected, bound)


@with_out
@given(data=st.data())
def test_out_takes_the_result(function, data):
    arguments = draw_arguments(data, function)
    expected = function.outs(as_tuple(function.call(fastgrad, arguments)))
    outs = [LAYOUTS[data.draw(st.sampled_from(WRITEABLE))](np.full_like(result, 7)) for result in expected]
    returned = function.outs(as_tuple(function.call(fastgrad, arguments, out=as_given(outs))))
    assert all(one is other for one, other in zip(returned, outs, strict=True))
    assert_same_bits(tuple(outs), expected)


@with_out
@given(data=st.data())
def test_float16_out(function, data):
    arguments = draw_arguments(data, function, dtype=np.float16)
    expected = function.outs(as_tuple(function.call(fastgrad, arguments)))
    outs = [np.full_like(result, 7) for result in expected]
    function.call(fastgrad, arguments, out=as_given(outs))
    assert_same_bits(tuple(outs), expected)


@with_accumulate
@given(data=st.data())
def test_accumulate_is_one_addition(function, data):
    arguments = draw_arguments(data, function)
    results = as_tuple(function.call(fastgrad, arguments))
    rng = np.random.default_rng(0)
    old = [rng.standard_normal(result.shape).astype(result.dtype) for result in results]
    outs = [LAYOUTS[data.draw(st.sampled_from(WRITEABLE))](array) for array in old]
    function.call(fastgrad, arguments, out=as_given(outs), accumulate=True)
    assert_same_bits(tuple(outs), tuple(np.asarray(a + b) for a, b in zip(old, results, strict=True)))


IN_PLACE = [f for f in FUNCTIONS.values() if f.signature.inplace]


@pytest.mark.parametrize("function", IN_PLACE, ids=[f.name for f in IN_PLACE])
@given(data=st.data())
def test_out_may_be_an_input(function, data):
    arguments = draw_arguments(data, function)
    (expected,) = function.outs(as_tuple(function.call(fastgrad, arguments)))
    alike = [o.name for o in function.signature.inputs if o.axes == function.signature.outputs[-1].axes]
    name = data.draw(st.sampled_from(alike))
    layout = LAYOUTS[data.draw(st.sampled_from(WRITEABLE))]
    arguments = {n: layout(a) if n == name else a for n, a in arguments.items()}
    (returned,) = function.outs(as_tuple(function.call(fastgrad, arguments, out=arguments[name])))
    assert returned is arguments[name]
    assert_same_bits(arguments[name], expected)


@with_axis
@given(data=st.data())
def test_any_axis(function, data):
    """Along axis a, as along the last axis of the arrays with a moved there."""
    arguments = draw_arguments(data, function, most=33)
    ndim = next(iter(arguments.values())).ndim
    expected = function.call(fastgrad, arguments)
    axis = data.draw(st.integers(-ndim, ndim - 1))
    moved = {name: np.ascontiguousarray(np.moveaxis(array, -1, axis)) for name, array in arguments.items()}
    options = {}
    if function.has_out and data.draw(st.booleans()):
        options["out"] = np.moveaxis(np.full_like(expected, 7), -1, axis)
    got = function.call(fastgrad, moved, axis=axis, **options)
    if function.name != "logsumexp":
        got = np.moveaxis(got, axis, -1)
    assert_same_bits(np.asarray(got), np.asarray(expected))
    assert_same_bits(
        np.asarray(function.call(fastgrad, moved, axis=np.int64(axis % ndim))),
        np.asarray(function.call(fastgrad, moved, axis=axis)),
    )
