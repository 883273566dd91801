"""The activations relu, sigmoid, tanh, silu and gelu, and their gradients, element by element on arrays of any shape.

A vjp takes the output Y where that is enough, as of sigmoid and tanh, whose derivatives are polynomials in it, and the
input X where it is not; its second argument's name says which. Values are within a few units in the last place (ulp)
everywhere, the far tails included, where gelu goes through erfc and silu never multiplies by what has underflown.

Results are the same bits for any shape and layout of the same numbers. NaN stays NaN; at −inf, silu and gelu are 0.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ._arguments import UNUSUAL, call
from .kernels import activations as kernels

__all__ = [
    "gelu",
    "gelu_vjp",
    "relu",
    "relu_vjp",
    "sigmoid",
    "sigmoid_vjp",
    "silu",
    "silu_vjp",
    "tanh",
    "tanh_vjp",
]


def relu(X: ArrayLike, *, out: np.ndarray | None = None) -> np.ndarray:
    """The positive part of each element.

        Y_i = max(X_i, 0)

    Parameters
    ----------
    X : array_like, shape (...)
    out : ndarray, shape of X, optional
        Takes the result; may be X itself.

    Returns
    -------
    Y : ndarray, shape of X
        float32 or float64 as X is (float64 for integers), float16 for float16. NaN is NaN.

    Raises
    ------
    ValueError
        `out` has another shape, is read-only or overlaps X without being it.
    TypeError
        X does not hold real numbers; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return _forward("relu", kernels.relu, X, out)


def relu_vjp(dY: ArrayLike, Y: ArrayLike, *, out: np.ndarray | None = None) -> np.ndarray:
    """The gradient of J with respect to X, through Y = relu(X), from the cotangent dY = ∂J/∂Y.

        dX_i = dY_i where Y_i > 0, else 0

    At 0 the derivative is taken as 0. Where Y_i is not positive the result is 0 even if dY_i is infinite or NaN, as in
    PyTorch and JAX; where Y_i is NaN it is NaN.

    Parameters
    ----------
    dY : array_like, shape (...)
    Y : array_like, shape (...)
        The output of `relu`; X itself gives the same.
    out : ndarray, shape of Y, optional
        Takes the result; may be dY or Y itself.

    Returns
    -------
    dX : ndarray, shape of Y

    Raises
    ------
    ValueError
        Shapes differ; `out` has another shape, is read-only or overlaps an argument without being it.
    TypeError
        An argument does not hold real numbers; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.relu_vjp(np.array([3.0, 3.0, 3.0]), np.array([0.0, 0.0, 2.0]))
    array([0., 0., 3.])
    """
    return _backward("relu_vjp", kernels.relu_vjp, dY, Y, out)


def sigmoid(X: ArrayLike, *, out: np.ndarray | None = None) -> np.ndarray:
    """The logistic function of each element.

        Y_i = σ(X_i) = 1 / (1 + exp(−X_i))

    Parameters
    ----------
    X : array_like, shape (...)
    out : ndarray, shape of X, optional
        Takes the result; may be X itself.

    Returns
    -------
    Y : ndarray, shape of X
        float32 or float64 as X is (float64 for integers), float16 for float16. Each element is within 2 ulp.

    Raises
    ------
    ValueError
        `out` has another shape, is read-only or overlaps X without being it.
    TypeError
        X does not hold real numbers; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.sigmoid(np.array([-np.inf, 0.0, np.log(3.0)])).round(6)
    array([0.  , 0.5 , 0.75])
    """
    return _forward("sigmoid", kernels.sigmoid, X, out)


