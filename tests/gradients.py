"""Gradients that people write by hand: right ones, and the mistakes they make, for the tests of `fastgrad.testing`.

The functions are plain NumPy and take complex arrays; their fastgrad twins do not, which tests differences.
"""

import itertools

import numpy as np

import fastgrad as fg

# --- functions and right gradients -----------------------------------------------------------------------------------


def affine(X, W, b):
    return X @ W.T + b


def affine_vjp(dY, X, W, b):
    return dY @ W, dY.T @ X, dY.sum(0)


def affine_jvp(dX, dW, db, X, W, b):
    return dX @ W.T + X @ dW.T + db


def mean_square(X, W, T):
    return np.mean((X @ W.T - T) ** 2)


def mean_square_vjp(dJ, X, W, T):
    R = 2 * dJ * (X @ W.T - T) / T.size
    return R @ W, R.T @ X, -R


def relu_layer(X, W):
    return np.maximum(X @ W.T, 0)


def relu_layer_vjp(dY, X, W):
    dZ = dY * (X @ W.T > 0)
    return dZ @ W, dZ.T @ X


def net(X, W, V):
    return np.tanh(X @ W.T) @ V.T


def net_vjp(dY, X, W, V):
    H = np.tanh(X @ W.T)
    dZ = (dY @ V) * (1 - H * H)
    return dZ @ W, dZ.T @ X, dY.T @ H


