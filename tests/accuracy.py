"""How exact every function is: its result beside the formula as it stands on paper, in a thousand digits.

`python tests/accuracy.py` prints README's table of worst errors, `--write` puts it there. A claim bounds the error of
each entry in units of `eps · size`, with the size that the condition of the formula dictates; what rounding S_j − max S
costs, whatever comes after it, is not counted. Here stand the claims and the exact formulas; the usual ones beside them
are those that the benchmarks time. `test_accuracy.py` holds the claims and the table.
"""

import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import mpmath
import numpy as np
from problems import sum_units

import fastgrad as fg
from fastgrad import reference
from fastgrad._bench.peers import with_numpy
from fastgrad._functions import FUNCTIONS

README = Path(__file__).parents[1] / "README.md"
DIGITS, FEW_DIGITS = 1000, 60  # e⁻²⁰⁰⁰ beside 1, and some; an activation adds nothing so small to a 1
SCALES, OFFSETS = (1, 5, 20, 80, 300), (0, 1e3, 1e6)
ROWS = (3, 7), (1, 130)  # rows and classes, either side of where the loops differ
TERMS = 1500  # of a sum, over several blocks


@dataclass
class Claim:
    """`units(terms)` bounds the error; `exact` takes the inputs, `size` gives (size, lost) of each entry.

    `usual` is the formula as one writes it, where it is not the function of that name in `with_numpy`.
    """

    units: object
    exact: object
    size: object
    usual: object = None


# --- arithmetic in mpmath, on arrays of objects ----------------------------------------------------------------------

exp, log, erfc = (np.frompyfunc(f, 1, 1) for f in (mpmath.exp, mpmath.log, mpmath.erfc))


def exactly(array):
    """The same numbers as mpmath's; integers stay."""
    if array.dtype.kind != "f":
        return array
    return np.frompyfunc(lambda value: mpmath.mpf(float(value)), 1, 1)(array).astype(object)


def total(values, axis=-1):
    return np.sum(values, axis, keepdims=True)


def at(target, values):
    return np.take_along_axis(values, target[..., None], -1)


# --- softmax ---------------------------------------------------------------------------------------------------------


def depth(S):
    """|S_j − max S| and its mean: what rounding that difference costs each log-probability, in eps."""
    below = np.abs(S - S.max(-1, keepdims=True))
    return below + total(reference.softmax(S) * below)


def spread(Y, dY):
    """Σ_j Y_j |dY_i − dY_j|"""
    return total(Y[..., None, :] * np.abs(dY[..., :, None] - dY[..., None, :]))[..., 0]


def logsumexp_size(S):
    largest = S.max(-1)
    return np.abs(largest) + (reference.logsumexp(S) - largest), depth(S).min(-1)


def log_softmax_vjp_size(dL, L):
    others = total(np.abs(dL)) - np.abs(dL)
    return np.abs(dL) * -np.expm1(L) + np.exp(L) * others, 0


def log_softmax_jvp_size(dS, L):
    at_largest = at(L.argmax(-1), dS)
    return spread(np.exp(L), dS) + np.abs(dS - at_largest), 0


def product(v, Y):
    """Σ_j Y_i (δ_ij − Y_j) v_j with the 1 in it as Σ_j Y_j: rounded probabilities do not add up to 1."""
    return Y * (v * total(Y) - total(Y * v))


def jacobian(Y):
    eye = np.eye(Y.shape[-1], dtype=np.int64)
    return (eye * total(Y)[..., None] - Y[..., None, :]) * Y[..., :, None]


def always(units):
    return lambda _terms: units


SOFTMAX = {
    "softmax": Claim(
        always(4),
        lambda S: exp(S) / total(exp(S)),
        lambda S: (reference.softmax(S), reference.softmax(S) * depth(S)),
    ),
    "softmax_vjp": Claim(always(16), product, lambda dY, Y: (Y * spread(Y, dY), 0)),
    "softmax_jvp": Claim(always(16), product, lambda dS, Y: (Y * spread(Y, dS), 0)),
    "softmax_jacobian": Claim(always(16), jacobian, lambda Y: (np.abs(reference.softmax_jacobian(Y)), 0)),
    "log_softmax": Claim(
        always(4),
        lambda S: S - log(total(exp(S))),
        lambda S: (np.abs(reference.log_softmax(S)), depth(S)),
    ),
    "log_softmax_vjp": Claim(
        always(16),
        lambda dL, L: dL - exp(L) * total(dL),
        log_softmax_vjp_size,
    ),
    "log_softmax_jvp": Claim(
        always(16),
        lambda dS, L: dS * total(exp(L)) - total(exp(L) * dS),
        log_softmax_jvp_size,
    ),
    "logsumexp": Claim(
        always(4),
        lambda S: log(total(exp(S)))[..., 0],
        logsumexp_size,
    ),
}