def sigmoid_vjp(dY: ArrayLike, Y: ArrayLike, *, out: np.ndarray | None = None) -> np.ndarray:
    """The gradient of J with respect to X, through Y = σ(X), from the cotangent dY = ∂J/∂Y.

        dX_i = dY_i Y_i (1 − Y_i)

    Parameters
    ----------
    dY : array_like, shape (...)
    Y : array_like, shape (...)
        The output of `sigmoid`.
    out : ndarray, shape of Y, optional
        Takes the result; may be dY or Y itself.

    Returns
    -------
    dX : ndarray, shape of Y

    Raises
    ------
    ValueError
        Shapes differ; `out` has another shape, is read-only or overlaps an argument without being it.
    TypeError
        An argument does not hold real numbers; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.sigmoid_vjp(np.array([1.0, 1.0]), np.array([0.5, 0.75]))
    array([0.25  , 0.1875])
    """
    return _backward("sigmoid_vjp", kernels.sigmoid_vjp, dY, Y, out)


def tanh(X: ArrayLike, *, out: np.ndarray | None = None) -> np.ndarray:
    """The hyperbolic tangent of each element.

        Y_i = tanh(X_i) = (exp(2 X_i) − 1) / (exp(2 X_i) + 1)

    Parameters
    ----------
    X : array_like, shape (...)
    out : ndarray, shape of X, optional
        Takes the result; may be X itself.

    Returns
    -------
    Y : ndarray, shape of X
        float32 or float64 as X is (float64 for integers), float16 for float16. Each element is within 2 ulp.

    Raises
    ------
    ValueError
        `out` has another shape, is read-only or overlaps X without being it.
    TypeError
        X does not hold real numbers; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.tanh(np.array([-np.inf, 0.0, np.log(3.0)])).round(6)
    array([-1. ,  0. ,  0.8])
    """
    return _forward("tanh", kernels.tanh, X, out)


def tanh_vjp(dY: ArrayLike, Y: ArrayLike, *, out: np.ndarray | None = None) -> np.ndarray:
    """The gradient of J with respect to X, through Y = tanh(X), from the cotangent dY = ∂J/∂Y.

        dX_i = dY_i (1 − Y_i²)

    Parameters
    ----------
    dY : array_like, shape (...)
    Y : array_like, shape (...)
        The output of `tanh`.
    out : ndarray, shape of Y, optional
        Takes the result; may be dY or Y itself.

    Returns
    -------
    dX : ndarray, shape of Y

    Raises
    ------
    ValueError
        Shapes differ; `out` has another shape, is read-only or overlaps an argument without being it.
    TypeError
        An argument does not hold real numbers; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.tanh_vjp(np.array([1.0, 1.0]), np.array([0.0, 0.5]))
    array([1.  , 0.75])
    """
    return _backward("tanh_vjp", kernels.tanh_vjp, dY, Y, out)


def silu(X: ArrayLike, *, out: np.ndarray | None = None) -> np.ndarray:
    """The sigmoid linear unit of each element, also called swish.

        Y_i = X_i σ(X_i) = X_i / (1 + exp(−X_i))

    Parameters
    ----------
    X : array_like, shape (...)
    out : ndarray, shape of X, optional
        Takes the result; may be X itself.

    Returns
    -------
    Y : ndarray, shape of X
        float32 or float64 as X is (float64 for integers), float16 for float16. Each element is within 4 ulp.

    Raises
    ------
    ValueError
        `out` has another shape, is read-only or overlaps X without being it.
    TypeError
        X does not hold real numbers; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.silu(np.array([-1000.0, 0.0, np.log(3.0)])).round(6)
    array([-0.      ,  0.      ,  0.823959])
    """
    return _forward("silu", kernels.silu, X, out)


def silu_vjp(dY: ArrayLike, X: ArrayLike, *, out: np.ndarray | None = None) -> np.ndarray:
    """The gradient of J with respect to X, through Y = X σ(X), from the cotangent dY = ∂J/∂Y.

        dX_i = dY_i σ(X_i) (1 + X_i (1 − σ(X_i)))

    Parameters
    ----------
    dY : array_like, shape (...)
    X : array_like, shape (...)
        The input of `silu`.
    out : ndarray, shape of X, optional
        Takes the result; may be dY or X itself.

    Returns
    -------
    dX : ndarray, shape of X

    Raises
    ------
    ValueError
        Shapes differ; `out` has another shape, is read-only or overlaps an argument without being it.
    TypeError
        An argument does not hold real numbers; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.silu_vjp(np.array([1.0, 1.0]), np.array([0.0, np.log(3.0)])).round(6)
    array([0.5    , 0.95599])
    """
    return _backward("silu_vjp", kernels.silu_vjp, dY, X, out)


