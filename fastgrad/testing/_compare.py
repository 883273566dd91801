"""A user's derivative beside one that is known: what is compared, and how large a difference rounding explains.

That is no constant. An entry g_i = Σ_k dY_k ∂Y_k/∂x_i may be off by `rtol` times the size of its own terms and those of
its row, Σ_k |dY_k ∂Y_k/∂x_i|, by 16 times what changing the last place of every argument does to it, and by the
estimated error of what it is compared with. By default `rtol` is √eps, half of the digits, where f is the judge, and
what `64 + number of entries` roundings lose where a vjp is held against a jvp. All of it is relative to the entry's own
row: a gradient that should be 1e-9 is not called right for being 0.
"""

from dataclasses import dataclass

import numpy as np

from ._arrays import flat, real_arrays
from ._report import Comparison, describe, draw, draw_line, fail, guess, name_entry

_ROUNDINGS, _JITTERS = 64, 16


@dataclass
class _Known:
    """What is known of some entries: their values and errors, the size of their terms, what a last place does."""

    value: np.ndarray
    error: np.ndarray
    scale: np.ndarray
    jitter: np.ndarray

    def beside(self, got, rows, tolerance):
        """The comparison with what the user's function gave; `rows` gives the largest scale in each entry's row."""
        allowed = tolerance.rtol * rows(self.scale) + _JITTERS * self.jitter + 2 * self.error
        return Comparison(got, self.value, self.error, allowed + tolerance.atol)


@dataclass
class Tolerance:
    """How far a derivative may be off: `rtol` relative to the size of the terms in its row, `atol` as it is."""

    rtol: float
    atol: float

    @classmethod
    def of(cls, derivative, rtol, atol):
        arguments = derivative.arguments
        roundings = (_ROUNDINGS + arguments.entries.size + derivative.outputs.size) * arguments.eps
        usual = max(roundings, arguments.eps**0.5) if derivative.is_numeric else roundings
        return cls(usual if rtol is None else rtol, atol + arguments.tiny)


def _unit(size, i):
    v = np.zeros(size)
    v[i] = 1
    return v


def _jitter(derivative, v, contract):
    """How much changes of all arguments in their last place change the derivative along v."""
    if not derivative.needs_jitter:
        return 0 * contract(derivative.along(v)[0])
    at_home = contract(derivative.along(v, derivative.arguments.x)[0])
    return np.max([np.abs(contract(derivative.along(v, x)[0]) - at_home) for x in derivative.jittered], axis=0)


def _choose(arguments, most, seed):
    """The numbers of the entries to look at one by one, the first and the last of every argument among them."""
    numbers = np.flatnonzero(arguments.finite)
    if len(numbers) <= most:
        return numbers
    starts = arguments.entries.starts
    ends = np.intersect1d(numbers, np.concatenate([starts[:-1], starts[1:] - 1]))
    return np.union1d(ends, np.random.default_rng(seed).choice(numbers, most, replace=False))


def _results(check, of, given, arguments, shapes):
    """The arrays that a user's function gave, one for each variable, of these shapes."""
    results = list(given) if isinstance(given, (tuple, list)) else [given]
    if len(results) == len(arguments.args) > len(arguments.places):
        results = [results[place] for place in arguments.places]
    count = len(arguments.places)
    assert len(results) == count, f"{check}: {of} gives {len(results)} arrays but needs {count}: {_listed(arguments)}"
    results = real_arrays(f"{check}: {of}", results)
    for name, result, shape in zip(arguments.entries.names, results, shapes, strict=True):
        assert result.shape == shape, f"{check}: {of} gives shape {result.shape} for {name} but needs {shape}"
    return results


def _listed(arguments):
    return "one for each of " + ", ".join(arguments.entries.names)


def _cannot_tell(check, where, value, error):
    return AssertionError(
        f"{check}: cannot tell at {where}: differences of f do not settle there, {value:.6g} ± {error:.0e}; "
        f"f is noisy, or changes too fast"
    )


# --- gradients: vjp against f, and against jvp -----------------------------------------------------------------------


