"""Cross-entropy of logits, as a value alone and with its gradient, against class indices or probabilities.

    J_r = −Σ_c t_rc log softmax(S_r)_c        ∂J_r/∂S_ij = δ_ri (softmax(S_r)_j Σ_c t_rc − t_rj)

Autograd systems form the gradient as p − 1 at the target and lose every digit where p is close to 1. Here that entry is
minus the sum of the other probabilities, and the loss is a sum of positive terms with the largest exponential outside a
log1p, so both keep their relative accuracy however sure the model is.
"""

from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from ._arguments import UNUSUAL
from ._losses import call_loss, checked_options, is_number, of_classes, reduced
from .kernels import cross_entropy as kernels

__all__ = ["cross_entropy", "cross_entropy_value_and_grad"]


def cross_entropy(
    S: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
) -> np.ndarray:
    """Cross-entropy of the logits S against a target.

        J = Σ_r s_r w_{y_r} J_r / Σ_r s_r w_{y_r}        J_r = −log softmax(S_r)_{y_r} + z log² Σ_c exp(S_rc)

    with y the target, w the weight of each class, s that of each row and z the `z_loss`. Probabilities t as target give
    `J_r = −Σ_c w_c t_rc log softmax(S_r)_c`, and the mean is over Σ_r s_r.

    Parameters
    ----------
    S : array_like, shape (..., k)
        The logits.
    target : array_like, shape (...)
        Integers: the class of each row. Floats, of the shape of S: the probability of each class.
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
        float32 or float64 as the arguments are (float64 if they differ, or for integer S), float16 for float16.

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
    >>> float(fg.cross_entropy(np.log([[0.25, 0.75], [0.5, 0.5]]), [1, 0], reduction="sum").round(6))
    0.980829
    """
    options = checked_options("cross_entropy", ignore_index, label_smoothing, z_loss, reduction)
    try:
        about = target, options[1], weight, sample_weight
        kernel, classes, weights = of_classes(kernels, S.dtype, S.shape[-1], *about)
        loss, _ = kernel(S, classes, weights, sample_weight, None, None, False, *options[:3], 1.0, options[3])
        return reduced(loss, options[3])
    except UNUSUAL:
        pass
    given = {"target": target, "weight": weight, "sample_weight": sample_weight}
    return call_loss("cross_entropy", kernels, {"S": S}, given, options)


def cross_entropy_value_and_grad(
    S: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: SupportsIndex = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
    dloss: ArrayLike | None = None,
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Cross-entropy of the logits S against a target, and its gradient, in one pass over the logits.

        dS_rj = ∂J/∂S_rj = g_r ((1 + 2 z l_r) p_rj − δ_{j, y_r})        p = softmax(S), l_r = log Σ_c exp(S_rc)

    with g_r the weight of the row in J, times the upstream gradient. At the target it is computed as
    `g_r (2 z l_r p_ry − Σ_{j≠y} p_rj)`: nothing cancels when p_ry is close to 1.

    Parameters
    ----------
    S : array_like, shape (..., k)
        The logits.
    target : array_like, shape (...)
        Integers: the class of each row. Floats, of the shape of S: the probability of each class.
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
    out : ndarray, shape of S, optional
        Takes the gradient; may be S itself.

    Returns
    -------
    loss : scalar, or ndarray of shape (...)
        As from `cross_entropy`.
    dS : ndarray, shape of S

    Raises
    ------
    ValueError
        Shapes do not agree; a class index is out of range; probabilities are negative or do not sum to 1; a weight is
        negative or NaN; `label_smoothing` is not in [0, 1]; `reduction` is none of the three; `out` has another shape,
        is read-only or overlaps an argument without being it.
    TypeError
        An argument does not hold real numbers; `ignore_index` is not an integer; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> loss, dS = fg.cross_entropy_value_and_grad(np.log([[0.25, 0.75], [0.5, 0.5]]), [1, 0])
    >>> dS.round(6)
    array([[ 0.125, -0.125],
           [-0.25 ,  0.25 ]])
    """
    options = checked_options("cross_entropy_value_and_grad", ignore_index, label_smoothing, z_loss, reduction)
    if is_number(dloss):
        try:
            about = target, options[1], weight, sample_weight, () if out is None else (out,)
            kernel, classes, weights = of_classes(kernels, S.dtype, S.shape[-1], *about)
            scale = 1.0 if dloss is None else dloss
            loss, dS = kernel(S, classes, weights, sample_weight, None, None, out, *options[:3], scale, options[3])
            return reduced(loss, options[3]), dS
        except UNUSUAL:
            pass
    given = {"target": target, "weight": weight, "sample_weight": sample_weight}
    name = "cross_entropy_value_and_grad"
    loss, (dS,) = call_loss(name, kernels, {"S": S}, given, options, gradients=True, dloss=dloss, out=out)
    return loss, dS
