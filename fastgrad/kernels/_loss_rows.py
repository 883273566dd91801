"""Rows of logits S with their losses J and gradients dS, for class indices or probabilities as targets.

With p = softmax(S) and m the largest class, a row whose classes have the shares a_c (its target, smoothed and weighted)
has the loss and the gradient

    J = Σ_c a_c (−log p_c) = A log1p(Σ_{c≠m} e_c) + Σ_c a_c (S_m − S_c)        A = Σ_c a_c, e_c = exp(S_c − S_m)
    dS_j = A p_j − a_j        at m: p_m Σ_{c≠m} a_c − a_m Σ_{c≠m} p_c

No two terms cancel: all of J are positive, and p_j − 1 is never formed where p_j > ½. Where all the share is that of
one class y, its entry is −Σ_{j≠y} p_j, whichever class is the largest. A z-loss adds z l² with l = logsumexp(S) to J
and 2 z l p_j to dS_j.

`given` is (target, weight, sample_weight, dloss), those that are missing of size 0, `options` are (ignore_index,
smoothing, z_loss, what gradients are multiplied by); without dS (of size 0), the losses alone are computed. dS may be S
itself.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import _short_rows as short
from ._across import lane
from ._arrays import borrowed, compact, give_back
from ._fetch import ONE, fetch, later_row
from ._jit import device, inlined
from ._loads import load, load_masked, store, store_masked
from ._long_rows import add_other_exp, row_exp, row_total_fetching
from ._math import exp_of_difference, log1p
from ._pack import ceil_div
from ._parts import absent, part
from ._simd import first, fma, kept, lanes, maximum, select, splat
from ._sums import along_row, is_element, omit, row_argmax, row_max, row_total, scalar, times
from ._vec import NONE

# --- rows whose target is one class ----------------------------------------------------------------------------------

# Of a vector of rows, the numbers of each row stand in one lane of these vectors of a buffer.
_Y, _AT_Y, _WEIGHT, _UPSTREAM, _LARGEST, _OTHERS, _SLOPE, _ENTRY = range(8)
_ABOUT = 8  # vectors
_GROUP = 4096  # classes, over all rows of a group: their exponentials stay in the fastest cache
_SHORT_VECTORS = 16  # of rows in a unit of work at most

_OPTIONS = int, float, float, float
_WITH_INDICES = 2, ([int], 1, 1, 1), _OPTIONS, 1, 2, int, int  # as the rows below take them
_WITH_PROBABILITIES = 2, (2, 1, 1, 1), _OPTIONS, 1, 2, int, int


@inlined
def class_weight(target, weight, sample_weight, ignore_index, i):
    """The weight of a row, 0 if it is ignored."""
    y = target[i]
    if y == ignore_index:
        return 0.0
    w = np.float64(weight[y]) if weight.size else 1.0
    return w * sample_weight[i] if sample_weight.size else w


@inlined
def _upstream(dloss, i):
    return np.float64(dloss[i]) if dloss.size else 1.0


@device
def _tell(S, given, options, i, rows, T):
    """Target (−1 where it is ignored) and its logit, weight and upstream gradient of rows i to i + rows, the last of
    them repeated."""
    compact()
    target, weight, sample_weight, dloss = given
    ignore_index, _, _, scale = options
    L = lanes(S)
    for p in range(L):
        r = min(i + p, i + rows - 1)
        counts = target[r] != ignore_index
        w = class_weight(target, weight, sample_weight, ignore_index, r)
        T[_Y * L + p] = target[r] if counts else -1
        T[_AT_Y * L + p] = S[r, target[r] if counts else 0]
        T[_WEIGHT * L + p] = w
        T[_UPSTREAM * L + p] = w * (scale * _upstream(dloss, r))


@device
def _finish(T, z, loss, i, rows):
    """The losses of these rows, what their exponentials are to be multiplied by, and the entry of the target."""
    compact()
    L = lanes(T)
    y, at_y, w, g = load(T, _Y * L), load(T, _AT_Y * L), load(T, _WEIGHT * L), load(T, _UPSTREAM * L)
    largest, others, zeros = load(T, _LARGEST * L), load(T, _OTHERS * L), splat(T, 0)
    e_y = exp_of_difference(at_y - largest)
    rest = log1p(others + (e_y - 1.0))
    lse = largest + rest
    distance = select(w == 0.0, zeros, largest - at_y)
    value = w * ((distance + rest) + (lse * z) * lse)
    store_masked(loss, i, select(y < 0.0, zeros, value), first(T, rows))
    q = lse * (2 * z)
    slope = g / (others + e_y)
    store(T, _SLOPE * L, slope * (q + 1.0))
    store(T, _ENTRY * L, slope * (q * e_y - others))


@inlined
def _short_exps(data, c):
    """The exponentials of a class into T, those of the targets left out of the sum."""
    T, y, largest, at = data
    e = exp_of_difference(load(T, at + c * lanes(T)) - largest)
    store(T, at + c * lanes(T), e)
    return select(y == c, splat(T, 0), e)


@part(*_WITH_INDICES, 1)
def short_rows(S, given, options, loss, dS, i, rows, T):
    """A vector of rows of few classes: lane l is row i + l."""
    compact()
    k, L = S.shape[1], lanes(S)
    at = _ABOUT * L
    _tell(S, given, options, i, rows, T)
    short.gather(S, i, T, at)
    largest, later = load(T, at), later_row(S, i, L)
    for c in range(1, k):
        fetch(ONE, (S,), later, c * L)
        fetch(ONE, (dS,), later if dS.size else 0, c * L)
        largest = maximum(load(T, at + c * L), largest)
    y = load(T, _Y * L)
    store(T, _LARGEST * L, largest)
    store(T, _OTHERS * L, short.class_total(_short_exps, (T, y, largest, at), k))
    _finish(T, options[2], loss, i, rows)
    if dS.size:
        slope, entry = load(T, _SLOPE * L), load(T, _ENTRY * L)
        for c in range(k):
            value = select(y == c, entry, load(T, at + c * L) * slope)
            store(T, at + c * L, select(y < 0.0, splat(S, 0), value))
        short.scatter(T, at, dS, i)


@inlined
def _add_other_exp_into(total, data, j, inside):
    S, i, y, largest, dS, fetched, later = data
    fetch(fetched, (S, dS), later, j)
    e = row_exp(S, i, j, inside, largest)
    store_masked(dS, (i, j), e, inside)
    return total + kept(omit(e, j, y), inside)


@part(*_WITH_INDICES, 1)
def long_rows(S, given, options, loss, dS, i, rows, T):
    """Up to a vector of rows of many classes, one after the other, with what is one number a row for all at once."""
    compact()
    target, L = given[0], lanes(S)
    _tell(S, given, options, i, rows, T)
    for p in range(rows):
        largest, others = S.dtype.type(0), S.dtype.type(0)
        if T[_Y * L + p] >= 0:
            r, y, largest = i + p, target[i + p], row_max(S, i + p)
            if dS.size:
                others = row_total_fetching(_add_other_exp_into, (S, r, y, splat(S, largest), dS), r, rows)
            else:
                others = row_total_fetching(add_other_exp, (S, r, y, splat(S, largest), (S,)), r, rows)
        T[_LARGEST * L + p], T[_OTHERS * L + p] = largest, others
    for p in range(rows, L):  # the last is repeated
        T[_LARGEST * L + p], T[_OTHERS * L + p] = T[_LARGEST * L + rows - 1], T[_OTHERS * L + rows - 1]
    _finish(T, options[2], loss, i, rows)
    if dS.size:
        for p in range(rows):
            if T[_Y * L + p] < 0:
                dS[i + p] = 0
                continue
            along_row(times, (dS, i + p, splat(S, T[_SLOPE * L + p])), dS, i + p)
            dS[i + p, target[i + p]] = T[_ENTRY * L + p]


INDEX_PARTS = short_rows, long_rows


@inlined
def _are_short(k, like):
    """Up to 127 classes of float32, 63 of float64."""
    return k < 8 * lanes(like)


@device
def first_absent_of_indices(k, like):
    """Which of the INDEX_PARTS, counted from 1, rows of k classes need and is not linked; 0 if none."""
    if _are_short(k, like):
        return 1 if absent(short_rows, like) else 0
    return 2 if absent(long_rows, like) else 0


@device
def span(S, threads):
    """How many rows are a unit of work, so that all threads have as many units."""
    (n, k), L = S.shape, lanes(S)
    step, most = (L, _SHORT_VECTORS * L) if _are_short(k, S) else (1, max(1, min(L, _GROUP // max(k, 1))))
    units = max(1, ceil_div(n, most * threads)) * threads
    return max(1, ceil_div(ceil_div(n, step), units)) * step


@device
def index_rows(S, given, options, loss, dS, start, stop):
    """Rows of class indices, without smoothing."""
    L = lanes(S)
    T = borrowed(S, (_ABOUT + short.MOST) * L)
    if _are_short(S.shape[1], S):
        for i in range(start, stop, L):
            short_rows(S, given, options, loss, dS, i, min(L, stop - i), T)
    else:
        long_rows(S, given, options, loss, dS, start, stop - start, T)
    give_back(T)


# --- rows whose target is spread over the classes --------------------------------------------------------------------


@inlined
def _target(probabilities, y, i, j, inside, like):
    zeros = splat(like, 0)
    if probabilities is None:
        return select(is_element(like, j, y), zeros + 1.0, zeros)
    return load_masked(probabilities, (i, j), inside, zeros)


@inlined
def _share(data, i, j, inside):
    """a_c = weight_c ((1 − smoothing) target_c + smoothing / k), 0 behind the last class"""
    probabilities, y, weight, kept, even = data
    w = load_masked(weight, j, inside, splat(weight, 0))
    return w * (_target(probabilities, y, i, j, inside, w) * kept + even)


@inlined
def _add_other_share(total, data, j, inside):
    _, share, i, m = data
    return total + omit(_share(share, i, j, inside), j, m)


@inlined
def _add_distance(total, data, j, inside):
    """a_c (S_m − S_c): 0 where a_c is, even if S_c is −∞"""
    S, share, i, largest = data
    a = _share(share, i, j, inside)
    return select(a == 0.0, total, fma(a, largest - load_masked(S, (i, j), inside, largest), total))


@inlined
def _add_unsmoothed(total, data, j, inside):
    _, share, i = data
    probabilities, y, weight, _, _ = share
    w = load_masked(weight, j, inside, splat(weight, 0))
    return fma(w, _target(probabilities, y, i, j, inside, w), total)


@inlined
def _spread_gradient(data, j, inside):
    S, share, i, largest, slope, g = data
    e = row_exp(S, i, j, inside, largest)
    return e * slope - _share(share, i, j, inside) * g


@inlined
def spread_row(S, probabilities, y, weight, w, g, smoothing, z, loss, dS, i):
    """One row with shares in many classes; w times its loss, g times its gradient."""
    k = S.shape[1]
    share = probabilities, y, weight, 1 - smoothing, smoothing / k
    m = row_argmax(S, i)
    at_m = S[i, m]
    largest = splat(S, at_m)
    others = row_total(add_other_exp, (S, i, m, largest, (S,), NONE, i), k)
    others += at_m - at_m  # an infinite S_m makes the row NaN
    other_shares = row_total(_add_other_share, (S, share, i, m), k)
    a_m = lane(_share(share, i, m, first(S, 1)), 0)
    shares = other_shares + a_m
    distance = row_total(_add_distance, (S, share, i, largest), k) if w != 0 else S.dtype.type(0)
    rest = scalar(log1p, S, others)
    lse = at_m + rest
    q = z * lse
    if z != 0:
        q = q * row_total(_add_unsmoothed, (S, share, i), k)
    loss[i] = w * ((shares * rest + distance) + q * lse)
    if dS.size:
        largest_entry = g * ((other_shares + 2 * q) - a_m * others) / (1 + others)
        slope, g = splat(S, g * (shares + 2 * q) / (1 + others)), splat(S, g)
        along_row(_spread_gradient, (S, share, i, largest, slope, g), dS, i)
        dS[i, m] = largest_entry


@part(*_WITH_INDICES)
def smoothed_rows(S, given, options, loss, dS, start, stop):
    """Rows with class indices as target, smoothed; the weight of each class is given."""
    compact()
    target, weight, sample_weight, dloss = given
    ignore_index, smoothing, z, scale = options
    for i in range(start, stop):
        if target[i] == ignore_index:
            loss[i] = 0
            if dS.size:
                dS[i] = 0
            continue
        w = np.float64(sample_weight[i]) if sample_weight.size else 1.0
        g = w * (scale * _upstream(dloss, i))
        spread_row(S, None, target[i], weight, w, g, smoothing, z, loss, dS, i)


@part(*_WITH_PROBABILITIES)
def probability_rows(S, given, options, loss, dS, start, stop):
    """Rows with probabilities as target; the weight of each class is given."""
    compact()
    target, weight, sample_weight, dloss = given
    _, smoothing, z, scale = options
    for i in range(start, stop):
        w = np.float64(sample_weight[i]) if sample_weight.size else 1.0
        g = w * (scale * _upstream(dloss, i))
        spread_row(S, target, 0, weight, w, g, smoothing, z, loss, dS, i)


@device
def first_absent_of_smoothed(k, like):
    return 1 if absent(smoothed_rows, like) else 0


@device
def first_absent_of_probabilities(k, like):
    return 1 if absent(probability_rows, like) else 0


# --- what a kernel has to know of each kind of target ----------------------------------------------------------------


@inlined
def _add_element(total, data, j, inside):
    (vector,) = data
    return total + load_masked(vector, j, inside, splat(vector, 0))


@device
def vector_total(vector):
    """Σ_i vector[i]"""
    return np.float64(row_total(_add_element, (vector,), vector.size))


@device
def index_weights(given, ignore_index, loss):
    """Σ of the weights of all rows that count; `loss` is room for them."""
    compact()
    target, weight, sample_weight, _ = given
    if weight.size == 0 and sample_weight.size == 0:
        count = 0
        for i in range(target.size):
            count += target[i] != ignore_index
        return np.float64(count)
    for i in range(target.size):
        loss[i] = class_weight(target, weight, sample_weight, ignore_index, i)
    return vector_total(loss)


@device
def probability_weights(given, ignore_index, loss):
    """Σ of the weights of all rows."""
    compact()
    target, _, sample_weight, _ = given
    return vector_total(sample_weight) if sample_weight.size else np.float64(target.shape[0])


class Targets(NamedTuple):
    """How rows with one kind of target are worked on: the sum of their weights; the rows themselves; what a kernel
    that does it may need, and what it needs first."""

    weights: Callable
    rows: Callable
    parts: tuple
    first_absent: Callable


INDEX_TARGETS = Targets(index_weights, index_rows, INDEX_PARTS, first_absent_of_indices)
SMOOTHED_TARGETS = Targets(index_weights, smoothed_rows, (smoothed_rows,), first_absent_of_smoothed)
PROBABILITY_TARGETS = Targets(probability_weights, probability_rows, (probability_rows,), first_absent_of_probabilities)