def compare_gradients(check, vjp, derivative, seed, most, tolerance):
    """Every entry of vjp(dY) beside Σ_k dY_k ∂Y_k/∂x_i."""
    arguments, outputs = derivative.arguments, derivative.outputs
    entries = arguments.entries
    cotangents = [
        np.where(finite, draw(seed, shape, dtype), 0).astype(dtype)
        for finite, shape, dtype in zip(outputs.split(derivative.finite), outputs.shapes, outputs.dtypes, strict=True)
    ]
    given = vjp(cotangents[0] if len(cotangents) == 1 else tuple(cotangents), *arguments.fresh())
    got = flat(_results(check, "vjp", given, arguments, entries.shapes))
    dY = flat(cotangents)

    def compare(chosen):
        def rows(scale):
            everywhere = np.zeros(entries.size)
            everywhere[chosen] = scale
            return entries.row_max(everywhere)[chosen]

        known = [_gradient_entry(check, derivative, dY, i) for i in chosen]
        known = _Known(*np.array(known).reshape(len(chosen), 4).T)
        comparison = known.beside(got[chosen], rows, tolerance)
        for p in np.flatnonzero(comparison.wrong):
            _accept_a_kink(comparison, p, _sides(derivative, dY, chosen[p]), entries.name(chosen[p]))
        return comparison

    chosen = _choose(arguments, most, seed)
    comparison = compare(chosen)
    one_by_one = comparison.wrong.any()
    if not one_by_one:
        worst = _search(derivative, got, dY, np.setdiff1d(np.flatnonzero(arguments.finite), chosen), tolerance)
        if worst is None:
            return
        chosen = np.array([worst])
        comparison = compare(chosen)

    worst = comparison.worst()
    which, index = entries.place(chosen[worst])
    of_this = np.isin(chosen, entries.owner(which))
    part, numbers = comparison.only(of_this), chosen[of_this]
    subject = f"{check}: the gradient of {entries.names[which]} is wrong"
    mine = f"vjp, at {name_entry(entries.names[which], index)}"
    names = [f"dY{k}" for k in range(len(cotangents))] if len(cotangents) > 1 else ["dY"]
    draws = [draw_line(n, seed, c.shape, c.dtype) for n, c in zip(names, cotangents, strict=True)]
    called = f"vjp({names[0] if len(names) == 1 else '(' + ', '.join(names) + ')'}, *args)"
    others = [
        (_with_ones(derivative, numbers), "yours is the gradient for a dY of ones: is dY used?"),
        (_transposed(entries.shapes[which], part), "yours is the transpose of that"),
    ]
    fail(
        describe(subject, part, part.worst(), mine, derivative.how),
        comparison.notes.get(worst, []) or (guess(part, others) if one_by_one else []),
        arguments,
        [*draws, f"{called}{_pick(given, which, arguments)}{list(index) if index else ''}"],
    )


def _gradient_entry(check, derivative, dY, i):
    """Σ_k dY_k ∂Y_k/∂x_i, its estimated error, Σ_k |dY_k ∂Y_k/∂x_i|, and what a last place does to it."""
    v = _unit(derivative.arguments.entries.size, i)
    slope, error = derivative.along(v)
    if derivative.is_blurred(v, error, slope)[dY != 0].any() and not derivative.one_sided(v)[2].any():
        raise _cannot_tell(check, derivative.arguments.entries.name(i), dY @ slope, np.abs(dY) @ error)
    return dY @ slope, np.abs(dY) @ error, np.abs(dY) @ np.abs(slope), _jitter(derivative, v, lambda s: dY @ s)


def _sides(derivative, dY, i):
    """The least and the largest that Σ_k dY_k ∂Y_k/∂x_i may be if f has a kink there; None where it has none."""
    v = _unit(derivative.arguments.entries.size, i)
    left, right, rough = derivative.one_sided(v)
    rough &= dY != 0
    if not rough.any():
        return None
    smooth = dY[~rough] @ derivative.along(v)[0][~rough]
    ends = np.sort([dY[rough] * left[rough], dY[rough] * right[rough]], axis=0)
    return smooth + ends.sum(axis=1)


def _search(derivative, got, dY, numbers, tolerance):
    """The entry among these that is wrong, if one is: all of them along a random direction, then halves."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], derivative.arguments.entries.size)

    def excess(some):
        v = np.zeros(signs.size)
        v[some] = signs[some]
        slope, error = derivative.along(v)
        size = np.abs(got[some]).sum() + np.abs(dY) @ np.abs(slope)
        jitter = _jitter(derivative, v, lambda s: dY @ s)
        allowed = tolerance.rtol * size + _JITTERS * jitter + 2 * np.abs(dY) @ error + tolerance.atol
        difference = np.abs(got @ v - dY @ slope)
        return np.inf if np.isnan(difference) else difference / allowed

    if not len(numbers) or not excess(numbers) > 1:
        return None
    while len(numbers) > 1:
        numbers = max(numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :], key=excess)
    return int(numbers[0])


def _accept_a_kink(comparison, p, sides, where):
    """Between the derivatives from the left and from the right, everything is as good; else a note says that."""
    if sides is None:
        return
    low, high = sides
    room = 1e-3 * (abs(low) + abs(high))  # one-sided differences have few digits
    if low - room <= comparison.got[p] <= high + room:
        comparison.expected[p] = comparison.got[p]
    else:
        comparison.notes[p] = [
            f"    f is not differentiable at {where}: anything from {low:.6g} to {high:.6g} would do"
        ]


def _with_ones(derivative, numbers):
    return np.array([derivative.along(_unit(derivative.arguments.entries.size, i))[0].sum() for i in numbers])


def _transposed(shape, part):
    """The known gradient of a square matrix, turned; NaN where it cannot be."""
    if len(shape) != 2 or shape[0] != shape[1] or part.expected.size != shape[0] * shape[1]:
        return np.full(part.expected.shape, np.nan)
    return part.expected.reshape(shape).T.ravel()


def _pick(given, which, arguments):
    """How the gradient of one variable is taken out of what the user's function gave."""
    if not isinstance(given, (tuple, list)):
        return ""
    return f"[{arguments.places[which] if len(given) == len(arguments.args) else which}]"