# --- losses ----------------------------------------------------------------------------------------------------------


def exact_loss(S, target, weight, sample_weight):
    of_row = weight[target] * sample_weight
    p = exp(S) / total(exp(S))
    dS = of_row[..., None] * (p - (np.arange(S.shape[-1]) == target[..., None]))
    return of_row * -log(at(target, p))[..., 0], dS


def usual_loss(S, target, weight, sample_weight):
    of_row = weight[target] * sample_weight
    p = with_numpy.softmax(S)
    np.put_along_axis(p, target[..., None], at(target, p) - 1, -1)
    return of_row * -at(target, with_numpy.log_softmax(S))[..., 0], of_row[..., None] * p


def loss_size(S, target, weight, sample_weight, moved=None):
    """The sizes of loss and gradient, and what comes through of `moved`, by default what rounding S_j − max S moves."""
    of_row = (weight[target] * sample_weight)[..., None]
    loss, dS = reference.cross_entropy_value_and_grad(
        S, target, weight=weight, sample_weight=sample_weight, reduction="none"
    )
    lost, p = depth(S) if moved is None else moved, reference.softmax(S)
    is_target = np.arange(S.shape[-1]) == target[..., None]
    others = total(np.where(is_target, 0, p * lost))
    in_dS = of_row * (np.where(is_target, others, p * lost) + np.abs(dS) / of_row * at(target, lost))
    return (loss, (of_row * at(target, lost))[..., 0]), (np.abs(dS), in_dS)


def layer(formula):
    """A loss of logits with its gradient, as one of X, W and b with all of theirs."""

    def of_layer(X, W, b, target, weight, sample_weight):
        loss, dS = formula(X @ W.T + b, target, weight, sample_weight)
        return loss, dS @ W, dS.T @ X, dS.sum(0)

    return of_layer


def layer_size(X, W, b, target, weight, sample_weight):
    """That of the logits' sums, as it comes through the loss, and of the sums of its gradient."""
    S, terms = X @ W.T + b, np.abs(X) @ np.abs(W).T + np.abs(b)
    moved = terms + total(reference.softmax(S) * terms)
    (loss, loss_lost), (dS, dS_lost) = loss_size(S, target, weight, sample_weight)
    (_, loss_moved), (_, dS_moved) = loss_size(S, target, weight, sample_weight, moved)
    size, lost = dS + dS_moved, dS_lost
    X, W = np.abs(X), np.abs(W)
    return (loss + loss_moved, loss_lost), (size @ W, lost @ W), (size.T @ X, lost.T @ X), (size.sum(0), lost.sum(0))


LOSSES = {
    "cross_entropy": Claim(
        always(4), lambda *a: exact_loss(*a)[0], lambda *a: loss_size(*a)[0], lambda *a: usual_loss(*a)[0]
    ),
    "cross_entropy_value_and_grad": Claim(always(16), exact_loss, loss_size, usual_loss),
    "linear_cross_entropy": Claim(
        sum_units,
        lambda *a: layer(exact_loss)(*a)[0],
        lambda *a: layer_size(*a)[0],
        lambda *a: layer(usual_loss)(*a)[0],
    ),
    "linear_cross_entropy_value_and_grad": Claim(sum_units, layer(exact_loss), layer_size, layer(usual_loss)),
}

# --- activations -----------------------------------------------------------------------------------------------------


def sigma(x):
    return 1 / (1 + exp(-x))


def phi(x):
    return exp(-x * x / 2) / mpmath.sqrt(2 * mpmath.pi)


def normal(x):
    return erfc(-x / mpmath.sqrt(2)) / 2


def logistic(x):
    return reference.sigmoid(x)


def wide_normal(x):
    return np.vectorize(math.erfc, otypes=[np.longdouble])(-x / math.sqrt(2)) / 2


def wide_phi(x):
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


