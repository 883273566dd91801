"""Softmax and log-softmax, their gradients and directional derivatives, and log Σ exp.

Where a softmax saturates, the usual formulas subtract numbers that agree in all their digits. Here nothing cancels: the
gradients are shifted by the entry of the largest class m, which adds nothing to the exact result because each row of
the Jacobian sums to zero, and log-sums keep their largest term outside a log1p. An error of a gradient is a few eps of
the size that its problem's condition dictates, `Y_i Σ_j Y_j |dY_i − dY_j|`.

For a minibatch the derivation runs as for one row: with Y_rc = softmax(S_r)_c the Jacobian is
∂Y_rc/∂S_ij = δ_ri Y_rc (δ_cj − Y_rj), since a row depends on its own logits alone, and contracting it with dY leaves

    dS_ij = Σ_r Σ_c dY_rc δ_ri Y_rc (δ_cj − Y_rj) = Y_ij (dY_ij − Σ_c dY_ic Y_ic)

A logit of −inf has probability 0 and gradient 0; a row that is all −inf, or has +inf or NaN, is NaN, and no other row.
"""

from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from ._arguments import LAST, UNUSUAL, call, is_second, missing_out
from .kernels import softmax as kernels

__all__ = [
    "log_softmax",
    "log_softmax_jvp",
    "log_softmax_vjp",
    "logsumexp",
    "softmax",
    "softmax_jacobian",
    "softmax_jvp",
    "softmax_vjp",
]


def softmax(S: ArrayLike, axis: SupportsIndex = -1, *, out: np.ndarray | None = None) -> np.ndarray:
    """Softmax of the logits S along one axis.

        Y_i = exp(S_i) / Σ_c exp(S_c) = exp(S_i − S_m) / Σ_c exp(S_c − S_m)        m the largest class

    Parameters
    ----------
    S : array_like, shape (..., k)
    axis : int
        The axis of the classes.
    out : ndarray, shape of S, optional
        Takes the result; may be S itself.

    Returns
    -------
    Y : ndarray, shape of S
        float32 or float64 as S is (float64 for integers), float16 for float16. Each entry is within 4 eps, beside
        the rounding of S_i − S_m.

    Raises
    ------
    ValueError
        `axis` is out of bounds; `out` has another shape, is read-only or overlaps an argument without being it.
    TypeError
        An argument does not hold real numbers; `axis` is not an integer; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.softmax(np.log([[1.0, 2.0, 5.0]])).round(3)
    array([[0.125, 0.25 , 0.625]])
    """
    if axis is LAST or is_second(axis, S):
        try:
            return kernels.softmax[S.dtype](S, out, 1)
        except UNUSUAL:
            pass
    return call("softmax", kernels.softmax, kernels.SOFTMAX, {"S": S}, out=out, axis=axis)


def softmax_vjp(
    dY: ArrayLike, Y: ArrayLike, axis: SupportsIndex = -1, *, out: np.ndarray | None = None, accumulate: bool = False
) -> np.ndarray:
    """The gradient of J with respect to the logits S, through Y = softmax(S), from the cotangent dY = ∂J/∂Y.

        dS_j = Σ_i dY_i Y_i (δ_ij − Y_j) = Y_j (dY_j − Σ_r dY_r Y_r)

    It is computed as `Y_j (h_j − Σ_r Y_r h_r)` with `h = dY − dY_m` and m the largest class, or one as large but for
    its last nine bits: the same number, since Σ_r Y_r = 1, but nothing cancels when Y_m is close to 1, and a constant
    added to dY changes nothing. Where Y_m is ⅛ or less, Σ_r Y_r dY_r takes the place of dY_m, which may be far from all
    others. In rows of more than 224 classes of float32 or 112 of float64, the mean of the first few entries does
    wherever `|Σ_r Y_r h_r| ≤ ¾ Σ_r Y_r |h_r|`, and loses no more.

    Parameters
    ----------
    dY : array_like, shape (..., k)
    Y : array_like, shape (..., k)
        The output of `softmax`.
    axis : int
        The axis of the classes.
    out : ndarray, shape of Y, optional
        Takes the result; may be dY or Y itself.
    accumulate : bool
        Add to `out` instead of overwriting it.

    Returns
    -------
    dS : ndarray, shape of Y

    Raises
    ------
    ValueError
        Shapes differ; `axis` is out of bounds; `out` has another shape, is read-only or overlaps an argument without
        being it; `accumulate` without `out`.
    TypeError
        An argument does not hold real numbers; `axis` is not an integer; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.softmax_vjp(np.array([1.0, 0.0, 0.0]), np.array([0.5, 0.25, 0.25]))
    array([ 0.25 , -0.125, -0.125])
    """
    if accumulate and out is None:
        raise missing_out("softmax_vjp")
    if axis is LAST or is_second(axis, Y):
        try:
            return kernels.softmax_product[Y.dtype](dY, Y, out, accumulate, 1)
        except UNUSUAL:
            pass
    inputs = {"dY": dY, "Y": Y}
    return call(
        "softmax_vjp", kernels.softmax_product, kernels.SOFTMAX_VJP, inputs, out=out, accumulate=accumulate, axis=axis
    )


