"""The affine map Y = X Wᵀ + b, its gradients, its directional derivative and its Jacobians.

Sums of any length are formed of sums of at most 256 terms, which are added in order, so that each element of a result
carries an error of at most `(256 + n/256 + 2)·eps·Σ|terms|` for a sum of n terms, and the same bits whatever
the layout of the arrays, the number of threads or the CPU.

With δ the Kronecker delta, the derivation starts from the Jacobians

    ∂Y_rs/∂X_ij = W_sj δ_ir        ∂Y_rs/∂W_ij = X_rj δ_is        ∂Y_rs/∂b_i = δ_is

and contracts them with the cotangent dY = ∂J/∂Y of a scalar J. The rules for dtypes, layouts, `out` and errors are the
same for every function; README states them.
"""

import numpy as np
from numpy.typing import ArrayLike

from ._arguments import UNUSUAL, call, missing_out
from .kernels import affine as kernels

__all__ = ["affine", "affine_db", "affine_dw", "affine_dx", "affine_jacobian", "affine_jvp", "affine_vjp"]


def affine(X: ArrayLike, W: ArrayLike, b: ArrayLike | None = None, *, out: np.ndarray | None = None) -> np.ndarray:
    """The affine map of each row of X.

        Y_rs = Σ_k X_rk W_sk + b_s        Y = X Wᵀ + b

    Parameters
    ----------
    X : array_like, shape (..., d)
    W : array_like, shape (m, d)
    b : array_like, shape (m,), optional
    out : ndarray, shape (..., m), optional
        Takes the result.

    Returns
    -------
    Y : ndarray, shape (..., m)
        float32 or float64 as the arguments are (float64 if they differ or are integers), float16 for float16.

    Raises
    ------
    ValueError
        Shapes do not agree; `out` has another shape, is read-only or overlaps an argument.
    TypeError
        An argument does not hold real numbers; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.affine(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]]), np.array([0.5, -0.5]))
    array([[11.5, 16.5]])
    """
    try:
        return kernels.affine[X.dtype](X, W, b, out, False)
    except UNUSUAL:
        pass
    inputs = {"X": X, "W": W, "b": b}
    return call("affine", kernels.affine, kernels.AFFINE, inputs, False, out=out)


