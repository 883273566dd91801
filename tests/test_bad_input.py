"""Every kind of wrong argument: the promised exception, naming function and argument, with `out` untouched."""

import re

import numpy as np
import pytest
from test_rules import as_given, as_tuple, each, every_function, with_accumulate, with_axis, with_out

import fastgrad as fg

RNG = np.random.default_rng(0)
SIZES = {"d": 4, "m": 3, "k": 5}


def good(function, dtype=np.float64, lead=(6,)):
    return function.arguments(RNG, dtype, lead, **{letter: SIZES[letter] for letter in function.sizes})


def fresh_out(function, arguments):
    """Arrays that would take the results, filled with 7."""
    return [np.full_like(result, 7) for result in function.outs(as_tuple(function.call(fg, arguments)))]


def rejects(function, arguments, exception, *words, out=None, **options):
    """The call raises, its message holds the words, and no array of out has changed."""
    if out is not None:
        options["out"] = as_given(out)
    before = [np.array(array) for array in out or [] if isinstance(array, np.ndarray)]
    with pytest.raises(exception) as caught:
        function.call(fg, arguments, **options)
    message = str(caught.value)
    assert message.startswith(f"{function.name}: "), message
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"
    after = [array for array in out or [] if isinstance(array, np.ndarray)]
    for one, other in zip(before, after, strict=True):
        assert np.array_equal(one, other)


def out_for(function, arguments):
    return fresh_out(function, arguments) if function.has_out else None


@every_function
@pytest.mark.parametrize("dtype", [complex, np.longdouble, object, "datetime64[s]", "U3"])
def test_what_is_no_real_number(function, dtype):
    arguments = good(function)
    out = out_for(function, arguments)
    for name in arguments:
        wrong = arguments | {name: np.ones(arguments[name].shape).astype(dtype)}
        rejects(function, wrong, TypeError, f"{name} has dtype", out=out)


@every_function
def test_nothing_in_place_of_an_array(function):
    arguments = good(function)
    out = out_for(function, arguments)
    optional = {operand.name for operand in function.signature.inputs if operand.optional}
    for name in arguments.keys() - optional:
        rejects(function, arguments | {name: None}, TypeError, f"{name} is None but must be an array", out=out)


@every_function
def test_ragged_lists(function):
    arguments = good(function)
    for name in arguments:
        rejects(function, arguments | {name: [[1.0, 2.0], [3.0]]}, ValueError, f"{name} is not an array of numbers")


@each(lambda function: len(good(function)) > 1)
def test_a_size_that_does_not_fit(function):
    arguments = good(function)
    out = out_for(function, arguments)
    for name, array in arguments.items():
        for axis in range(array.ndim):
            shape = list(array.shape)
            shape[axis] += 1
            wrong = arguments | {name: np.ones(shape, array.dtype)}
            try:
                function.call(fg, wrong)
            except ValueError:
                rejects(function, wrong, ValueError, "has shape", "but", out=out)
            else:  # no other argument has this axis: then out has the wrong shape
                assert sum(size == array.shape[axis] for a in arguments.values() for size in a.shape) == 1
                if out is not None:
                    rejects(function, wrong, ValueError, "has shape", out=out)


def of_rows(function):
    """The names of the arrays that have leading axes."""
    arguments = good(function)
    return [o.name for o in function.signature.inputs if "..." in o.axes and o.name in arguments]


@each(lambda function: len(of_rows(function)) > 1)
def test_a_size_that_does_not_fit_into_memory_either(function):
    """2³³ rows beside few: said before any memory is asked for."""
    arguments = good(function)
    for name in of_rows(function):
        rows = np.broadcast_to(arguments[name][:1], (2**33, *arguments[name].shape[1:]))
        rejects(function, arguments | {name: rows}, ValueError, "has shape")


@every_function
def test_too_few_axes(function):
    arguments = good(function)
    for operand in function.signature.inputs:
        if operand.axes != ("...",):  # whose every shape will do
            wrong = arguments | {operand.name: np.float64(3)}
            rejects(function, wrong, ValueError, operand.name, "has shape ()", "needs")


def test_messages_say_what_was_got_and_what_is_needed():
    X, W = np.ones((8, 16)), np.ones((4, 16))
    for call, message in (
        (
            lambda: fg.affine_vjp(np.ones((8, 3)), X, W),
            "affine_vjp: dY has shape (8, 3) but X and W make Y of shape (8, 4)",
        ),
        (
            lambda: fg.affine(X, np.ones((4, 15))),
            "affine: W has shape (4, 15) but beside X of shape (8, 16) it needs (m, 16)",
        ),
        (lambda: fg.affine(X, np.ones(16)), "affine: W has shape (16,) but needs 2 axes, (m, d)"),
        (
            lambda: fg.affine(X, W, np.ones(5)),
            "affine: b has shape (5,) but beside X of shape (8, 16) and W of shape (4, 16) it needs (4,)",
        ),
        (  # empty, but not missing
            lambda: fg.affine(X, W, np.ones(0)),
            "affine: b has shape (0,) but beside X of shape (8, 16) and W of shape (4, 16) it needs (4,)",
        ),
        (
            lambda: fg.affine_jvp(X, W, dX=np.ones((0, 16))),
            "affine_jvp: dX has shape (0, 16) but X has shape (8, 16)",
        ),
        (
            lambda: fg.linear_cross_entropy(X, W, np.ones(0), np.zeros(8, np.int64)),
            "linear_cross_entropy: b has shape (0,) but beside X of shape (8, 16) and W of shape (4, 16) it needs (4,)",
        ),
        (
            lambda: fg.affine_dw(np.ones((7, 3)), X),
            "affine_dw: dY has shape (7, 3) but beside X of shape (8, 16) it needs (8, m)",
        ),
        (lambda: fg.softmax_vjp(np.ones(4), np.ones(5)), "softmax_vjp: dY has shape (4,) but Y has shape (5,)"),
        (lambda: fg.softmax(1.0), "softmax: S has shape () but needs at least 1 axis, (..., k)"),
        (lambda: fg.softmax(X, axis=2), "softmax: axis is 2 but S has shape (8, 16)"),
        (lambda: fg.affine(X, W, out=np.empty((8, 5))), "affine: out has shape (8, 5) but needs (8, 4)"),
    ):
        with pytest.raises(ValueError, match=re.escape(message) + "$"):
            call()


