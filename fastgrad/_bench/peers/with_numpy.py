"""The formulas that people write in NumPy; `fastgrad.reference` takes more care, and more time."""

import math
from importlib.util import find_spec

import numpy as np


def array(value):
    return value


def ready(call):
    return call


def affine(X, W, b):
    return X @ W.T + b


def affine_vjp(dY, X, W):
    return dY @ W, dY.T @ X, dY.sum(0)


def affine_dx(dY, W):
    return dY @ W


def affine_dw(dY, X):
    return dY.T @ X


def affine_db(dY):
    return dY.sum(0)


def affine_jvp(X, W, dX, dW, db):
    return dX @ W.T + X @ dW.T + db


def affine_jacobian(X, W):
    rows, outputs = np.eye(len(X), dtype=X.dtype), np.eye(len(W), dtype=X.dtype)
    JX, JW = np.einsum("sj,ri->rsij", W, rows), np.einsum("rj,si->rsij", X, outputs)
    return JX, JW, np.broadcast_to(outputs, (len(X), *outputs.shape)).copy()


def softmax(S):
    e = np.exp(S - S.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def softmax_vjp(dY, Y):
    return Y * (dY - (dY * Y).sum(-1, keepdims=True))


softmax_jvp = softmax_vjp  # the Jacobian is symmetric


def softmax_jacobian(Y):
    return Y[..., None] * (np.eye(Y.shape[-1], dtype=Y.dtype) - Y[..., None, :])


def log_softmax(S):
    shifted = S - S.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def log_softmax_vjp(dL, L):
    return dL - np.exp(L) * dL.sum(-1, keepdims=True)


def log_softmax_jvp(dS, L):
    return dS - (np.exp(L) * dS).sum(-1, keepdims=True)


def logsumexp(S):
    largest = S.max(-1)
    return largest + np.log(np.exp(S - largest[..., None]).sum(-1))


def cross_entropy(S, target):
    return -log_softmax(S)[np.arange(len(S)), target].mean()


def cross_entropy_value_and_grad(S, target):
    rows = np.arange(len(S))
    dS = S - S.max(-1, keepdims=True)
    chosen = dS[rows, target]
    np.exp(dS, out=dS)
    sums = dS.sum(-1, keepdims=True)
    loss = (np.log(sums[:, 0]) - chosen).mean()
    dS /= sums
    dS[rows, target] -= 1
    dS /= len(S)
    return loss, dS


def linear_cross_entropy(X, W, b, target):
    return cross_entropy(X @ W.T + b, target)


def linear_cross_entropy_value_and_grad(X, W, b, target):
    loss, dS = cross_entropy_value_and_grad(X @ W.T + b, target)
    return loss, (dS @ W, dS.T @ X, dS.sum(0))


def relu(X):
    return np.maximum(X, 0)


def relu_vjp(dY, Y):
    return dY * (Y > 0)


def sigmoid(X):
    return 1 / (1 + np.exp(-X))


def sigmoid_vjp(dY, Y):
    return dY * Y * (1 - Y)


def tanh(X):
    return np.tanh(X)


def tanh_vjp(dY, Y):
    return dY * (1 - Y * Y)


def silu(X):
    return X / (1 + np.exp(-X))


def silu_vjp(dY, X):
    s = sigmoid(X)
    return dY * s * (1 + X * (1 - s))


if find_spec("scipy"):  # NumPy has no erf
    from scipy.special import erf

    def _normal(X):
        """The distribution function of the standard normal, and its density."""
        return 0.5 * (1 + erf(X * math.sqrt(0.5))), np.exp(-0.5 * X * X) * (1 / math.sqrt(2 * math.pi))

    def gelu(X):
        return X * _normal(X)[0]

    def gelu_vjp(dY, X):
        distribution, density = _normal(X)
        return dY * (distribution + X * density)
