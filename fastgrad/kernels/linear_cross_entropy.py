"""Cross-entropy of affine logits S = X Wᵀ + b with its gradients, a block of rows of S at a time: S is never whole.

For each block: its logits, their gradient dS over them, dX = dS W, and dW += dSᵀ X, db += Σ_r dS_r. Each of these is a
loop nest of its own, so the blocks stand in Python. A block has as many rows as the memory allows; this depends on the
shapes alone, and so does the order of the sums over rows.
"""

import numpy as np

from . import affine
from . import cross_entropy as rows
from ._jit import device, kernel
from ._signature import Signature

LINEAR_CROSS_ENTROPY = Signature("X(...,d) W(k,d) b(k)? target(...):int weight(k)? sample_weight(...)? -> loss(...)")
LINEAR_CROSS_ENTROPY_VALUE_AND_GRAD = Signature(
    "X(...,d) W(k,d) b(k)? target(...):int weight(k)? sample_weight(...)? -> loss(...) dX(...,d) dW(k,d) db(k)"
)
# What the kernels take: no gradients for the loss alone.
INDICES = Signature(
    "X(...,d) W(k,d) b(k)? target(...):int weight(k)? sample_weight(...)? dloss(...)? "
    "-> loss(...) dX(...,d)? dW(k,d)? db(k)?"
)
PROBABILITIES = Signature(
    "X(...,d) W(k,d) b(k)? target(...,k) weight(k)? sample_weight(...)? dloss(...)? "
    "-> loss(...) dX(...,d)? dW(k,d)? db(k)?"
)

_BLOCK = 11 * 2**20  # bytes of a block of logits; the products need about 4 MiB beside it
_SHARE = 0.03  # of all logits, where that is more

_OPTIONS = int, np.ndarray  # ignore_index, total


@device
def _accepts(args):
    return rows.in_range(args[3], args[1].shape[0], args[11])


@kernel(INDICES, cost=0, accepts=_accepts, options=_OPTIONS)
def weigh_indices(X, W, b, target, weight, sample_weight, dloss, loss, dX, dW, db, ignore_index, total, threads):
    """total[0] = Σ of the weights of all rows that count; and a look at all arguments before anything is written"""
    total[0] = rows.index_weights((target, weight, sample_weight, dloss), ignore_index, loss)


@kernel(PROBABILITIES, cost=0, options=_OPTIONS)
def weigh_probabilities(X, W, b, target, weight, sample_weight, dloss, loss, dX, dW, db, ignore_index, total, threads):
    """total[0] = Σ of the weights of all rows"""
    total[0] = rows.probability_weights((target, weight, sample_weight, dloss))


def of_indices(*args):
    """Class indices, without smoothing."""
    return _in_blocks(weigh_indices, rows.of_indices, *args)


def of_smoothed_indices(*args):
    """Class indices, smoothed, with the weight of each class."""
    return _in_blocks(weigh_indices, rows.of_smoothed_indices, *args)


def of_probabilities(*args):
    """Probabilities, with the weight of each class."""
    return _in_blocks(weigh_probabilities, rows.of_probabilities, *args)


of_indices.signature = of_smoothed_indices.signature = INDICES  # type: ignore[attr-defined]
of_probabilities.signature = PROBABILITIES  # type: ignore[attr-defined]


def _in_blocks(
    weigh,
    rows_of,
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
):
    """The losses and, where dW is not of size 0, all gradients; whether the arguments fit together, as a kernel."""
    total = np.empty(1)
    if not weigh(X, W, b, target, weight, sample_weight, dloss, loss, dX, dW, db, ignore_index, total):
        return False
    (n, _), k = X.shape, W.shape[0]
    gradients = dX.shape == X.shape and dW.shape == W.shape
    size = block_rows(n, k, X.itemsize)
    S = np.empty((size, k), X.dtype)
    if size == n:
        affine.affine(X, W, b, S, False)
        given = target, weight, sample_weight, dloss
        rows_of(S, *given, loss, S if gradients else S[:0], ignore_index, smoothing, z_loss, scale, reduction)
        if gradients:
            affine.affine_vjp(S, X, W, dX, dW, db, False)
        return True
    if reduction == rows.MEAN:
        scale = scale / total[0] if total[0] > 0 else 0.0
    for start in range(0, max(n, 1), size):  # once for an empty batch, whose dW and db are zeros
        block = slice(start, start + size)
        of_rows = [a[block] if len(a) else a for a in (sample_weight, dloss)]
        X_block, S_block = X[block], S[: min(size, n - start)]
        dS = S_block if gradients else S[:0]
        affine.affine(X_block, W, b, S_block, False)
        rows_of(
            S_block, target[block], weight, *of_rows, loss[block], dS, ignore_index, smoothing, z_loss, scale, rows.NONE
        )
        if gradients:
            affine.affine_dx(dS, W, dX[block], False)
            affine.affine_dw(dS, X_block, dW, start > 0)
            affine.affine_db(dS, db, start > 0)
    if reduction != rows.NONE:
        rows.reduce_rows(loss, total, reduction)
    return True


def block_rows(n, k, itemsize):
    """How many rows of n logits of k classes a block has: nearly equal blocks, as large as the memory allows."""
    most = max(_BLOCK, int(_SHARE * n * k * itemsize)) // max(k * itemsize, 1)
    blocks = -(-n // max(most, 1))
    return max(-(-n // max(blocks, 1)), 1)
