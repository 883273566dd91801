"""Any call of every function of the table: right ones, to which anything may have been done.

A wrong one raises the promised error, which names the argument, with all arrays untouched; one that is still right
gives what the specification gives.
"""

import inspect
from math import nan

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from problems import LAYOUTS, assert_within, layouts
from test_rules import as_given, as_tuple, draw_arguments, every_function

import fastgrad as fg
from fastgrad import reference

HUGE = 2**33  # a size beyond 32 bits, of an array that takes no memory

WRONG_OPTIONS = [
    *[("axis", axis, ValueError) for axis in (9, -9, 2**31, 10**20)],
    *[("axis", axis, TypeError) for axis in (None, (0,), [0], 1.0, "0")],
    *[("approximate", value, ValueError) for value in ("erf", None, 1, ["tanh"])],
    *[("reduction", value, ValueError) for value in ("all", None, 1, ["sum"])],
    *[("label_smoothing", value, ValueError) for value in (-0.1, 1.5, nan, [0.1])],
    *[("label_smoothing", value, TypeError) for value in ("0.1", None, 1j)],
    *[("z_loss", value, ValueError) for value in ([0.1], [[]])],
    *[("z_loss", value, TypeError) for value in ("0.1", None, 1j)],
    *[("ignore_index", value, TypeError) for value in (1.5, None, "1", [1])],
    *[("ignore_index", value, ValueError) for value in (2**63, -(2**70))],
    *[("dloss", value, ValueError) for value in (np.ones((1, 1, 1, 1)), [[1.0], [2.0, 3.0]])],
    *[("dloss", value, TypeError) for value in ("1", 1j, {})],
]
RIGHT_OPTIONS = [
    ("approximate", "tanh"),
    *[("reduction", value) for value in ("mean", "sum")],
    *[("label_smoothing", value) for value in (0, 0.25, True, np.float32(1))],
    *[("z_loss", value) for value in (0, 0.25, np.array(0.5))],
    *[("ignore_index", value) for value in (1, np.uint8(0), -(2**63))],
    *[("dloss", value) for value in (None, 0.5, 2)],
]


class Call:
    """A call, right as it is made, and the errors that are promised for what is done to it afterwards: exceptions, and
    what their messages say."""

    def __init__(self, function, data):
        self.function, self.data = function, data
        self.parameters = inspect.signature(getattr(fg, function.name)).parameters
        lead = tuple(data.draw(st.lists(st.integers(0, 4), max_size=2)))
        self.arguments = draw_arguments(data, function, most=9, lead=lead)
        self.options, self.errors = {}, []

    def given(self):
        """The arguments by name, None for those that are left out."""
        return {o.name: self.arguments.get(o.name) for o in self.function.signature.inputs}

    def draw(self, choices):
        return self.data.draw(st.sampled_from(list(choices)))

    def promised(self):
        """All errors that would be right."""
        lead, found = None, {}
        for operand in self.function.signature.inputs:
            if operand.name not in self.arguments:
                continue
            axes = [axis for axis in operand.axes if axis != "..."]
            shape = np.shape(self.arguments[operand.name])
            front = len(shape) - len(axes)
            if "..." in operand.axes:
                lead = shape[: max(front, 0)] if lead is None else lead
            sizes = [found.setdefault(axis, size) for axis, size in zip(axes, shape[max(front, 0) :], strict=False)]
            if front < 0 or shape != (*(lead if "..." in operand.axes else ()), *sizes):
                return [*self.errors, (ValueError, "has shape")]
        return self.errors + (self._promised_for_values(found["k"]) if self.function.is_loss else [])

    def _promised_for_values(self, classes):
        target, ignored = self.arguments["target"], self.options.get("ignore_index", -100)
        errors = []
        if target.dtype.kind in "iu" and np.any(((target < 0) | (target >= classes)) & (target != ignored)):
            errors.append((ValueError, "target holds"))
        for name in ("weight", "sample_weight"):
            weight = self.arguments.get(name, np.ones(()))
            if weight.dtype.kind in "biuf" and not np.all(weight >= 0):
                errors.append((ValueError, f"{name} holds"))
        return errors

    def expected(self):
        """What the specification gives in float64, all as one tuple, and the dtype that it has to come back in."""
        sizes = [
            self.arguments[n].dtype.itemsize if self.arguments[n].dtype.kind == "f" else 8
            for n in self.function.float_inputs
            if n in self.arguments
        ]
        exact = {
            n: a if a is None else np.array(a, np.float64 if n in self.function.float_inputs else np.int64)
            for n, a in self.given().items()
        }
        with np.errstate(all="ignore"):
            return as_tuple(self.function.call(reference, exact, **self.options)), np.dtype(f"f{max(sizes)}")