ACTIVATIONS = {
    "relu": Claim(always(0), lambda X: np.maximum(X, 0), lambda X: (np.abs(X), 0)),
    "relu_vjp": Claim(always(0), lambda dY, Y: dY * (Y > 0), lambda dY, Y: (np.abs(dY * (Y > 0)), 0)),
    "sigmoid": Claim(always(2), sigma, lambda X: (logistic(X), 0)),
    "sigmoid_vjp": Claim(
        always(4),
        lambda dY, Y: dY * Y * (1 - Y),
        lambda dY, Y: (np.abs(dY * Y * (1 - Y)), 0),
    ),
    "tanh": Claim(always(2), lambda X: np.frompyfunc(mpmath.tanh, 1, 1)(X), lambda X: (np.abs(np.tanh(X)), 0)),
    "tanh_vjp": Claim(
        always(4),
        lambda dY, Y: dY * (1 - Y * Y),
        lambda dY, Y: (np.abs(dY * (1 - Y) * (1 + Y)), 0),
    ),
    "silu": Claim(always(4), lambda X: X * sigma(X), lambda X: (np.abs(X) * logistic(X), 0)),
    "silu_vjp": Claim(
        always(16),
        lambda dY, X: dY * sigma(X) * (1 + X * (1 - sigma(X))),
        lambda dY, X: (np.abs(dY) * logistic(X) * (1 + np.abs(X) * logistic(-X)), 0),
    ),
    "gelu": Claim(always(4), lambda X: X * normal(X), lambda X: (np.abs(X) * wide_normal(X), 0)),
    "gelu_vjp": Claim(
        always(16),
        lambda dY, X: dY * (normal(X) + X * phi(X)),
        lambda dY, X: (np.abs(dY) * (wide_normal(X) + np.abs(X) * wide_phi(X)), 0),
    ),
}

# --- affine ----------------------------------------------------------------------------------------------------------


def terms_of(formula):
    """The size of a sum: the same sum of the sizes of its terms."""

    def sizes(*arrays):
        results = formula(*map(np.abs, arrays))
        return tuple((r, 0) for r in results) if isinstance(results, tuple) else (results, 0)

    return sizes


def sum_claim(formula):
    return Claim(sum_units, formula, terms_of(formula))


AFFINE_NAMES = "affine", "affine_vjp", "affine_dx", "affine_dw", "affine_db", "affine_jvp"
AFFINE = {name: sum_claim(getattr(with_numpy, name)) for name in AFFINE_NAMES}

CLAIMS = SOFTMAX | LOSSES | ACTIVATIONS | AFFINE
WRITTEN_OUT = {"affine_jacobian"}  # copies: nothing is rounded, and test_affine.py holds it to the bit

# --- arguments -------------------------------------------------------------------------------------------------------