@with_axis
def test_wrong_axes(function):
    arguments = good(function)
    out = out_for(function, arguments)
    for axis in (2, -3, 10**20):
        rejects(function, arguments, ValueError, f"axis is {axis}", out=out, axis=axis)
    for axis in (None, (0,), [0], 1.0, -1.0, "0"):
        rejects(function, arguments, TypeError, "axis is", out=out, axis=axis)


@with_out
def test_wrong_out(function):
    arguments = good(function)
    right = fresh_out(function, arguments)
    several = len(right) > 1

    def with_wrong(place, array):
        return [array if p == place else a for p, a in enumerate(right)]

    for place, array in enumerate(right):
        name = f"out[{place}]" if several else "out"
        rejects(function, arguments, TypeError, name, "float32", out=with_wrong(place, array.astype(np.float32)))
        rejects(function, arguments, TypeError, name, out=with_wrong(place, array.astype(array.dtype.newbyteorder())))
        rejects(function, arguments, TypeError, name, "list", out=with_wrong(place, array.tolist()))
        rejects(function, arguments, ValueError, name, "has shape", out=with_wrong(place, array[..., :-1]))
        rejects(function, arguments, ValueError, name, "has shape", out=with_wrong(place, array[None]))
        locked = array.copy()
        locked.flags.writeable = False
        rejects(function, arguments, ValueError, name, "read-only", out=with_wrong(place, locked))
        for stride in (0, array.itemsize // 2, *([array.itemsize] if array.ndim > 1 else [])):
            once = np.lib.stride_tricks.as_strided(array.copy(), array.shape, [stride] * array.ndim)
            rejects(function, arguments, ValueError, name, "several times", out=with_wrong(place, once))
        for nothing in (None, False):  # which say other things to a kernel
            if several or nothing is False:
                rejects(function, arguments, TypeError, name, "must be an array", out=with_wrong(place, nothing))
    if several:
        rejects(function, arguments, ValueError, "out has", out=right[:-1])
        rejects(function, arguments, TypeError, "out is", out=[np.ones(3)])


@with_out
def test_out_overlaps_an_input(function):
    """One buffer for both, shifted by one element, so that it is never the input itself."""
    arguments = good(function)
    results = fresh_out(function, arguments)
    for place, result in enumerate(results):
        for name, array in arguments.items():
            buffer = np.ones(max(result.size, array.size) + 1)
            view = buffer[: array.size].reshape(array.shape).view(array.dtype)
            view[...] = array
            overlapping = buffer[1 : result.size + 1].reshape(result.shape)
            out = [overlapping if p == place else a for p, a in enumerate(results)]
            rejects(function, arguments | {name: view}, ValueError, "overlaps", name, out=out)


def test_out_overlaps_another_out():
    dY, X, W = np.ones((4, 4)), np.ones((4, 4)), np.ones((4, 4))
    shared = np.full((4, 4), 7.0)
    function = type("Named", (), {"name": "affine_vjp", "call": staticmethod(lambda m, a, **o: m.affine_vjp(*a, **o))})
    rejects(function, (dY, X, W), ValueError, "out[1] (dW) overlaps out[0] (dX)", out=[shared, shared, np.ones(4)])
    rejects(function, (dY, X, W), ValueError, "overlaps out[1]", out=[np.ones((4, 4)), shared, shared[0]])


def test_rows_that_interleave_hold_each_element_once():
    """Each begins between elements of the others, and none on one."""
    memory = np.zeros(15)  # up to the end of the last element, as NumPy does not check
    out = np.lib.stride_tricks.as_strided(memory, (3, 2), (32, 48))
    assert np.lib.array_utils.byte_bounds(out) == np.lib.array_utils.byte_bounds(memory)
    expected = np.arange(6.0).reshape(3, 2)
    assert fg.relu(expected, out=out) is out
    assert np.array_equal(out, expected)


@each(lambda function: function.has_out and function.name != "affine_db")
def test_interleaved_memory_does_not_overlap(function):
    """Columns of one buffer, the even ones for an input and the odd ones for a result, share no element."""
    arguments = good(function, lead=(6, 5) if function.family == "activations" else (6,))
    expected = function.outs(as_tuple(function.call(fg, arguments)))
    name, array = next(iter(arguments.items()))
    result = expected[0]
    buffer = np.empty((max(array.shape[0], result.shape[0]), 2 * max(array.shape[1], result.shape[1])))
    arguments[name] = buffer[: array.shape[0], : 2 * array.shape[1] : 2]
    arguments[name][...] = array
    outs = [buffer[: result.shape[0], 1 : 2 * result.shape[1] : 2], *map(np.empty_like, expected[1:])]
    function.call(fg, arguments, out=as_given(outs))
    for one, other in zip(outs, expected, strict=True):
        assert np.array_equal(one, other)


@with_accumulate
def test_accumulate_needs_out(function):
    rejects(function, good(function), ValueError, "accumulate=True", "out", accumulate=True)