def gelu(X: ArrayLike, approximate: Literal["none", "tanh"] = "none", *, out: np.ndarray | None = None) -> np.ndarray:
    """The Gaussian error linear unit of each element.

        Y_i = X_i Φ(X_i) = X_i erfc(−X_i / √2) / 2                            approximate="none"
        Y_i = X_i (1 + tanh(√(2/π) (X_i + 0.044715 X_i³))) / 2              approximate="tanh"

    Parameters
    ----------
    X : array_like, shape (...)
    approximate : {"none", "tanh"}
        Which of the two formulas.
    out : ndarray, shape of X, optional
        Takes the result; may be X itself.

    Returns
    -------
    Y : ndarray, shape of X
        float32 or float64 as X is (float64 for integers), float16 for float16. Each element is within 4 ulp.

    Raises
    ------
    ValueError
        `approximate` is neither; `out` has another shape, is read-only or overlaps X without being it.
    TypeError
        X does not hold real numbers; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.gelu(np.array([-10.0, 0.0, 1.0])).round(6)
    array([-0.      ,  0.      ,  0.841345])
    """
    exact = _is_exact("gelu", approximate)
    return _forward("gelu", kernels.gelu if exact else kernels.gelu_tanh, X, out)


def gelu_vjp(
    dY: ArrayLike, X: ArrayLike, approximate: Literal["none", "tanh"] = "none", *, out: np.ndarray | None = None
) -> np.ndarray:
    """The gradient of J with respect to X, through Y = gelu(X), from the cotangent dY = ∂J/∂Y.

        dX_i = dY_i (Φ(X_i) + X_i φ(X_i))                                   approximate="none"
        dX_i = dY_i σ(z) (1 + X_i z′ (1 − σ(z)))                            approximate="tanh"

    with φ the density of the normal distribution, and z = 2 √(2/π) (X_i + 0.044715 X_i³).

    Parameters
    ----------
    dY : array_like, shape (...)
    X : array_like, shape (...)
        The input of `gelu`.
    approximate : {"none", "tanh"}
        As in the call of `gelu`.
    out : ndarray, shape of X, optional
        Takes the result; may be dY or X itself.

    Returns
    -------
    dX : ndarray, shape of X

    Raises
    ------
    ValueError
        `approximate` is neither; shapes differ; `out` has another shape, is read-only or overlaps an argument without
        being it.
    TypeError
        An argument does not hold real numbers; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.gelu_vjp(np.array([1.0, 1.0]), np.array([0.0, 1.0])).round(6)
    array([0.5     , 1.083315])
    """
    exact = _is_exact("gelu_vjp", approximate)
    return _backward("gelu_vjp", kernels.gelu_vjp if exact else kernels.gelu_tanh_vjp, dY, X, out)


# --- in common -------------------------------------------------------------------------------------------------------


def _is_exact(function, approximate):
    if approximate not in ("none", "tanh"):
        raise ValueError(f'{function}: approximate is {approximate!r} but must be "none" or "tanh"')
    return approximate == "none"


def _forward(function, kernel, X, out):
    try:
        return kernel[X.dtype](X, out)
    except UNUSUAL:
        pass
    return call(function, kernel, kernel.signature, {"X": X}, out=out)


def _backward(function, kernel, dY, A, out):
    try:
        return kernel[A.dtype](dY, A, out)
    except UNUSUAL:
        pass
    return call(function, kernel, kernel.signature, {"dY": dY, kernel.signature.inputs[1].name: A}, out=out)
