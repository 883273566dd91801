"""What holds for every gradient whatever its formula: out=, accumulate=, layouts, inputs, linearity, batches, threads.

A function is called as `function(*args)`; it gives an array or a tuple of arrays. Where another layout or batch may
cost a NumPy function a rounding or two, `exact=False` lets it; `exact=True` asks for the same bits.
"""

import numba
import numpy as np

from ._arrays import LAYOUTS, Entries, as_arrays, flat, same_bits
from ._report import draw

_ROUNDINGS = 64  # as for derivatives


def check_out(function, args):
    """Checks `out=`: it takes the same bits as are returned without it, in any layout, and comes back itself.

    Parameters
    ----------
    function : callable
        `function(*args, out=out)` writes into an array, or into a tuple of arrays where there are several results.
    args : tuple, or one array

    Raises
    ------
    AssertionError
        What is wrong with `out`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.testing import check_out
    >>> check_out(np.exp, np.array([0.5, 2.0]))
    """
    expected = as_arrays(function(*_copies(args)))
    for layout in ("C", "Fortran", "strided", "reversed"):
        out = [LAYOUTS[layout](np.full_like(e, 7)) for e in expected]
        returned = function(*_copies(args), out=_as_given(out))
        returned = returned if isinstance(returned, (tuple, list)) else [returned]
        for got, same, want, name in zip(returned, out, expected, _names(expected), strict=True):
            assert got is same, f"check_out: {name} is another array than the one passed as out ({layout} layout)"
            _same(f"check_out: {name} with out= ({layout} layout)", same, want, exact=True)


def check_accumulate(function, args):
    """Checks `accumulate=True`: the result is added to what `out` holds.

    Parameters
    ----------
    function : callable
        `function(*args, out=out, accumulate=True)`.
    args : tuple, or one array

    Raises
    ------
    AssertionError
        The sum is wrong, and where.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> from fastgrad.testing import check_accumulate
    >>> check_accumulate(fg.affine_db, np.array([[1.0, 2.0], [3.0, 4.0]]))
    """
    results = as_arrays(function(*_copies(args)))
    old = [draw(place, r.shape, r.dtype) for place, r in enumerate(results)]
    out = [o.copy() for o in old]
    function(*_copies(args), out=_as_given(out), accumulate=True)
    for got, before, result, name in zip(out, old, results, _names(results), strict=True):
        size = np.abs(before) + np.abs(result)
        _same(f"check_accumulate: {name}, which is not out + result,", got, before + result, scale=size)


def check_layouts(function, args, *, exact=False):
    """Checks that the memory layout of the arguments does not matter: strides, order, alignment, byte order, read-only,
    a dtype as after unpickling.

    Parameters
    ----------
    function : callable
    args : tuple, or one array
    exact : bool
        The same bits, instead of the same but for rounding.

    Raises
    ------
    AssertionError
        The argument and the layout that change the result, or that the function does not take.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> from fastgrad.testing import check_layouts
    >>> check_layouts(fg.softmax, np.array([[1.0, 2.0], [3.0, 4.0]]), exact=True)
    """
    expected = as_arrays(function(*_copies(args)))
    arrays = [place for place, array in enumerate(_copies(args)) if array is not None]
    for place in arrays:
        for layout, lay_out in LAYOUTS.items():
            laid_out = _copies(args)
            laid_out[place] = lay_out(laid_out[place])
            what = f"check_layouts: with argument {place} in the layout '{layout}'"
            try:
                got = as_arrays(function(*laid_out))
            except Exception as error:
                raise AssertionError(f"{what}, it raises {type(error).__name__}: {error}") from error
            for one, want, name in zip(got, expected, _names(expected), strict=True):
                _same(f"{what}, {name}", one, want, exact=exact)