def softmax(S):
    e = np.exp(S - S.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def softmax_vjp(dY, S):
    return fg.softmax_vjp(dY, softmax(S))


def cross_entropy(S, target):
    """log Σ_c exp(S_c) − S_target, without cancelling where the target's class is the largest by far."""
    rows, m = np.arange(len(S)), S.argmax(-1)
    e = np.exp(S - S[rows, m][:, None])
    e[rows, m] = 0
    return S[rows, m] - S[rows, target] + np.log1p(e.sum(-1))


def cross_entropy_vjp(dJ, S, target):
    p = softmax(S)
    p[np.arange(len(S)), target] = 0
    p[np.arange(len(S)), target] = -p.sum(-1)
    return dJ[:, None] * p


def logsumexp(S):
    m = S.max(-1, keepdims=True)
    return (m + np.log(np.exp(S - m).sum(-1, keepdims=True)))[..., 0]


def logsumexp_vjp(dl, S):
    return dl[..., None] * softmax(S)


def normalise(X):
    c = X - X.mean(-1, keepdims=True)
    return c / np.sqrt((c * c).mean(-1, keepdims=True) + 1e-5)


def normalise_vjp(dY, X):
    c = X - X.mean(-1, keepdims=True)
    s = np.sqrt((c * c).mean(-1, keepdims=True) + 1e-5)
    Y = c / s
    return (dY - dY.mean(-1, keepdims=True) - Y * (dY * Y).mean(-1, keepdims=True)) / s


def silu(X):
    return X / (1 + np.exp(-X))


def silu_vjp(dY, X):
    p = 1 / (1 + np.exp(-X))
    return dY * p * (1 + X * (1 - p))


def affine_dw(dY, X, *, out=None, accumulate=False):
    return fg.affine_dw(dY, X, out=out, accumulate=accumulate)


# --- mistakes --------------------------------------------------------------------------------------------------------


def without_the_1_over_n(dJ, X, W, T):
    R = 2 * dJ * (X @ W.T - T)
    return R @ W, R.T @ X, -R


def without_the_2(dJ, X, W, T):
    R = dJ * (X @ W.T - T) / T.size
    return R @ W, R.T @ X, -R


def sign_of_the_target(dJ, X, W, T):
    dX, dW, dT = mean_square_vjp(dJ, X, W, T)
    return dX, dW, -dT


def loss_gradient_ignored(dJ, X, W, T):
    return mean_square_vjp(1.0, X, W, T)


def transposed_W(dY, X, W, b):
    return dY @ W.T, dY.T @ X, dY.sum(0)


def transposed_dW(dY, X, W, b):
    return dY @ W, X.T @ dY, dY.sum(0)


def upstream_ignored_in_dW(dY, X, W, b):
    return dY @ W, np.ones_like(dY).T @ X, dY.sum(0)


def mean_of_the_bias(dY, X, W, b):
    return dY @ W, dY.T @ X, dY.mean(0)


def last_row_left_out(dY, X, W, b):
    return dY @ W, dY[:-1].T @ X[:-1], dY.sum(0)


def no_bias_gradient(dY, X, W, b):
    return dY @ W, dY.T @ X, np.zeros_like(b)


def first_row_only(dY, X, W, b):
    dX = dY @ W
    dX[1:] = dX[0]
    return dX, dY.T @ X, dY.sum(0)


def bias_tangent_ignored(dX, dW, db, X, W, b):
    return dX @ W.T + X @ dW.T


def tangents_multiplied(dX, dW, db, X, W, b):
    return dX @ W.T + X @ dW.T + db + dX @ dW.T


def relu_of_the_cotangent(dY, X, W):
    dZ = np.maximum(dY, 0)
    return dZ @ W, dZ.T @ X


def relu_not_masked(dY, X, W):
    return dY @ W, dY.T @ X


def tanh_of_the_input(dY, X, W, V):
    Z = X @ W.T
    dZ = (dY @ V) * (1 - Z * Z)
    return dZ @ W, dZ.T @ X, dY.T @ np.tanh(Z)


def softmax_elementwise(dY, S):
    Y = softmax(S)
    return dY * Y * (1 - Y)


def softmax_sum_left_out(dY, S):
    return dY * softmax(S)


def softmax_sum_over_rows(dY, S):
    Y = softmax(S)
    return Y * (dY - (dY * Y).sum(0, keepdims=True))


def softmax_usual(dY, S):
    """Right on paper. Where the softmax saturates, dY_m − Σ dY Y cancels and no digit is left."""
    Y = softmax(S)
    return Y * (dY - (dY * Y).sum(-1, keepdims=True))


def p_minus_1(dJ, S, target):
    """Right on paper. Where p rounds to 1, it is 0 or noise."""
    p = softmax(S)
    p[np.arange(len(S)), target] -= 1
    return dJ[:, None] * p


def max_not_excluded(dl, S):
    with np.errstate(all="ignore"):
        e = np.exp(S)
        return dl[..., None] * (e / e.sum(-1, keepdims=True))


def normalise_mean_left_out(dY, X):
    c = X - X.mean(-1, keepdims=True)
    return dY / np.sqrt((c * c).mean(-1, keepdims=True) + 1e-5)


def silu_product_rule_forgotten(dY, X):
    return dY / (1 + np.exp(-X))


def in_float32(dY, X):
    return silu_vjp(dY.astype(np.float32), X.astype(np.float32)).astype(X.dtype)


def not_accumulating(dY, X, *, out=None, accumulate=False):
    return fg.affine_dw(dY, X, out=out)


def accumulating_always(dY, X, *, out=None, accumulate=False):
    return fg.affine_dw(dY, X, out=out, accumulate=out is not None)


def out_ignored(dY, X, *, out=None, accumulate=False):
    return fg.affine_dw(dY, X)


def out_as_contiguous(dY, X, *, out=None, accumulate=False):
    """Writes to the memory of `out` in C order: right for a C-contiguous array only."""
    dW = fg.affine_dw(dY, X)
    if out is None:
        return dW
    np.lib.stride_tricks.as_strided(out, (out.size,), (out.itemsize,))[:] = dW.ravel()
    return out


def writes_its_input(dY, X):
    dY *= 1 - np.tanh(X) ** 2
    return dY


def as_if_contiguous(dY, X):
    """Reads X in the order of its memory."""
    return dY.T @ np.ravel(X, order="K").reshape(X.shape)


def clipped(dY, X):
    return np.clip(dY, -1, 1) * (1 - np.tanh(X) ** 2)


def normalised_over_the_batch(S):
    e = np.exp(S - S.max())
    return e / e.sum()


_threads = [1]


def set_threads(count):
    _threads[0] = count


def sum_split_by_threads(dY):
    """A sum of as many partial sums as there are threads."""
    return sum(part.sum(0, dtype=dY.dtype) for part in np.array_split(dY, _threads[0]))


_calls = itertools.count()


def atomic_sum(dY):
    """A sum whose order is another one in every call, as when threads add to one place."""
    return np.random.default_rng(next(_calls)).permutation(dY).cumsum(0)[-1]


def never_cleared(dY):
    """Adds to memory that np.empty left as it was."""
    db = np.empty(dY.shape[1], dY.dtype)
    for row in dY:
        db += row
    return db


def jacobian_without_delta(S):
    Y = fg.softmax(S)
    return -Y[:, None] * Y


def quartic_gradient(X):
    """Of (Σ X²)² / 4."""
    return X * (X * X).sum()


def quartic_hvp(dX, X):
    return dX * (X * X).sum() + 2 * X * (X * dX).sum()


def quartic_hvp_diagonal(dX, X):
    return dX * (X * X).sum() + 2 * X * X * dX


def complex_tanh_vjp(dY, X):
    return dY * (1 - np.tanh(X) ** 2) + 1j


def tanh_vjp_of_nan(dY, X):
    return dY * np.full_like(X, np.nan)
