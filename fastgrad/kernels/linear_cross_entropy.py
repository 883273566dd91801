"""Cross-entropy of affine logits S = X Wᵀ + b with its gradients, a block of rows of S at a time: S is never whole.

For each block: its logits, their gradient dS over them, dX = dS W, and dW += dSᵀ X, db += Σ_r dS_r. A block has as many
rows as the memory allows; this depends on the shapes alone, and so does the order of the sums over rows.
"""

import numpy as np
from numba import prange

from ._arrays import as_rows, borrowed, by_columns, compact, flag, flat, give_back, some_rows
from ._jit import ARITHMETIC, anything, device, kernel
from ._loss_rows import INDEX_TARGETS, PROBABILITY_TARGETS, SMOOTHED_TARGETS, span
from ._pack import ceil_div
from ._product import PRODUCT_PARTS, absent_of_product
from ._region import settled
from ._signature import Signature
from ._task import Plan, count_anew, larger, rooms, workspaces
from .affine import absent_of_vjp, affine_tasks, plan_of_dW, plan_of_dX, plan_of_Y, strip_count, vjp_tasks
from .cross_entropy import MEAN, in_range, reduce, reduced

LINEAR_CROSS_ENTROPY = Signature("X(...,d) W(k,d) b(k)? target(...):int weight(k)? sample_weight(...)? -> loss(...)")
LINEAR_CROSS_ENTROPY_VALUE_AND_GRAD = Signature(
    "X(...,d) W(k,d) b(k)? target(...):int weight(k)? sample_weight(...)? -> loss(...) dX(...,d) dW(k,d) db(k)"
)
# What the kernels take: no gradients for the loss alone.
INDICES = Signature(
    "X(...,d) W(k,d) b(k)? target(...):int weight(k)? sample_weight(...)? dloss(...)? "
    "-> loss(...) dX(...,d)? dW(k,d)? db(k)?",
    by_columns="W",
)
PROBABILITIES = Signature(
    "X(...,d) W(k,d) b(k)? target(...,k) weight(k)? sample_weight(...)? dloss(...)? "
    "-> loss(...) dX(...,d)? dW(k,d)? db(k)?",
    by_columns="W",
)

_ROOM, _WORKSPACE = 11 * 2**20, 5 * 2**20  # bytes of a block of logits, and of what the products need beside it
_SHARE = 0.03  # of all logits, where that is more
SETTINGS = (_ROOM,)  # what the kernels take after the options

_OPTIONS = int, float, float, float, int, int  # ignore_index, smoothing, z_loss, scale, reduction, room
_MULTIPLY_ADD = ARITHMETIC / 250  # nanoseconds a byte