def is_huge(array):
    return HUGE in array.shape


def is_real(array):
    return array.dtype.kind in "biuf" and array.dtype.itemsize <= 8


# --- what may be done to a call --------------------------------------------------------------------------------------


def change_a_shape(call):
    """An axis more, fewer, longer, shorter; or of a size beyond 32 bits, where that cannot be right."""
    name = call.draw(call.arguments)
    array = call.arguments[name]
    if is_huge(array):
        return
    shape, place = list(array.shape), call.data.draw(st.integers(0, array.ndim))
    if place == array.ndim or call.data.draw(st.booleans()):
        shape.insert(place, call.draw([0, 1, 2]))
    elif call.data.draw(st.booleans()):
        del shape[place]
    else:
        shape[place] = call.draw([0, 1, shape[place] + 1, HUGE])
    call.arguments[name] = np.broadcast_to(np.zeros((), array.dtype), shape)


def change_a_dtype(call):
    """To what holds no real numbers, or to any other that does."""
    name = call.draw(call.arguments)
    array = call.arguments[name]
    if is_huge(array) or not is_real(array):
        return
    if call.data.draw(st.booleans()):
        dtype = call.draw([complex, np.longdouble, object, "datetime64[s]", "U3", "V4"])
        call.arguments[name] = np.zeros(array.shape, dtype)
        call.errors.append((TypeError, f"{name} has dtype"))
    elif name in call.function.float_inputs:
        dtype = call.draw([np.int8, np.uint64, bool, np.float16, ">f8"])
        call.arguments[name] = np.asarray(np.clip(array, 0, 9), dtype)


def change_a_layout(call):
    name = call.draw(call.arguments)
    if not is_huge(call.arguments[name]) and is_real(call.arguments[name]):
        call.arguments[name] = LAYOUTS[call.data.draw(layouts)](call.arguments[name])


def empty_everything(call):
    call.arguments = {name: np.zeros([0] * array.ndim, array.dtype) for name, array in call.arguments.items()}


def give_an_option(call):
    right = [(name, value, None) for name, value in RIGHT_OPTIONS]
    options = [option for option in WRONG_OPTIONS + right if option[0] in call.parameters]
    if options:
        name, value, exception = call.draw(options)
        if name not in call.options:
            call.options[name] = value
            call.errors += [(exception, f"{name} ")] if exception else []


def change_a_value(call):
    """Class indices out of range, weights that are none."""
    wrong = {"target": [-1, 9, 2**40], "weight": [-1.0, nan], "sample_weight": [-0.5, nan]}
    names = [n for n, array in call.arguments.items() if n in wrong and array.dtype.kind in "if" and not is_huge(array)]
    if names:
        name = call.draw(names)
        array = np.array(call.arguments[name], np.int64 if name == "target" else None)
        if array.size:
            array.flat[call.data.draw(st.integers(0, array.size - 1))] = call.draw(wrong[name])
            call.arguments[name] = array


def leave_out(call):
    """What may be left out, all of it or one: then a call can go straight to its kernel."""
    optional = [o.name for o in call.function.signature.inputs if o.optional]
    for name in optional if call.data.draw(st.booleans()) else optional[:1]:
        call.arguments.pop(name, None)


CHANGES = [leave_out, change_a_shape, change_a_dtype, change_a_layout, empty_everything, give_an_option, change_a_value]


