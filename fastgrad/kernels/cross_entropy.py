"""The loops of cross-entropy and its gradient, over rows of logits S with class indices or probabilities as targets.

What happens to a row, and why nothing cancels in it, stands in `_loss_rows.py`. Here rows are shared out, and their
losses added: into a mean or a sum in one order that depends on their number alone.
"""

import numpy as np
from numba import prange

from . import _short_rows as short
from ._jit import device, inlined, kernel
from ._loss_rows import ABOUT, GROUP, class_weight, long_rows, probability_row, short_rows, smoothed_row
from ._signature import Signature
from ._simd import compact, empty, lanes, load_masked, select, splat
from ._sums import row_total

CROSS_ENTROPY = Signature("S(...,k) target(...):int weight(k)? sample_weight(...)? -> loss(...)")
CROSS_ENTROPY_VALUE_AND_GRAD = Signature(
    "S(...,k) target(...):int weight(k)? sample_weight(...)? -> loss(...) dS(...,k)", inplace=True
)
# What the kernels take: no dS for the loss alone.
INDICES = Signature(
    "S(...,k) target(...):int weight(k)? sample_weight(...)? dloss(...)? -> loss(...) dS(...,k)?", inplace=True
)
PROBABILITIES = Signature(
    "S(...,k) target(...,k) weight(k)? sample_weight(...)? dloss(...)? -> loss(...) dS(...,k)?", inplace=True
)
LOSSES = Signature("loss(...) ->")
DISTRIBUTIONS = Signature("target(...,k) -> wrong(...)")

NONE, SUM, MEAN = range(3)  # reductions
_OPTIONS = int, float, float, float, int  # ignore_index, smoothing, z_loss, scale, reduction
_COST = 1 / 8  # nanoseconds a byte
_SHORT_VECTORS = 16  # of rows in a unit of work


@inlined
def _add_element(total, data, j, inside):
    (vector,) = data
    return total + load_masked(vector, j, inside, splat(vector, 0))


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
    return np.float64(row_total(_add_element, (loss,), loss.size))


@device
def probability_weights(given):
    """Σ of the weights of all rows."""
    compact()
    target, _, sample_weight, _ = given
    if sample_weight.size == 0:
        return np.float64(target.shape[0])
    return np.float64(row_total(_add_element, (sample_weight,), sample_weight.size))


@inlined
def reduced(scale, weights, reduction):
    """What each row's gradient is multiplied by; a mean over nothing is 0."""
    if reduction != MEAN:
        return scale
    return scale / weights if weights > 0 else 0.0


@device
def reduce(loss, weights, reduction):
    """loss[0] = Σ_i loss[i], or their mean"""
    compact()
    if reduction != NONE and loss.size:
        total = np.float64(row_total(_add_element, (loss,), loss.size))
        if reduction == MEAN:
            total = total / weights if weights > 0 else 0.0
        loss[0] = total


@device
def in_range(target, classes, ignore_index):
    """Whether every class index is one, or is to be ignored."""
    compact()
    wrong = 0
    for i in range(target.size):
        wrong |= (target[i] != ignore_index) & ((target[i] < 0) | (target[i] >= classes))
    return wrong == 0


@device
def _accepts(args):
    return in_range(args[1], args[0].shape[1], args[7])


@kernel(INDICES, cost=_COST, accepts=_accepts, options=_OPTIONS)
def of_indices(
    S, target, weight, sample_weight, dloss, loss, dS, ignore_index, smoothing, z_loss, scale, reduction, threads
):
    """loss[i] and dS[i] for class indices, without smoothing; reduced, the loss is loss[0]"""
    (n, k), L = S.shape, lanes(S)
    given = target, weight, sample_weight, dloss
    weights = index_weights(given, ignore_index, loss) if reduction == MEAN else 1.0
    options = ignore_index, z_loss, reduced(scale, weights, reduction)
    few = k <= short.MOST
    rows = L if few else max(1, min(L, GROUP // k))
    span = _SHORT_VECTORS * L if few else rows
    units = (n + span - 1) // span if k else 0
    for unit in prange(units):
        T = empty(S, (ABOUT + short.MOST) * L)
        start = np.intp(unit) * span
        for i in range(start, min(n, start + span), rows):
            if few:
                short_rows(S, given, options, loss, dS, i, min(rows, n - i), T)
            else:
                long_rows(S, given, options, loss, dS, i, min(rows, n - i), T)
    if k == 0:
        loss[:] = 0
    reduce(loss, weights, reduction)


@kernel(INDICES, cost=2 * _COST, accepts=_accepts, options=_OPTIONS)
def of_smoothed_indices(
    S, target, weight, sample_weight, dloss, loss, dS, ignore_index, smoothing, z_loss, scale, reduction, threads
):
    """loss[i] and dS[i] for class indices, smoothed, with the weight of each class; reduced, the loss is loss[0]"""
    given = target, weight, sample_weight, dloss
    weights = index_weights(given, ignore_index, loss) if reduction == MEAN else 1.0
    options = ignore_index, smoothing, z_loss, reduced(scale, weights, reduction)
    rows = S.shape[0] if S.shape[1] else 0
    for i in prange(rows):
        smoothed_row(S, given, options, loss, dS, np.intp(i))
    if not rows:
        loss[:] = 0
    reduce(loss, weights, reduction)


@kernel(PROBABILITIES, cost=2 * _COST, options=_OPTIONS)
def of_probabilities(
    S, target, weight, sample_weight, dloss, loss, dS, ignore_index, smoothing, z_loss, scale, reduction, threads
):
    """loss[i] and dS[i] for probabilities, with the weight of each class; reduced, the loss is loss[0]"""
    given = target, weight, sample_weight, dloss
    weights = probability_weights(given)
    options = smoothing, z_loss, reduced(scale, weights, reduction)
    rows = S.shape[0] if S.shape[1] else 0
    for i in prange(rows):
        probability_row(S, given, options, loss, dS, np.intp(i))
    reduce(loss, weights, reduction)


@kernel(LOSSES, cost=0, options=(np.ndarray, int))
def reduce_rows(loss, weights, reduction, threads):
    """loss[0] = Σ_i loss[i], or divided by weights[0]"""
    reduce(loss, weights[0], reduction)


@inlined
def _add_not_negative(total, data, j, inside):
    """The elements, NaN for negative ones."""
    A, i = data
    zeros = splat(A, 0)
    x = load_masked(A, (i, j), inside, zeros)
    return total + select(x >= 0.0, x, zeros / zeros)


@device
def distribution_row(target, i, tolerance):
    compact()
    total = row_total(_add_not_negative, (target, i), target.shape[1])
    return not abs(total - 1) <= tolerance


@kernel(DISTRIBUTIONS, cost=_COST / 4, options=(float,))
def distributions(target, wrong, tolerance, threads):
    """wrong[i] = 1 where target[i] is no distribution: negative, or with a sum further from 1 than the tolerance"""
    for i in prange(target.shape[0]):
        wrong[i] = distribution_row(target, np.intp(i), tolerance)
