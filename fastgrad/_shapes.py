"""Whether shapes fit a signature, and what is wrong where they do not; the shapes of results; axes."""

import math
import operator
from dataclasses import dataclass
from functools import lru_cache

from .kernels._signature import Signature


@dataclass(frozen=True)
class Plan:
    """The shapes of one call: of results for the user, and of all arrays for the kernel (None: missing); and how many
    elements lie from one to the next along the axis."""

    signature: Signature
    results: tuple
    inputs: tuple
    outputs: tuple
    inner: int


@lru_cache(maxsize=4096)
def shape_plan(function, signature, named_shapes, axis):
    shapes = dict(named_shapes)
    lead, sizes = _bind(function, signature, shapes)
    name, shape = named_shapes[0]
    inner = 1
    if axis is not None:
        axis = _checked_axis(function, axis, name, shape)
        lead, sizes = _bind(function, signature, {name: _moved_last(shape, axis) for name, shape in named_shapes})
        inner = math.prod(shape[axis + 1 :])
    results = [(operand, _shape(operand, lead, sizes)) for operand in signature.outputs]
    rows = (math.prod(lead),)
    return Plan(
        signature,
        tuple(shape if axis is None or "k" not in o.axes else _moved_back(shape, axis) for o, shape in results),
        tuple((o.name, _shape(o, rows, sizes) if o.name in shapes else None) for o in signature.inputs),
        tuple(_shape(o, rows, sizes) for o in signature.outputs),
        inner,
    )


def _shape(operand, lead, sizes):
    return tuple(size for axis in operand.axes for size in (lead if axis == "..." else (sizes[axis],)))


def _moved_last(shape, axis):
    return (*shape[:axis], *shape[axis + 1 :], shape[axis])


def _moved_back(shape, axis):
    return (*shape[:axis], shape[-1], *shape[axis:-1])


def _bind(function, signature, shapes):
    """The leading shape and the size of each letter; ValueError where an array does not fit those before it."""
    lead, sizes, seen = None, {}, {}
    operands = [o for o in signature.inputs if o.name in shapes]
    for operand in sorted(operands, key=lambda o: o.name.startswith("d")):  # cotangents have to fit the rest
        shape = shapes[operand.name]
        axes = operand.axes
        leading = axes[0] == "..."
        letters = axes[1:] if leading else axes
        if len(shape) < len(letters) or (not leading and len(shape) > len(letters)):
            least = "at least " if leading else ""
            count = f"{least}{len(letters)} {'axis' if len(letters) == 1 else 'axes'}"
            raise ValueError(f"{function}: {operand.name} has shape {shape} but needs {count}, {_text(axes)}")
        front, back = shape[: len(shape) - len(letters)], shape[len(shape) - len(letters) :]
        expected = tuple(sizes.get(letter, letter) for letter in letters)
        agree = all(isinstance(e, str) or e == size for e, size in zip(expected, back, strict=True))
        if not agree or (leading and lead is not None and front != lead):
            needed = (*(("...",) if lead is None else lead), *expected) if leading else expected
            raise ValueError(f"{function}: {operand.name} has shape {shape} but {_reason(operand.name, seen, needed)}")
        sizes.update(zip(letters, back, strict=True))
        lead = front if leading else lead
        seen[operand.name] = shape
    return lead, sizes


def _reason(name, seen, needed):
    if name[1:] in seen:
        return f"{name[1:]} has shape {seen[name[1:]]}"
    if name[0] == "d" and len(seen) > 1:
        return f"{' and '.join(seen)} make {name[1:]} of shape {_text(needed)}"
    beside = " and ".join(f"{other} of shape {shape}" for other, shape in seen.items())
    return f"beside {beside} it needs {_text(needed)}"


def _text(shape):
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def as_axis(function, axis):
    """The axis as a number."""
    try:
        if not isinstance(axis, bool):
            return operator.index(axis)
    except TypeError:
        pass
    raise TypeError(f"{function}: axis is {axis!r} but must be one integer")


def _checked_axis(function, axis, name, shape):
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"{function}: axis is {axis} but {name} has shape {shape}")
    return axis % len(shape)
