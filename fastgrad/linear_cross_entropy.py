"""Cross-entropy of an affine layer's logits, without the logits: the loss of a classifier's or language model's head.

    J_r = −Σ_c t_rc log softmax(S_r)_c        S_rs = Σ_k X_rk W_sk + b_s

The logits of all rows are the largest array of such a model; here only those of a block of rows exist at a time, and
become their gradient, and their part of dX, dW and db, before the next.
"""

from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from ._arguments import UNUSUAL
from ._losses import call_loss, checked_options, is_number, of_classes, reduced
from .kernels import linear_cross_entropy as kernels

__all__ = ["linear_cross_entropy", "linear_cross_entropy_value_and_grad"]


def linear_cross_entropy(
    X: ArrayLike,
    W: ArrayLike,
    b: ArrayLike | None,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
) -> np.ndarray:
    """Cross-entropy of the logits X Wᵀ + b against a target, without holding the logits.

        J = cross_entropy(S, target)        S_rs = Σ_k X_rk W_sk + b_s

    Parameters
    ----------
    X : array_like, shape (..., d)
    W : array_like, shape (k, d)
    b : array_like, shape (k,), or None
    target : array_like, shape (...)
        Integers: the class of each row. Floats, of shape (..., k): the probability of each class.
    weight : array_like, shape (k,), optional
        Weight of each class.
    sample_weight : array_like, shape (...), optional
        Weight of each row.
    ignore_index : int
        A row of this class has loss 0, whatever its logits are, and does not count in the mean.
    label_smoothing : float
        Moves this share of each target from its class to all classes in equal parts.
    z_loss : float
        Adds `z_loss · logsumexp(S_r)²` to the loss of a row, before its weights.
    reduction : {"mean", "sum", "none"}
        The mean over the weights of the rows that count (0 where there are none), the sum, or the loss of each row.

    Returns
    -------
    loss : scalar, or ndarray of shape (...)
        float32 or float64 as the arguments are (float64 if they differ, or for integers), float16 for float16.

    Raises
    ------
    ValueError
        Shapes do not agree; a class index is out of range; probabilities are negative or do not sum to 1; a weight is
        negative or NaN; `label_smoothing` is not in [0, 1]; `reduction` is none of the three.
    TypeError
        An argument does not hold real numbers; `ignore_index` is not an integer.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> X, W = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> float(fg.linear_cross_entropy(X, W, None, [2, 0]).round(6))
    1.810309
    """
    options = checked_options("linear_cross_entropy", ignore_index, label_smoothing, z_loss, reduction)
    try:
        about = target, options[1], weight, sample_weight
        kernel, classes, weights = of_classes(kernels, X.dtype, len(W), *about)
        rest = False, False, False, *options[:3], 1.0, options[3], *kernels.SETTINGS
        loss, *_ = kernel(X, W, b, classes, weights, sample_weight, None, None, *rest)
        return reduced(loss, options[3])
    except UNUSUAL:
        pass
    inputs = {"X": X, "W": W, "b": b}
    given = {"target": target, "weight": weight, "sample_weight": sample_weight}
    return call_loss("linear_cross_entropy", kernels, inputs, given, options)


def linear_cross_entropy_value_and_grad(
    X: ArrayLike,
    W: ArrayLike,
    b: ArrayLike | None,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
    dloss: ArrayLike | None = None,
    out: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Cross-entropy of the logits X Wᵀ + b against a target, and all its gradients, without holding the logits.

        dS_rj = ∂J/∂S_rj = g_r (softmax(S_r)_j − δ_{j, y_r})
        dX_ij = Σ_s dS_is W_sj        dW_ij = Σ_r dS_ri X_rj        db_i = Σ_r dS_ri

    with g_r the weight of the row in J, times the upstream gradient: it is folded in before any sum over rows.

    Parameters
    ----------
    X : array_like, shape (..., d)
    W : array_like, shape (k, d)
    b : array_like, shape (k,), or None
    target : array_like, shape (...)
        Integers: the class of each row. Floats, of shape (..., k): the probability of each class.
    weight : array_like, shape (k,), optional
        Weight of each class.
    sample_weight : array_like, shape (...), optional
        Weight of each row.
    ignore_index : int
        A row of this class has loss and gradient 0, whatever its logits are, and does not count in the mean.
    label_smoothing : float
        Moves this share of each target from its class to all classes in equal parts.
    z_loss : float
        Adds `z_loss · logsumexp(S_r)²` to the loss of a row, before its weights.
    reduction : {"mean", "sum", "none"}
        The mean over the weights of the rows that count (0 where there are none), the sum, or the loss of each row.
    dloss : array_like, scalar, or of the shape (...) of the loss for reduction "none", optional
        The upstream gradient ∂/∂loss, which multiplies the gradient and not the loss.
    out : tuple of ndarrays, optional
        Take dX, dW and db.

    Returns
    -------
    loss : scalar, or ndarray of shape (...)
        As from `linear_cross_entropy`.
    gradients : tuple of ndarrays
        dX, shape (..., d), dW, shape (k, d), and db, shape (k,).

    Raises
    ------
    ValueError
        Shapes do not agree; a class index is out of range; probabilities are negative or do not sum to 1; a weight is
        negative or NaN; `label_smoothing` is not in [0, 1]; `reduction` is none of the three; an array of `out` has
        another shape, is read-only or overlaps another array.
    TypeError
        An argument does not hold real numbers; `ignore_index` is not an integer; an array of `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> X, W = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> loss, (dX, dW, db) = fg.linear_cross_entropy_value_and_grad(X, W, np.zeros(3), [2, 0])
    >>> db.round(6)
    array([-0.257151,  0.311836, -0.054685])
    """
    options = checked_options("linear_cross_entropy_value_and_grad", ignore_index, label_smoothing, z_loss, reduction)
    if is_number(dloss):
        try:
            dX, dW, db = (None, None, None) if out is None else out
            about = target, options[1], weight, sample_weight, () if out is None else out
            kernel, classes, weights = of_classes(kernels, X.dtype, len(W), *about)
            scale = 1.0 if dloss is None else dloss
            rest = dX, dW, db, *options[:3], scale, options[3], *kernels.SETTINGS
            loss, *gradients = kernel(X, W, b, classes, weights, sample_weight, None, None, *rest)
            return reduced(loss, options[3]), tuple(gradients)
        except UNUSUAL:
            pass
    inputs = {"X": X, "W": W, "b": b}
    given = {"target": target, "weight": weight, "sample_weight": sample_weight}
    name = "linear_cross_entropy_value_and_grad"
    loss, (dX, dW, db) = call_loss(name, kernels, inputs, given, options, gradients=True, dloss=dloss, out=out)
    return loss, (dX, dW, db)