def softmax_jvp(dS: ArrayLike, Y: ArrayLike, axis: SupportsIndex = -1, *, out: np.ndarray | None = None) -> np.ndarray:
    """The directional derivative of Y = softmax(S) along the tangent dS.

        dY_i = Σ_j Y_i (δ_ij − Y_j) dS_j = Y_i (dS_i − Σ_j Y_j dS_j)

    The Jacobian is symmetric, so this is `softmax_vjp` with a tangent in place of the cotangent.

    Parameters
    ----------
    dS : array_like, shape (..., k)
    Y : array_like, shape (..., k)
        The output of `softmax`.
    axis : int
        The axis of the classes.
    out : ndarray, shape of Y, optional
        Takes the result; may be dS or Y itself.

    Returns
    -------
    dY : ndarray, shape of Y

    Raises
    ------
    ValueError
        Shapes differ; `axis` is out of bounds; `out` has another shape, is read-only or overlaps an argument without
        being it.
    TypeError
        An argument does not hold real numbers; `axis` is not an integer; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.softmax_jvp(np.array([1.0, 1.0, 2.0]), np.array([0.5, 0.25, 0.25]))
    array([-0.125 , -0.0625,  0.1875])
    """
    if axis is LAST or is_second(axis, Y):
        try:
            return kernels.softmax_product[Y.dtype](dS, Y, out, False, 1)
        except UNUSUAL:
            pass
    inputs = {"dS": dS, "Y": Y}
    return call("softmax_jvp", kernels.softmax_product, kernels.SOFTMAX_JVP, inputs, False, out=out, axis=axis)


def softmax_jacobian(Y: ArrayLike) -> np.ndarray:
    """The Jacobian of Y = softmax(S) with respect to S, along the last axis, written out.

        J_ij = ∂Y_i/∂S_j = Y_i (δ_ij − Y_j)

    For the largest class, 1 − Y_m is formed as the sum of the other probabilities.

    Parameters
    ----------
    Y : array_like, shape (..., k)
        The output of `softmax`.

    Returns
    -------
    J : ndarray, shape (..., k, k)

    Raises
    ------
    ValueError
        Y has no axis.
    TypeError
        Y does not hold real numbers.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.softmax_jacobian(np.array([0.75, 0.25]))
    array([[ 0.1875, -0.1875],
           [-0.1875,  0.1875]])
    """
    try:
        return kernels.softmax_jacobian[Y.dtype](Y, None)
    except UNUSUAL:
        pass
    return call("softmax_jacobian", kernels.softmax_jacobian, kernels.SOFTMAX_JACOBIAN, {"Y": Y})


def log_softmax(S: ArrayLike, axis: SupportsIndex = -1, *, out: np.ndarray | None = None) -> np.ndarray:
    """The logarithm of the softmax of S along one axis.

        L_i = S_i − log Σ_c exp(S_c) = (S_i − S_m) − log1p(Σ_{c≠m} exp(S_c − S_m))        m the largest class

    Parameters
    ----------
    S : array_like, shape (..., k)
    axis : int
        The axis of the classes.
    out : ndarray, shape of S, optional
        Takes the result; may be S itself.

    Returns
    -------
    L : ndarray, shape of S
        Each entry is within 4 eps, beside the rounding of S_i − S_m.

    Raises
    ------
    ValueError
        `axis` is out of bounds; `out` has another shape, is read-only or overlaps an argument without being it.
    TypeError
        An argument does not hold real numbers; `axis` is not an integer; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.log_softmax(np.array([0.0, -100.0]))
    array([-3.72007598e-44, -1.00000000e+02])
    """
    if axis is LAST or is_second(axis, S):
        try:
            return kernels.log_softmax[S.dtype](S, out, 1)
        except UNUSUAL:
            pass
    return call("log_softmax", kernels.log_softmax, kernels.LOG_SOFTMAX, {"S": S}, out=out, axis=axis)