def turn(call):
    """Along another axis."""
    ndim = next(iter(call.arguments.values())).ndim
    axis = call.data.draw(st.integers(-ndim, ndim - 1))
    call.arguments = {name: np.moveaxis(array, -1, axis) for name, array in call.arguments.items()}
    call.options["axis"] = axis


def give_out(call, results, dtype):
    """Memory for these results, right or wrong in some way; as a list."""
    outs = [np.full(result.shape, 7, dtype) for result in results]
    place = call.data.draw(st.integers(0, len(outs) - 1))
    out, name = outs[place], f"out[{place}]" if len(outs) > 1 else "out"
    kind = call.draw(["right", "strided", "dtype", "byte order", "shape", "list", "read-only", "repeated", "overlap"])
    if kind == "strided":
        out = np.full((*out.shape, 2), 7, dtype)[..., 0]
    elif kind in ("dtype", "byte order"):
        out = out.astype(call.draw([d for d in "efdg" if d != dtype.char]) if kind == "dtype" else dtype.newbyteorder())
        call.errors.append((TypeError, name))
    elif kind == "shape":
        out = np.full(call.draw([(*out.shape, 1), (2, *out.shape), (*out.shape[:-1], 10)]), 7, dtype)
        call.errors.append((ValueError, f"{name}"))
    elif kind == "list":
        out = out.tolist()
        call.errors.append((TypeError, name))
    elif kind == "read-only":
        out.flags.writeable = False
        call.errors.append((ValueError, "read-only"))
    elif kind == "repeated" and out.size > 1:
        out = np.lib.stride_tricks.as_strided(out, strides=[0] * out.ndim)
        call.errors.append((ValueError, "several times"))
    elif kind == "overlap" and out.size:
        shared = call.draw(call.arguments)
        array = call.arguments[shared]
        if array.size > 1 and array.dtype == dtype:
            buffer = np.full(max(array.size, out.size) + 1, 7, dtype)
            call.arguments[shared] = buffer[: array.size].reshape(array.shape)
            call.arguments[shared][...] = array
            out = buffer[1 : out.size + 1].reshape(out.shape)
            call.errors.append((ValueError, f"overlaps {shared}"))
    outs[place] = out
    return outs


@every_function
@given(data=st.data())
def test_any_call(function, data):
    call = Call(function, data)
    changes = data.draw(st.lists(st.sampled_from(CHANGES), max_size=3))
    for change in sorted(changes, key=lambda change: change is not leave_out):  # no error is in what is left out
        change(call)
    errors = call.promised()
    assume(errors or not any(map(is_huge, call.arguments.values())))
    if "axis" in call.parameters and not errors and data.draw(st.booleans()):
        turn(call)
    expected, dtype = ([np.zeros(3)], np.dtype(float)) if errors else call.expected()
    outs = []
    if function.has_out and data.draw(st.booleans()):
        outs = give_out(call, expected if errors else function.outs(expected), dtype)
        call.options["out"] = as_given(outs)
        errors = call.promised()
    held = [a for a in [*outs, *call.arguments.values()] if isinstance(a, np.ndarray) and not is_huge(a)]
    before = [array.tobytes() for array in held]
    if errors:
        with pytest.raises((TypeError, ValueError)) as caught:
            function.call(fg, call.given(), **call.options)
        message = str(caught.value)
        assert message.startswith(f"{function.name}: ")
        assert any(caught.type is kind and text in message for kind, text in errors), (message, errors)
        assert before == [array.tobytes() for array in held]
        return
    results = as_tuple(function.call(fg, call.given(), **call.options))
    unit = 1e4 * np.finfo(np.promote_types(dtype, np.float32)).eps + np.finfo(dtype).eps
    for result, exact in zip(results, expected, strict=True):
        assert result.dtype == dtype
        assert result.shape == exact.shape
        finite = np.isfinite(exact)
        assert np.array_equal(result[~finite], exact[~finite], equal_nan=True)
        assert_within(result[finite], exact[finite], unit * max(1, np.abs(exact[finite]).max(initial=0)))