# --- tangents: jvp against f -----------------------------------------------------------------------------------------


def compare_tangents(check, name, jvp, derivative, seed, tolerance):
    """Every entry of jvp(V) beside Σ_i ∂Y_k/∂x_i V_i: for a tangent of each argument alone, and for all together."""
    arguments, outputs = derivative.arguments, derivative.outputs
    variables = range(len(arguments.places))
    rng = np.random.default_rng(seed)
    random = flat(
        [
            rng.standard_normal(s).astype(d)
            for s, d in zip(arguments.entries.shapes, arguments.entries.dtypes, strict=True)
        ]
    )
    random = np.where(arguments.finite, random, 0)
    alone = [[which] for which in variables]
    for used in [*alone, list(variables)] if len(alone) > 1 else alone:
        v = np.zeros(random.size)
        for which in used:
            v[arguments.entries.owner(which)] = random[arguments.entries.owner(which)]
        given = jvp(*arguments.tangents(v), *arguments.fresh())
        results = real_arrays(f"{check}: {name}", given)
        shapes = [r.shape for r in results]
        assert shapes == outputs.shapes, f"{check}: {name} gives the shapes {shapes} but needs {outputs.shapes}"

        slope, error = derivative.along(v)
        flips = [np.abs(derivative.along(v * signs)[0]) for signs in derivative.signs]
        known = _Known(slope, error, np.max([np.abs(slope), *flips], axis=0), _jitter(derivative, v, lambda s: s))
        got = np.where(derivative.finite, flat(results), slope)
        comparison = known.beside(got, outputs.row_max, tolerance)
        blurred = derivative.is_blurred(v, error, slope)
        if (comparison.wrong | blurred).any():
            left, right, rough = derivative.one_sided(v)
            for p in np.flatnonzero(rough & comparison.wrong):
                _accept_a_kink(comparison, p, np.sort([left[p], right[p]]), outputs.name(p))
            if (blurred & ~rough).any():
                p = int(np.argmax(blurred & ~rough))
                raise _cannot_tell(check, outputs.name(p), slope[p], error[p])
        if not comparison.wrong.any():
            continue
        worst = comparison.worst()
        which, index = outputs.place(worst)
        subject = " and ".join(arguments.entries.names[w] for w in used)
        weights = "" if len(alone) == 1 or len(used) > 1 else f" * {tuple(int(w in used) for w in variables)}[i]"
        floats = "args" if len(variables) == len(arguments.args) else f"[args[i] for i in {tuple(arguments.places)}]"
        fail(
            describe(
                f"{check}: the derivative along {subject} is wrong",
                comparison,
                worst,
                f"{name}, at {name_entry(outputs.names[which], index)}",
                derivative.how,
            ),
            comparison.notes.get(worst, []) or guess(comparison),
            arguments,
            [
                f"rng = np.random.default_rng({seed})",
                f"V = [rng.standard_normal(a.shape).astype(a.dtype){weights} for i, a in enumerate({floats})]",
                f"{name}(*V, *args){f'[{which}]' if len(outputs.names) > 1 else ''}{list(index) if index else ''}",
            ],
        )


# --- Jacobians -------------------------------------------------------------------------------------------------------


def compare_columns(derivative, jacobian, seed, most, tolerance):
    """Every column of the Jacobian beside the derivative of f by one entry of its arguments."""
    arguments, outputs = derivative.arguments, derivative.outputs
    entries = arguments.entries
    assert len(outputs.names) == 1, "check_jacobian: f must give one array"
    given = jacobian(*arguments.fresh())
    wanted = [outputs.shapes[0] + shape for shape in entries.shapes]
    results = _results("check_jacobian", "jacobian", given, arguments, wanted)
    got = np.concatenate([r.astype(np.float64).reshape(outputs.size, -1) for r in results], axis=1)
    for i in _choose(arguments, most, seed):
        v = _unit(entries.size, i)
        slope, error = derivative.along(v)
        known = _Known(slope, error, np.abs(slope), _jitter(derivative, v, lambda s: s))
        column = np.where(derivative.finite, got[:, i], slope)
        comparison = known.beside(column, outputs.row_max, tolerance)
        blurred = derivative.is_blurred(v, error, slope)
        if (comparison.wrong | blurred).any():
            left, right, rough = derivative.one_sided(v)
            for p in np.flatnonzero(rough & comparison.wrong):
                _accept_a_kink(comparison, p, np.sort([left[p], right[p]]), entries.name(i))
        if comparison.wrong.any():
            worst = comparison.worst()
            which, index = entries.place(i)
            place = outputs.place(worst)[1] + index
            fail(
                describe(
                    f"check_jacobian: the derivative by {entries.name(i)} is wrong",
                    comparison,
                    worst,
                    f"jacobian, at {name_entry('J', place)}",
                    derivative.how,
                ),
                comparison.notes.get(worst, []) or guess(comparison),
                arguments,
                [f"jacobian(*args){_pick(given, which, arguments)}{list(place) if place else ''}"],
            )