def check_inputs_unmodified(function, args):
    """Checks that the function writes to none of its arguments.

    Parameters
    ----------
    function : callable
    args : tuple, or one array

    Raises
    ------
    AssertionError
        The argument that was written to, and where.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.testing import check_inputs_unmodified
    >>> check_inputs_unmodified(np.cumsum, np.array([0.5, 2.0]))
    """
    before, passed = _copies(args), _copies(args)
    function(*passed)
    for place, (one, other) in enumerate(zip(passed, before, strict=True)):
        if not same_bits(one, other):
            _same(f"check_inputs_unmodified: argument {place}, which the function wrote to,", one, other, exact=True)


def check_linearity(f, vjp, args, *, seed=0):
    """Checks that a vjp is linear in its cotangent, as every gradient is.

        vjp(2 U − 3 V) = 2 vjp(U) − 3 vjp(V)

    Parameters
    ----------
    f, vjp, args, seed
        As in `check_vjp`; f only gives the shape of the cotangents U and V.

    Raises
    ------
    AssertionError
        The gradient is not linear, and where.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.testing import check_linearity
    >>> check_linearity(np.tanh, lambda dY, x: dY * (1 - np.tanh(x) ** 2), np.array([0.5, 2.0]))
    """
    shapes = [(r.shape, r.dtype) for r in as_arrays(f(*_copies(args)))]
    U, V = ([draw(seed + s, shape, dtype) for shape, dtype in shapes] for s in (0, 1))
    both = [(2 * u - 3 * v).astype(u.dtype) for u, v in zip(U, V, strict=True)]
    of_U, of_V, got = (_gradients(vjp(_as_given(c), *_copies(args))) for c in (U, V, both))
    for u, v, sum_, name in zip(of_U, of_V, got, _names(got), strict=True):
        size = 2 * np.abs(u) + 3 * np.abs(v)
        _same(f"check_linearity: {name} of 2 U − 3 V, beside 2 vjp(U) − 3 vjp(V),", sum_, 2 * u - 3 * v, scale=size)


