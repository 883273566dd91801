"""What is measured: a function of the table on arrays of one shape and dtype, its least work, and its largest error."""

import inspect
import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from .. import reference
from .._functions import FUNCTIONS
from .peers import with_numpy

# By how many numbers a shape has: elements, n×k (or m), n×d×m (or k).
SHAPES = (
    "1000",
    "1000000",
    "64x10",
    "4096x10",
    "512x1000",
    "8x16x16",
    "128x784x10",
    "256x256x256",
)
_LARGEST_OF_JACOBIANS = 5000  # the product of the sizes; a result has the size of its output times that of its input

# How many products of matrices n×d×m a function forms; all others are bound by the bytes they move.
_PRODUCTS = {
    "affine": 1,
    "affine_vjp": 2,
    "affine_dx": 1,
    "affine_dw": 1,
    "affine_jvp": 2,
    "linear_cross_entropy": 1,
    "linear_cross_entropy_value_and_grad": 3,
}
_MOST_EXACT_FLOPS = 2e8  # beyond it, float64 is not judged: wider arithmetic would take many seconds


@dataclass(frozen=True)
class Case:
    """One function on arrays of one shape, as "128x784x10": rows first, then the sizes of its letters; the inputs of
    these names in Fortran order."""

    name: str
    shape: str
    dtype: str
    by_columns: tuple = ()

    @property
    def function(self):
        return FUNCTIONS[self.name]

    @property
    def multiplies(self):
        return self.name in _PRODUCTS

    def sizes(self):
        """The number of rows, and the size of each letter; letters in the order of the alphabet, as in n×d×m."""
        rows, *sizes = map(int, self.shape.split("x"))
        return rows, dict(zip(sorted(self.function.sizes), sizes, strict=True))

    def arguments(self):
        """The inputs by name: those that the usual NumPy takes, without weights and the like."""
        rows, sizes = self.sizes()
        inputs = self.function.arguments(np.random.default_rng(0), self.dtype, (rows,), **sizes)
        written = getattr(with_numpy, self.name, None)
        taken = inspect.signature(written).parameters if written else inputs
        left = [o.name for o in self.function.signature.inputs if o.optional and o.name not in taken]
        orders = {name: "F" if name in self.by_columns else "C" for name in inputs}
        return {name: value.copy(orders[name]) for name, value in inputs.items() if name not in left}

    def bound(self, module, arguments):
        """The call of the function in `fastgrad` or `fastgrad.reference`, without arguments of its own."""
        named = {name: value for name, value in arguments.items() if name in self.function.keywords}
        inputs = [value for name, value in arguments.items() if name not in named]
        return partial(getattr(module, self.name), *inputs, **named)

    def work(self):
        """(flops, bytes) that the function cannot do without: multiply-adds, and each input and output once."""
        rows, sizes = self.sizes()
        sizes["..."] = rows
        flops = 2 * _PRODUCTS.get(self.name, 0) * math.prod(sizes.values())
        read = sum(array.nbytes for array in self.arguments().values())
        written = sum(math.prod(sizes[axis] for axis in array.axes) for array in self.function.signature.outputs)
        return flops, read + written * np.dtype(self.dtype).itemsize

    def exact(self):
        """The result in wider arithmetic, as a list of arrays, or None where that takes too long."""
        wide = np.float64 if self.dtype == "float32" else np.longdouble
        if wide is np.longdouble and self.work()[0] > _MOST_EXACT_FLOPS:
            return None
        arguments = {n: a.astype(wide) if a.dtype.kind == "f" else a for n, a in self.arguments().items()}
        return flat(self.bound(reference, arguments)())


def cases(dtypes, shapes=None, names=None, by_columns=()):
    """Every function in each dtype on each shape that fits."""
    for name in names or FUNCTIONS:
        for dtype in dtypes:
            for shape in fitting_shapes(name, shapes or SHAPES):
                yield Case(name, shape, dtype, by_columns)


def fitting_shapes(name, shapes=SHAPES):
    """The shapes that have as many numbers as the function has sizes; of a Jacobian, those it is not too large for."""
    fitting = [shape for shape in shapes if shape.count("x") == len(FUNCTIONS[name].sizes)]
    if name.endswith("jacobian"):
        return [shape for shape in fitting if math.prod(map(int, shape.split("x"))) <= _LARGEST_OF_JACOBIANS]
    return fitting


def flat(result):
    """The arrays of a result, nested tuples opened."""
    if isinstance(result, (tuple, list)):
        return [array for part in result for array in flat(part)]
    return [np.asarray(result)]


def largest_error(result, exact, dtype):
    """The largest error, in units of the last place of the largest entry in the same row.

    A row is a vector along the last axis. Entry by entry, sums of both signs would look wrong where they come out near
    zero by chance; by the row, what cancels where it need not is still seen.
    """
    worst = 0.0
    for got, expected in zip(flat(result), exact, strict=True):
        got, expected = np.atleast_1d(got), np.atleast_1d(expected)
        if expected.size:
            size = np.abs(expected).max(-1, keepdims=True).astype(dtype)
            worst = max(worst, float((np.abs(got - expected) / np.spacing(size)).max()))
    return worst