@device
def block_rows(n, k, itemsize, room):
    """How many rows of n logits of k classes a block has: nearly equal blocks, as large as the memory allows."""
    most = max(max(room, np.intp(_SHARE * n * k * itemsize)) // max(k * itemsize, 1), 1)
    blocks = ceil_div(n, most)
    return max(ceil_div(n, max(blocks, 1)), 1)


@device
def cuts_of_block(S, d, W_by_columns, dX, dW, threads):
    """The plans of the products of a block: its logits, dX and dW."""
    (rows, k), no = S.shape, flag(False)
    cuts = plan_of_Y(S, d, no, W_by_columns, threads, _WORKSPACE)
    cuts_dX = plan_of_dX(dX, k, no, W_by_columns, threads, _WORKSPACE)
    cuts_dW = plan_of_dW(dW, rows, no, no, threads, _WORKSPACE)
    return cuts, cuts_dX, cuts_dW


@device
def absent_of_block(X, W, dX, dW, gradients, first, size, threads):
    """Which of the PRODUCT_PARTS, counted from 1, a block of rows needs and is not linked; 0 if none."""
    stop, k, no, W_by_columns = min(X.shape[0], first + size), W.shape[0], flag(False), by_columns(W)
    S, dX = as_rows(flat(X), stop - first, k), some_rows(dX, first, stop)  # of which the shapes count
    cuts, cuts_dX, cuts_dW = cuts_of_block(S, X.shape[1], W_by_columns, dX, dW, threads)
    absent = absent_of_product(no, W_by_columns, S, cuts)
    return absent_of_vjp(no, W_by_columns, dX, dW, cuts_dX, cuts_dW) if gradients and not absent else absent


def _accepts(args):
    return in_range(args[3], args[1].shape[0], args[11])


def _in_blocks(name, signature, accepts, targets):
    """The kernel for one kind of target."""
    weights_of, rows_of, first_absent_of = targets.weights, targets.rows, targets.first_absent
    of_products = len(PRODUCT_PARTS)

    @device
    def absent_of_blocks(X, W, dX, dW, gradients, size, threads):
        """Which part, counted from 1, is needed and not linked; 0 if none."""
        last = max(X.shape[0] - 1, 0) // size * size
        absent = absent_of_block(X, W, dX, dW, gradients, 0, size, threads)
        if last > 0 and not absent:  # the last may be smaller
            absent = absent_of_block(X, W, dX, dW, gradients, last, size, threads)
        if not absent:
            absent = first_absent_of(W.shape[0], X)
            absent = of_products + absent if absent else 0
        return absent

    def loops(
        X,
        W,
        b,
        target,
        weight,
        sample_weight,
        dloss,
        loss,
        dX,
        dW,
        db,
        ignore_index,
        smoothing,
        z_loss,
        scale,
        reduction,
        room,
        threads,
    ):
        """The losses and, where dX, dW and db have their shapes, all gradients"""
        compact()
        (n, d), k = X.shape, W.shape[0]
        gradients = dX.shape == X.shape and dW.shape == W.shape
        size = block_rows(n, k, X.itemsize, room)
        absent = absent_of_blocks(X, W, dX, dW, gradients, size, threads)
        if absent:
            return absent
        given = target, weight, sample_weight, dloss
        weights = weights_of(given, ignore_index, loss) if reduction == MEAN else 1.0
        options = ignore_index, smoothing, z_loss, reduced(scale, weights, reduction)
        memory = borrowed(X, min(n, size) * k)
        for first in range(0, max(n, 1), size):  # once for an empty batch, whose dW and db are zeros
            stop = min(n, first + size)
            X_block, dX_block = some_rows(X, first, stop), some_rows(dX, first, stop)
            loss_block = some_rows(loss, first, stop)
            of_rows = some_rows(sample_weight, first, stop), some_rows(dloss, first, stop)
            of_block = some_rows(target, first, stop), weight, *of_rows
            S = as_rows(memory, stop - first, k)
            dS = S if gradients else some_rows(S, 0, 0)
            of_S, of_dX, of_dW = cuts_of_block(S, d, by_columns(W), dX_block, dW, threads)
            cuts, cuts_dX, cuts_dW = Plan(*of_S), Plan(*of_dX), Plan(*of_dW)  # as for affine products
            tasks = cuts_dX.tasks + cuts_dW.tasks + strip_count(db) if gradients else 0
            workers = min(threads, max(cuts.tasks, tasks))
            sizes = larger(rooms(cuts), larger(rooms(cuts_dX), rooms(cuts_dW)))
            room_of_tasks, start, apart = workspaces(sizes, workers, X)
            work = borrowed(X, room_of_tasks)
            count_anew(work)
            for worker in prange(workers):
                own = start + settled(worker) * apart
                affine_tasks(X_block, W, b, S, flag(False), cuts, work, own)
            rows = span(S, threads)
            units = ceil_div(stop - first, rows) if k else 0
            for unit in prange(units):
                i = settled(unit) * rows
                rows_of(S, of_block, options, loss_block, dS, i, min(stop - first, i + rows))
            if tasks:
                count_anew(work)
                for worker in prange(workers):
                    own = start + settled(worker) * apart
                    vjp_tasks(dS, X_block, W, dX_block, dW, db, flag(False), first > 0, cuts_dX, cuts_dW, work, own)
            give_back(work)
        give_back(memory)
        if k == 0:
            for i in range(n):
                loss[i] = 0
        reduce(loss, weights, reduction)
        return 0

    loops.__name__ = loops.__qualname__ = name
    parts = PRODUCT_PARTS + targets.parts
    return kernel(signature, cost=_MULTIPLY_ADD, accepts=accepts, options=_OPTIONS, parts=parts)(loops)


of_indices = _in_blocks("of_indices", INDICES, _accepts, INDEX_TARGETS)
of_smoothed_indices = _in_blocks("of_smoothed_indices", INDICES, _accepts, SMOOTHED_TARGETS)
of_probabilities = _in_blocks("of_probabilities", PROBABILITIES, anything, PROBABILITY_TARGETS)
