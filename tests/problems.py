"""Strategies and helpers that every test module shares: sizes, layouts, random arguments, and the one tolerance."""

import mpmath
import numpy as np
from hypothesis import strategies as st

from fastgrad.testing._arrays import LAYOUTS

DTYPES = (np.float32, np.float64)

# Around the edges of vectors (8 and 16 lanes), tiles (6, 8 and 12 rows, 8 to 48 columns) and blocks (256 terms).
EDGES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 48, 49, 63, 64, 65, 127, 129]
LONG_EDGES = [255, 256, 257, 511, 513, 1000]


def sizes(most=129, least=0):
    return st.sampled_from([size for size in EDGES if least <= size <= most])


def long_sizes():
    """Mostly short, sometimes beyond a block."""
    return st.one_of(sizes(), sizes(), st.sampled_from(LONG_EDGES))


def classes(most=65, least=0):
    """Around what counts as few classes (one vector or two, in a loss eight; up to eight or 14 in registers) as often
    as elsewhere."""
    edges = [12, 13, 20, 21, 24, 25, 40, 41, 95, 97, 111, 112, 113, 127, 128, 129, 145, 223, 224, 225]
    return st.one_of(sizes(most, least), st.sampled_from(edges))


dtypes = st.sampled_from(DTYPES)
seeds = st.integers(0, 2**32 - 1)


def leads(most=20):
    """Leading axes: none, a minibatch, several."""
    few = st.integers(0, 4)
    return st.one_of(st.just(()), st.tuples(sizes(most)), st.tuples(few, few), st.tuples(few, few, few))


def tolerance(dtype, terms):
    """The error a sum of `terms` products may have, relative to the sum of their sizes: the bound of blocked sums,
    twice rounded (a reference evaluated in a wider dtype is rounded as well)."""
    return float(np.finfo(dtype).eps) * sum_units(terms)


def sum_units(terms):
    """The same in units of eps."""
    return 256 + terms / 256 + 4


def assert_within(got, expected, bound):
    """|got − expected| ≤ bound, element by element; the same shape and dtype."""
    got, expected, bound = np.asarray(got), np.asarray(expected), np.asarray(bound)
    assert got.shape == expected.shape
    error = np.abs(got - expected.astype(np.longdouble))
    bad = ~(error <= bound)
    assert not bad.any(), f"error {error[bad].max()} beyond {np.broadcast_to(bound, bad.shape)[bad].min()}"


def assert_same_bits(one, other):
    """The same arrays, alone or in tuples, of the same shape, dtype and bits."""
    assert isinstance(one, tuple) == isinstance(other, tuple)
    if isinstance(one, tuple):
        for a, b in zip(one, other, strict=True):
            assert_same_bits(a, b)
    else:
        a, b = np.ascontiguousarray(one), np.ascontiguousarray(other)
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


# --- units in the last place ------------------------------------------------------------------------------------------


def ulps(got, exact, dtype):
    """|got − exact| in units of the last place of exact."""
    info = np.finfo(dtype)
    if mpmath.isnan(exact) or np.isnan(got):
        return 0.0 if mpmath.isnan(exact) and np.isnan(got) else np.inf
    if np.isinf(got):
        beyond = mpmath.isinf(exact) or abs(exact) > mpmath.mpf(float(info.max)) * (
            1 + mpmath.mpf(2) ** -(info.nmant + 2)
        )
        return 0.0 if beyond and (got > 0) == (exact > 0) else np.inf
    if mpmath.isinf(exact):
        return np.inf
    exponent = max(mpmath.frexp(exact)[1] - 1, int(info.minexp)) if exact else int(info.minexp)
    return float(abs(mpmath.mpf(float(got)) - exact) / mpmath.mpf(2) ** (exponent - int(info.nmant)))


def arguments(dtype, count=1500):
    """Uniform over where exp is finite, around 0 and 1, every magnitude of both signs, and the special values."""
    rng, info = np.random.default_rng(0), np.finfo(dtype)
    smallest, largest = float(info.smallest_subnormal), float(info.max)
    edge = np.log(largest)
    magnitudes = np.exp(rng.uniform(np.log(smallest), np.log(largest), count))
    near = rng.uniform(-1, 1, count)
    sets = [
        rng.uniform(-1.2 * edge, 1.1 * edge, count),
        2 * near,
        1e-3 * near,
        1 + 1e-3 * near,
        1 + near,
        magnitudes,
        -magnitudes,
        [0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, largest, -largest, smallest, -smallest, float(info.tiny)],
        [edge * (1 + s * 1e-7) for s in range(-3, 4)],
        [np.log(smallest) * (1 + s * 1e-3) for s in range(-3, 4)],
    ]
    with np.errstate(over="ignore", under="ignore"):
        return np.concatenate(sets).astype(dtype)


WRITEABLE = [name for name in LAYOUTS if name not in ("read-only", "byte-swapped")]
layouts = st.sampled_from(sorted(LAYOUTS))
