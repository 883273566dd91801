"""The arguments of a function as one vector of numbers, and its results as another; memory layouts; bits."""

import inspect

import numpy as np


def as_arrays(results):
    """What a function returned, as a list of arrays."""
    return [np.asarray(r) for r in results] if isinstance(results, (tuple, list)) else [np.asarray(results)]


def real_arrays(what, results):
    """The same of a function of real arguments; raises where a result is complex."""
    arrays = as_arrays(results)
    assert all(array.dtype.kind != "c" for array in arrays), f"{what} gives complex numbers for real arguments"
    return arrays


def flat(arrays, dtype=np.float64):
    """The entries of all arrays one after the other."""
    return np.concatenate([np.zeros(0, dtype), *(np.asarray(array, dtype).ravel() for array in arrays)])


class Entries:
    """The entries of several arrays, numbered through: where number `i` stands, and which ones share its row."""

    def __init__(self, names, arrays):
        self.names, self.shapes, self.dtypes = list(names), [a.shape for a in arrays], [a.dtype for a in arrays]
        self.starts = np.cumsum([0, *(a.size for a in arrays)])
        self.size = int(self.starts[-1])

    def split(self, vector):
        """The vector as arrays of the shapes."""
        pairs = zip(self.starts, self.starts[1:], self.shapes, strict=False)
        return [vector[start:stop].reshape(shape) for start, stop, shape in pairs]

    def place(self, i):
        """(which array, its index)"""
        which = int(np.searchsorted(self.starts, i, side="right")) - 1
        return which, tuple(int(j) for j in np.unravel_index(i - self.starts[which], self.shapes[which]))

    def name(self, i):
        """Entry `i` as one writes it: W[1, 2]."""
        which, index = self.place(i)
        return f"{self.names[which]}[{', '.join(map(str, index))}]" if index else self.names[which]

    def owner(self, which):
        """The numbers of the entries of one array."""
        return np.arange(self.starts[which], self.starts[which + 1])

    def row_max(self, vector):
        """For every entry the largest number in its row, which is its last axis."""
        rows = [a if a.ndim == 0 or not a.size else a.max(-1, keepdims=True) for a in self.split(vector)]
        return flat(np.broadcast_to(r, shape) for r, shape in zip(rows, self.shapes, strict=True))


class Arguments:
    """The arguments of a call; those of floating point are the variables, the others are passed as they are."""

    def __init__(self, f, args, skip=0):
        args = args if isinstance(args, (tuple, list)) else (args,)
        self.args = [np.array(a) if a is not None else None for a in args]
        self.places = [place for place, a in enumerate(self.args) if a is not None and a.dtype.kind == "f"]
        if not self.places:
            raise TypeError("none of the arguments has a floating-point dtype: there is nothing to differentiate by")
        variables = [self.args[place] for place in self.places]
        self.names = _names(f, len(self.args), skip)
        self.entries = Entries([self.names[place] for place in self.places], variables)
        self.x = flat(variables)
        self.finite = np.isfinite(self.x)
        self.eps = float(max(np.finfo(a.dtype).eps for a in variables))
        self.tiny = float(max(np.finfo(a.dtype).smallest_normal for a in variables))

    def at(self, x):
        """Fresh arguments with the entries x, in the dtype of x."""
        args = [None if a is None else a.copy() for a in self.args]
        for place, array in zip(self.places, self.entries.split(x), strict=True):
            args[place] = array.copy()
        return args

    def fresh(self):
        """A copy of the arguments as they were given."""
        return [None if a is None else a.copy() for a in self.args]

    def tangents(self, v):
        """The vector as tangents: one array for each variable, in its dtype."""
        return [t.astype(d) for t, d in zip(self.entries.split(v), self.entries.dtypes, strict=True)]

    def jittered(self, rng):
        """x with every entry changed by one or two units in its last place."""
        with np.errstate(all="ignore"):
            return np.where(self.finite, self.x * (1 + self.eps * rng.choice([-2, -1, 1, 2], self.x.size)), self.x)

    def magnitudes(self):
        """For every entry a power of two of about its size, or of the typical size of its array if that is larger."""
        sizes = np.abs(np.where(self.finite, self.x, 0))
        typical = [np.full(a.shape, np.sqrt(np.mean(a * a)) if a.any() else 1) for a in self.entries.split(sizes)]
        return 2 ** np.floor(np.log2(np.maximum(np.maximum(sizes, flat(typical)), np.finfo(float).smallest_normal)))


def _names(f, count, skip):
    """What f calls its arguments behind the first `skip`."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    positional = positional[skip:]
    return [*positional[:count], *(f"args[{place}]" for place in range(len(positional), count))]


def same_bits(one, other):
    """Whether two arrays have the same shape, dtype and bits; −0 is not 0, and NaN is itself."""
    one, other = np.ascontiguousarray(one), np.ascontiguousarray(other)
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


# --- memory layouts --------------------------------------------------------------------------------------------------


def _strided(array):
    big = np.full([2 * size + 1 for size in array.shape], 7, array.dtype)
    view = big[(..., *(slice(1, 2 * size + 1, 2) for size in array.shape))]
    view[...] = array
    return view


def _reversed(array):
    backwards = (..., *(slice(None, None, -1),) * array.ndim)
    return array[backwards].copy(order="C")[backwards]


def _unaligned(array):
    raw = np.empty(array.nbytes + 1, np.uint8)[1:]
    view = raw.view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def _read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def _unpickled(array):
    """Of a dtype that equals NumPy's, but is not the same object."""
    return array.copy().view(np.dtype(array.dtype, copy=True))


LAYOUTS = {
    "C": lambda array: array.copy(),
    "Fortran": lambda array: array.copy(order="F"),
    "strided": _strided,
    "reversed": _reversed,
    "unaligned": _unaligned,
    "read-only": _read_only,
    "unpickled": _unpickled,
    "byte-swapped": lambda array: array.astype(array.dtype.newbyteorder()),
}