def problems(function, dtype):
    """Arguments of a function by name, in every regime."""
    rng = np.random.default_rng(0)
    if function.family == "affine":
        for place in range(3):
            n, d, m = (TERMS if place == p else 2 for p in range(3))
            yield {o.name: ill_conditioned(rng, o, (n, d, m)).astype(dtype) for o in function.signature.inputs}
    elif function.family == "linear_cross_entropy":
        for scale in SCALES:
            for n, k in ROWS:
                yield of_layer(rng, function, dtype, scale, (n, 5, k))
        for place in range(3):
            yield of_layer(rng, function, dtype, 5, tuple(TERMS // 4 if place == p else 2 for p in range(3)))
    elif "k" not in function.sizes:
        for scale in (1, 8, 100):
            yield arguments(rng, function, dtype, scale * rng.standard_normal(60))
    else:
        for scale in SCALES:
            for offset in OFFSETS if function.signature.inputs[0].name == "S" else (0,):
                for rows in ROWS:
                    yield arguments(rng, function, dtype, offset + scale * rng.standard_normal(rows))


def arguments(rng, function, dtype, S):
    """Arguments that belong to these logits: Y is what the forward function makes of them, L its logarithm."""
    S, named = S.astype(dtype), {}
    forward = function.name.removesuffix("_vjp").removesuffix("_jvp").removesuffix("_jacobian")
    for operand in function.signature.inputs:
        values = rng.standard_normal(S.shape if operand.axes[-1:] != ("k",) or "..." in operand.axes else S.shape[-1:])
        if operand.name in ("S", "X"):
            named[operand.name] = S
        elif operand.name in ("Y", "L"):
            named[operand.name] = getattr(fg, forward)(S)
        elif operand.name == "target":
            named[operand.name] = np.append(S.argmax(-1)[:-1], 0)  # mostly what the logits say
        else:
            shape = values.shape[:-1] if operand.axes == ("...",) and "k" in function.sizes else values.shape
            values = values.reshape(-1)[: math.prod(shape)].reshape(shape)
            named[operand.name] = (np.abs(values) if "weight" in operand.name else values).astype(dtype)
    return named


def of_layer(rng, function, dtype, scale, sizes):
    """Arguments of a layer whose logits have this scale, and mostly the largest at the target."""
    n, d, k = sizes
    named = function.arguments(rng, dtype, (n,), d=d, k=k)
    named["W"] *= dtype(scale / math.sqrt(d))
    S = named["X"] @ named["W"].T + named["b"]
    return named | {"target": np.append(S.argmax(-1)[:-1], 0)}


def ill_conditioned(rng, operand, sizes):
    """Magnitudes over twelve decades, each entry beside one that cancels it but for its last digits. Powers of two, as
    those of ten are not the same bits from every build of NumPy."""
    shape = [dict(zip(("...", "d", "m"), sizes, strict=True))[axis] for axis in operand.axes]
    half = [size // 2 for size in shape]
    values = np.ldexp(rng.standard_normal(half), rng.integers(-20, 21, half))
    for axis in range(len(shape)):  # signs turn with the rows and outputs of dY, and with the columns of X
        sign = -1 if operand.name == "dY" or (operand.name in ("X", "dX") and axis == 1) else 1
        values = np.concatenate([values, sign * values * (1 + 1e-6 * rng.standard_normal(values.shape))], axis)
    return values


# --- figures ---------------------------------------------------------------------------------------------------------


def errors(function, dtype):
    """(fastgrad's worst error, the usual formula's, the bound), in units of eps times size, over all problems."""
    claim, eps = CLAIMS[function.name], float(np.finfo(dtype).eps)
    usual = claim.usual or getattr(with_numpy, function.name)
    smallest = 4 * float(np.finfo(dtype).smallest_subnormal)
    worst = [0.0, 0.0]
    digits = FEW_DIGITS if function.name in ACTIVATIONS else DIGITS
    with mpmath.workdps(digits), np.errstate(all="ignore"):
        for problem in problems(function, dtype):
            inputs = list(problem.values())
            exact = as_list(claim.exact(*map(exactly, inputs)))
            wide = [a.astype(np.longdouble) if a.dtype.kind == "f" else a for a in inputs]
            sizes = claim.size(*wide)
            sizes = [sizes] if len(exact) == 1 else sizes
            for place, results in enumerate((function.call(fg, problem), usual(*inputs))):
                for got, value, (size, lost) in zip(as_list(results), exact, sizes, strict=True):
                    off = np.frompyfunc(lambda g, v: abs(mpmath.mpf(float(g)) - v), 2, 1)(got, value).astype(float)
                    beyond = np.maximum(off - smallest - eps * lost, 0)
                    units = np.where(beyond > 0, beyond / (eps * size), 0)
                    worst[place] = max(worst[place], float(np.where(np.isnan(units), np.inf, units).max()))
    return *worst, claim.units(TERMS)


def as_list(results):
    """All results in one list, those of a loss and a tuple of gradients too."""
    return [array for part in results for array in as_list(part)] if isinstance(results, tuple) else [results]


def figure(error):
    return "0" if error == 0 else f"{error:.1f}" if error < 1000 else f"{error:.0e}".replace("e+", "e")


def table():
    """README's table, as lines."""
    rows = ["| | bound | float32 | usual formula | float64 | usual formula |", "|---|---|---|---|---|---|"]
    for function in FUNCTIONS.values():
        if function.name in CLAIMS:
            single, double = errors(function, np.float32), errors(function, np.float64)
            figures = " | ".join(figure(e) for e in (*single[:2], *double[:2]))
            rows.append(f"| `{function.name}` | {single[2]:.0f} | {figures} |")
    return rows


def shown():
    """The lines of the table that README shows."""
    found = re.search(r"^\| \| bound \|.*?(?=^$)", README.read_text(), re.DOTALL | re.MULTILINE)
    return found.group(0).splitlines()


if __name__ == "__main__":
    lines = table()
    print("\n".join(lines))
    if "--write" in sys.argv:
        README.write_text(README.read_text().replace("\n".join(shown()), "\n".join(lines)))