def check_batch_invariance(function, args, *, batched=(0,), exact=False):
    """Checks that a row's result does not depend on the rows beside it.

    Parameters
    ----------
    function : callable
        Its results have the batch as their first axis.
    args : tuple, or one array
    batched : tuple of ints
        Which arguments have the batch as their first axis; the others are passed whole.
    exact : bool
        The same bits, instead of the same but for rounding.

    Raises
    ------
    AssertionError
        The row that is another one alone, or in part of the batch.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> from fastgrad.testing import check_batch_invariance
    >>> check_batch_invariance(fg.softmax, np.array([[1.0, 2.0], [3.0, 9.0], [7.0, 7.0]]), exact=True)
    """
    expected = as_arrays(function(*_copies(args)))
    rows = len(_copies(args)[batched[0]])
    alone = [slice(r, r + 1) for r in sorted({0, rows // 2, rows - 1})] if rows else []
    for part in [*alone, slice(0, rows // 2), slice(rows // 2, rows), slice(1, rows), slice(0, rows - 1)]:
        some = [a[part] if place in batched else a for place, a in enumerate(_copies(args))]
        count = len(some[batched[0]])
        if not count:
            continue
        for got, want, name in zip(as_arrays(function(*some)), expected, _names(expected), strict=True):
            what = f"row {part.start} alone" if count == 1 else f"rows {part.start} to {part.start + count - 1} alone"
            _same(f"check_batch_invariance: {name} for {what}", got, want[part], exact=exact)


def check_threads(function, args, *, threads=None, set_threads=numba.set_num_threads):
    """Checks that the number of threads changes no bit.

    Parameters
    ----------
    function : callable
    args : tuple, or one array
    threads : sequence of ints
        From 1 to `NUMBA_NUM_THREADS` by default.
    set_threads : callable
        Sets the number of threads, Numba's by default, which is restored; for another library for example
        `torch.set_num_threads`, where the last number stays.

    Raises
    ------
    AssertionError
        The number of threads that changes the result, and where.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> from fastgrad.testing import check_threads
    >>> check_threads(fg.affine_db, np.ones((300, 4)))
    """
    counts = list(threads if threads is not None else range(1, numba.config.NUMBA_NUM_THREADS + 1))
    before = numba.get_num_threads()
    try:
        set_threads(counts[0])
        expected = as_arrays(function(*_copies(args)))
        for count in counts[1:]:
            set_threads(count)
            for got, want, name in zip(as_arrays(function(*_copies(args))), expected, _names(expected), strict=True):
                _same(f"check_threads: {name} with {count} threads, beside {counts[0]},", got, want, exact=True)
    finally:
        numba.set_num_threads(before)


def check_deterministic(function, args, *, repeats=10):
    """Checks that every call gives the same bits: no race, no random number, no memory that was never written.

    Parameters
    ----------
    function : callable
    args : tuple, or one array
    repeats : int

    Raises
    ------
    AssertionError
        The call that gave something else, and where.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgrad.testing import check_deterministic
    >>> check_deterministic(np.cumsum, np.array([0.5, 2.0]))
    """
    expected = [r.copy() for r in as_arrays(function(*_copies(args)))]
    for call in range(2, repeats + 1):
        for want in expected:
            np.full(want.shape, call, want.dtype)  # and freed: what an np.empty of this size is likely to be given
        for got, want, name in zip(as_arrays(function(*_copies(args))), expected, _names(expected), strict=True):
            _same(f"check_deterministic: {name} of call {call}", got, want, exact=True)


# --- in common -------------------------------------------------------------------------------------------------------


def _copies(args):
    args = args if isinstance(args, (tuple, list)) else (args,)
    return [None if a is None else np.array(a) for a in args]


def _as_given(arrays):
    return tuple(arrays) if len(arrays) > 1 else arrays[0]


def _gradients(given):
    return as_arrays([g for g in given if g is not None] if isinstance(given, (tuple, list)) else given)


def _names(results):
    return ["the result"] if len(results) == 1 else [f"result {place}" for place in range(len(results))]


def _same(what, got, expected, *, exact=False, scale=None):
    """Raises where two arrays are not the same: the same bits, or the same but for rounding beside `scale`."""
    got = np.asarray(got)
    assert got.shape == expected.shape, f"{what} has shape {got.shape} instead of {expected.shape}"
    assert got.dtype == expected.dtype, f"{what} has dtype {got.dtype} instead of {expected.dtype}"
    if same_bits(got, expected) or not got.size:
        return
    one, other = flat([got]), flat([expected])
    with np.errstate(invalid="ignore"):
        difference = np.abs(one - other)
    difference[(one == other) | (np.isnan(one) & np.isnan(other))] = 0
    if exact:
        bits = [np.ascontiguousarray(a).reshape(-1, 1).view(np.uint8).reshape(a.size, -1) for a in (got, expected)]
        wrong, allowed = (bits[0] != bits[1]).any(1), np.zeros(got.size)
    else:
        entries = Entries([""], [expected])
        size = entries.row_max(np.abs(other) if scale is None else flat([scale]))
        eps = np.finfo(got.dtype).eps if got.dtype.kind == "f" else 0
        allowed = eps * (_ROUNDINGS + got.size) * size + (np.finfo(got.dtype).smallest_normal if eps else 0)
        wrong = ~(difference <= allowed)
    if wrong.any():
        worst = int(np.argmax(np.where(wrong, np.where(np.isnan(difference), np.inf, difference), -1)))
        index = tuple(int(i) for i in np.unravel_index(worst, got.shape))
        explained = "" if exact else f", where rounding explains {allowed[worst]:.1g}"
        raise AssertionError(
            f"{what} differs in {int(wrong.sum())} of {wrong.size} entries\n"
            f"    at {list(index)}: {one[worst]!r} instead of {other[worst]!r}{explained}"
        )
