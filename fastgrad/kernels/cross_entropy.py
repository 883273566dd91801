"""The loops of cross-entropy and its gradient, over rows of logits S with class indices or probabilities as targets.

What happens to a row, and why nothing cancels in it, stands in `_loss_rows.py`. Here rows are shared out, and their
losses added: into a mean or a sum in one order that depends on their number alone.
"""

from numba import prange

from ._arrays import compact
from ._jit import ARITHMETIC, anything, device, inlined, kernel, several_rows
from ._loads import load_masked
from ._loss_rows import INDEX_TARGETS, PROBABILITY_TARGETS, SMOOTHED_TARGETS, span, vector_total
from ._region import settled
from ._signature import Signature
from ._simd import select, splat
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
DISTRIBUTIONS = Signature("target(...,k) -> wrong(...)")

NONE, SUM, MEAN = range(3)  # reductions
_OPTIONS = int, float, float, float, int  # ignore_index, smoothing, z_loss, scale, reduction
_COST = ARITHMETIC / 8  # nanoseconds a byte


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
        total = vector_total(loss)
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


def _accepts(args):
    return in_range(args[1], args[0].shape[1], args[7])


def _of_rows(name, signature, cost, accepts, targets):
    """The kernel for rows of logits with one kind of target."""
    weights_of, rows_of, first_absent_of = targets.weights, targets.rows, targets.first_absent

    def loops(
        S, target, weight, sample_weight, dloss, loss, dS, ignore_index, smoothing, z_loss, scale, reduction, threads
    ):
        """loss[i] and dS[i]; reduced, the loss is loss[0]"""
        compact()
        absent = first_absent_of(S.shape[1], S)
        if absent:
            return absent
        given = target, weight, sample_weight, dloss
        weights = weights_of(given, ignore_index, loss) if reduction == MEAN else 1.0
        options = ignore_index, smoothing, z_loss, reduced(scale, weights, reduction)
        (n, k), rows = S.shape, span(S, threads)
        units = (n + rows - 1) // rows if k else 0
        for unit in prange(units):
            start = settled(unit) * rows
            rows_of(S, given, options, loss, dS, start, min(n, start + rows))
        if k == 0:
            for i in range(n):
                loss[i] = 0
        reduce(loss, weights, reduction)
        return 0

    loops.__name__ = loops.__qualname__ = name
    parts = targets.parts
    return kernel(signature, cost=cost, accepts=accepts, divides=several_rows, options=_OPTIONS, parts=parts)(loops)


of_indices = _of_rows("of_indices", INDICES, _COST, _accepts, INDEX_TARGETS)
of_smoothed_indices = _of_rows("of_smoothed_indices", INDICES, 2 * _COST, _accepts, SMOOTHED_TARGETS)
of_probabilities = _of_rows("of_probabilities", PROBABILITIES, 2 * _COST, anything, PROBABILITY_TARGETS)
SETTINGS = ()  # what they take after the options


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


@kernel(DISTRIBUTIONS, cost=_COST / 4, divides=several_rows, options=(float,))
def distributions(target, wrong, tolerance, threads):
    """wrong[i] = 1 where target[i] is no distribution: negative, or with a sum further from 1 than the tolerance"""
    for i in prange(target.shape[0]):
        wrong[i] = distribution_row(target, settled(i), tolerance)