def affine_vjp(
    dY: ArrayLike,
    X: ArrayLike,
    W: ArrayLike,
    *,
    out: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    accumulate: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All gradients of J through Y = X Wᵀ + b, from the cotangent dY = ∂J/∂Y.

        dX_ij = Σ_r Σ_s dY_rs W_sj δ_ir = Σ_s dY_is W_sj        dX = dY W
        dW_ij = Σ_r Σ_s dY_rs X_rj δ_is = Σ_r dY_ri X_rj        dW = dYᵀ X
        db_i  = Σ_r Σ_s dY_rs δ_is      = Σ_r dY_ri

    Parameters
    ----------
    dY : array_like, shape (..., m)
    X : array_like, shape (..., d)
    W : array_like, shape (m, d)
    out : tuple of ndarrays, optional
        Take dX, dW and db.
    accumulate : bool
        Add to the arrays of `out` instead of overwriting them.

    Returns
    -------
    dX : ndarray, shape (..., d)
    dW : ndarray, shape (m, d)
    db : ndarray, shape (m,)

    Raises
    ------
    ValueError
        Shapes do not agree; an array of `out` has another shape, is read-only or overlaps another array;
        `accumulate` without `out`.
    TypeError
        An argument does not hold real numbers; an array of `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> dX, dW, db = fg.affine_vjp(np.array([1.0, -1.0]), np.array([2.0, 3.0]), np.array([[4.0, 5.0], [6.0, 7.0]]))
    >>> dX, dW, db
    (array([-2., -2.]), array([[ 2.,  3.],
           [-2., -3.]]), array([ 1., -1.]))
    """
    if accumulate and out is None:
        raise missing_out("affine_vjp")
    try:
        dX, dW, db = (None, None, None) if out is None else out
        if out is None or not (dX is None or dW is None or db is None):  # which the kernel would make
            return kernels.affine_vjp[X.dtype](dY, X, W, dX, dW, db, accumulate)
    except UNUSUAL:
        pass
    inputs = {"dY": dY, "X": X, "W": W}
    return call("affine_vjp", kernels.affine_vjp, kernels.AFFINE_VJP, inputs, out=out, accumulate=accumulate)


def affine_dx(dY: ArrayLike, W: ArrayLike, *, out: np.ndarray | None = None, accumulate: bool = False) -> np.ndarray:
    """The gradient of J with respect to X, through Y = X Wᵀ + b.

        dX_ij = Σ_r Σ_s dY_rs W_sj δ_ir = Σ_s dY_is W_sj        dX = dY W

    Parameters
    ----------
    dY : array_like, shape (..., m)
    W : array_like, shape (m, d)
    out : ndarray, shape (..., d), optional
        Takes the result.
    accumulate : bool
        Add to `out` instead of overwriting it.

    Returns
    -------
    dX : ndarray, shape (..., d)

    Raises
    ------
    ValueError
        Shapes do not agree; `out` has another shape, is read-only or overlaps an argument; `accumulate` without `out`.
    TypeError
        An argument does not hold real numbers; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.affine_dx(np.array([[1.0, -1.0]]), np.array([[4.0, 5.0], [6.0, 7.0]]))
    array([[-2., -2.]])
    """
    if accumulate and out is None:
        raise missing_out("affine_dx")
    try:
        return kernels.affine_dx[W.dtype](dY, W, out, accumulate)
    except UNUSUAL:
        pass
    inputs = {"dY": dY, "W": W}
    return call("affine_dx", kernels.affine_dx, kernels.AFFINE_DX, inputs, out=out, accumulate=accumulate)


def affine_dw(dY: ArrayLike, X: ArrayLike, *, out: np.ndarray | None = None, accumulate: bool = False) -> np.ndarray:
    """The gradient of J with respect to W, through Y = X Wᵀ + b.

        dW_ij = Σ_r Σ_s dY_rs X_rj δ_is = Σ_r dY_ri X_rj        dW = dYᵀ X

    Parameters
    ----------
    dY : array_like, shape (..., m)
    X : array_like, shape (..., d)
    out : ndarray, shape (m, d), optional
        Takes the result.
    accumulate : bool
        Add to `out` instead of overwriting it: a loop over micro-batches sums their gradients.

    Returns
    -------
    dW : ndarray, shape (m, d)

    Raises
    ------
    ValueError
        Shapes do not agree; `out` has another shape, is read-only or overlaps an argument; `accumulate` without `out`.
    TypeError
        An argument does not hold real numbers; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.affine_dw(np.array([[1.0, -1.0]]), np.array([[2.0, 3.0]]))
    array([[ 2.,  3.],
           [-2., -3.]])
    """
    if accumulate and out is None:
        raise missing_out("affine_dw")
    try:
        return kernels.affine_dw[X.dtype](dY, X, out, accumulate)
    except UNUSUAL:
        pass
    inputs = {"dY": dY, "X": X}
    return call("affine_dw", kernels.affine_dw, kernels.AFFINE_DW, inputs, out=out, accumulate=accumulate)


def affine_db(dY: ArrayLike, *, out: np.ndarray | None = None, accumulate: bool = False) -> np.ndarray:
    """The gradient of J with respect to b, through Y = X Wᵀ + b.

        db_i = Σ_r Σ_s dY_rs δ_is = Σ_r dY_ri

    Parameters
    ----------
    dY : array_like, shape (..., m)
    out : ndarray, shape (m,), optional
        Takes the result.
    accumulate : bool
        Add to `out` instead of overwriting it.

    Returns
    -------
    db : ndarray, shape (m,)

    Raises
    ------
    ValueError
        dY has no axis; `out` has another shape, is read-only or overlaps dY; `accumulate` without `out`.
    TypeError
        dY does not hold real numbers; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.affine_db(np.array([[1.0, -1.0], [3.0, 4.0]]))
    array([4., 3.])
    """
    if accumulate and out is None:
        raise missing_out("affine_db")
    try:
        return kernels.affine_db[dY.dtype](dY, out, accumulate)
    except UNUSUAL:
        pass
    return call("affine_db", kernels.affine_db, kernels.AFFINE_DB, {"dY": dY}, out=out, accumulate=accumulate)


def affine_jvp(
    X: ArrayLike,
    W: ArrayLike,
    *,
    dX: ArrayLike | None = None,
    dW: ArrayLike | None = None,
    db: ArrayLike | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The directional derivative of Y = X Wᵀ + b along the tangents given; one that is not given is zero.

        dY_rs = Σ_ij dX_ij W_sj δ_ir + Σ_ij dW_ij X_rj δ_is + Σ_i db_i δ_is        dY = dX Wᵀ + X dWᵀ + db

    Parameters
    ----------
    X : array_like, shape (..., d)
    W : array_like, shape (m, d)
    dX : array_like, shape (..., d), optional
    dW : array_like, shape (m, d), optional
    db : array_like, shape (m,), optional
    out : ndarray, shape (..., m), optional
        Takes the result.

    Returns
    -------
    dY : ndarray, shape (..., m)

    Raises
    ------
    ValueError
        Shapes do not agree; `out` has another shape, is read-only or overlaps an argument.
    TypeError
        An argument does not hold real numbers; `out` is of another dtype.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.affine_jvp(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), dX=np.array([[1.0, 0.0]]), db=np.array([0.5]))
    array([[3.5]])
    """
    try:
        return kernels.affine_jvp[X.dtype](X, W, dX, dW, db, out)
    except UNUSUAL:
        pass
    inputs = {"X": X, "W": W, "dX": dX, "dW": dW, "db": db}
    return call("affine_jvp", kernels.affine_jvp, kernels.AFFINE_JVP, inputs, out=out)


def affine_jacobian(X: ArrayLike, W: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The Jacobians of Y = X Wᵀ + b, written out: they are large, and mostly zero.

        ∂Y_rs/∂X_ij = W_sj δ_ir        ∂Y_rs/∂W_ij = X_rj δ_is        ∂Y_rs/∂b_i = δ_is

    Parameters
    ----------
    X : array_like, shape (..., d)
    W : array_like, shape (m, d)

    Returns
    -------
    JX : ndarray, shape Y.shape + X.shape = (..., m, ..., d)
    JW : ndarray, shape Y.shape + W.shape = (..., m, m, d)
    Jb : ndarray, shape Y.shape + b.shape = (..., m, m)

    Raises
    ------
    ValueError
        Shapes do not agree.
    TypeError
        An argument does not hold real numbers.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> JX, JW, Jb = fg.affine_jacobian(np.array([1.0, 2.0]), np.array([[3.0, 4.0]]))
    >>> JX, JW, Jb
    (array([[3., 4.]]), array([[[1., 2.]]]), array([[1.]]))
    """
    try:
        return kernels.affine_jacobian[X.dtype](X, W, None, None, None)
    except UNUSUAL:
        pass
    return call("affine_jacobian", kernels.affine_jacobian, kernels.AFFINE_JACOBIAN, {"X": X, "W": W})