def log_softmax_vjp(
    dL: ArrayLike, L: ArrayLike, axis: SupportsIndex = -1, *, out: np.ndarray | None = None, accumulate: bool = False
) -> np.ndarray:
    """The gradient of J with respect to the logits S, through L = log softmax(S), from the cotangent dL = ∂J/∂L.

        dS_j = Σ_i dL_i (δ_ij − exp L_j) = dL_j − exp(L_j) Σ_i dL_i

    At a class m with most of the probability it is computed as `dL_m (1 − exp L_m) − exp(L_m) Σ_{i≠m} dL_i` with
    `1 − exp L_m` from expm1, so that nothing cancels when exp(L_m) is close to 1.

    Parameters
    ----------
    dL : array_like, shape (..., k)
    L : array_like, shape (..., k)
        The output of `log_softmax`.
    axis : int
        The axis of the classes.
    out : ndarray, shape of L, optional
        Takes the result; may be dL or L itself.
    accumulate : bool
        Add to `out` instead of overwriting it.

    Returns
    -------
    dS : ndarray, shape of L

    Raises
    ------
    ValueError
        Shapes differ; `axis` is out of bounds; `out` has another shape, is read-only or overlaps an argument without
        being it; `accumulate` without `out`.
    TypeError
        An argument does not hold real numbers; `axis` is not an integer; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.log_softmax_vjp(np.array([1.0, 0.0]), np.log([0.75, 0.25])).round(6)
    array([ 0.25, -0.25])
    """
    if accumulate and out is None:
        raise missing_out("log_softmax_vjp")
    if axis is LAST or is_second(axis, L):
        try:
            return kernels.log_softmax_vjp[L.dtype](dL, L, out, accumulate, 1)
        except UNUSUAL:
            pass
    inputs, kernel = {"dL": dL, "L": L}, kernels.log_softmax_vjp
    return call("log_softmax_vjp", kernel, kernels.LOG_SOFTMAX_VJP, inputs, out=out, accumulate=accumulate, axis=axis)


def log_softmax_jvp(
    dS: ArrayLike, L: ArrayLike, axis: SupportsIndex = -1, *, out: np.ndarray | None = None
) -> np.ndarray:
    """The directional derivative of L = log softmax(S) along the tangent dS.

        dL_i = Σ_j (δ_ij − exp L_j) dS_j = dS_i − Σ_j exp(L_j) dS_j

    It is computed as `h_i − Σ_{j≠m} exp(L_j) h_j` with `h = dS − dS_m` and m the largest class, or one as large but for
    its last nine bits.

    Parameters
    ----------
    dS : array_like, shape (..., k)
    L : array_like, shape (..., k)
        The output of `log_softmax`.
    axis : int
        The axis of the classes.
    out : ndarray, shape of L, optional
        Takes the result; may be dS or L itself.

    Returns
    -------
    dL : ndarray, shape of L

    Raises
    ------
    ValueError
        Shapes differ; `axis` is out of bounds; `out` has another shape, is read-only or overlaps an argument without
        being it.
    TypeError
        An argument does not hold real numbers; `axis` is not an integer; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.log_softmax_jvp(np.array([1.0, 0.0]), np.log([0.75, 0.25])).round(6)
    array([ 0.25, -0.75])
    """
    if axis is LAST or is_second(axis, L):
        try:
            return kernels.log_softmax_jvp[L.dtype](dS, L, out, 1)
        except UNUSUAL:
            pass
    inputs = {"dS": dS, "L": L}
    return call("log_softmax_jvp", kernels.log_softmax_jvp, kernels.LOG_SOFTMAX_JVP, inputs, out=out, axis=axis)


def logsumexp(S: ArrayLike, axis: SupportsIndex = -1) -> np.ndarray:
    """The logarithm of a sum of exponentials along one axis, which is left out of the result.

        l = log Σ_c exp(S_c) = S_m + log1p(Σ_{c≠m} exp(S_c − S_m))        m the largest class

    It is −inf where all S_c are, or there are none, and inf where one is.

    Parameters
    ----------
    S : array_like, shape (..., k)
    axis : int
        The axis to sum along.

    Returns
    -------
    l : ndarray, shape (...)

    Raises
    ------
    ValueError
        `axis` is out of bounds.
    TypeError
        S does not hold real numbers; `axis` is not an integer.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> float(fg.logsumexp(np.array([1000.0, 1000.0])).round(6))
    1000.693147
    """
    if axis is LAST or is_second(axis, S):
        try:
            return kernels.logsumexp[S.dtype](S, None, 1)
        except UNUSUAL:
            pass
    return call("logsumexp", kernels.logsumexp, kernels.LOGSUMEXP, {"S": S}, axis=axis)
