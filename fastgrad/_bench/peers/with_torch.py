"""The functions in PyTorch: its own, and its own backward kernels where they can be called."""

import torch
from torch.autograd import grad
from torch.nn import functional

from .with_numpy import affine_db, affine_dw, affine_dx, affine_jvp, affine_vjp  # which need operators alone

aten = torch.ops.aten


def array(value):
    return torch.from_numpy(value)


def ready(call):
    return call


def affine(X, W, b):
    return functional.linear(X, W, b)


def affine_jacobian(X, W):
    return torch.func.jacrev(functional.linear, argnums=(0, 1, 2))(X, W, X.new_zeros(len(W)))


def softmax(S):
    return torch.softmax(S, -1)


def softmax_vjp(dY, Y):
    return aten._softmax_backward_data(dY, Y, -1, Y.dtype)


softmax_jvp = softmax_vjp  # the Jacobian is symmetric


def softmax_jacobian(Y):
    return torch.diag_embed(Y) - Y[..., :, None] * Y[..., None, :]


def log_softmax(S):
    return torch.log_softmax(S, -1)


def log_softmax_vjp(dL, L):
    return aten._log_softmax_backward_data(dL, L, -1, L.dtype)


def log_softmax_jvp(dS, L):
    return dS - (L.exp() * dS).sum(-1, keepdim=True)


def logsumexp(S):
    return torch.logsumexp(S, -1)


def cross_entropy(S, target):
    return functional.cross_entropy(S, target)


def cross_entropy_value_and_grad(S, target):
    S = S.detach().requires_grad_()
    loss = functional.cross_entropy(S, target)
    return loss.detach(), grad(loss, S)[0]


def linear_cross_entropy(X, W, b, target):
    return functional.cross_entropy(functional.linear(X, W, b), target)


def linear_cross_entropy_value_and_grad(X, W, b, target):
    X, W, b = (value.detach().requires_grad_() for value in (X, W, b))
    loss = functional.cross_entropy(functional.linear(X, W, b), target)
    return loss.detach(), grad(loss, (X, W, b))


def relu(X):
    return torch.relu(X)


def relu_vjp(dY, Y):
    return aten.threshold_backward(dY, Y, 0)


def sigmoid(X):
    return torch.sigmoid(X)


def sigmoid_vjp(dY, Y):
    return aten.sigmoid_backward(dY, Y)


def tanh(X):
    return torch.tanh(X)


def tanh_vjp(dY, Y):
    return aten.tanh_backward(dY, Y)


def silu(X):
    return functional.silu(X)


def silu_vjp(dY, X):
    return aten.silu_backward(dY, X)


def gelu(X):
    return functional.gelu(X)


def gelu_vjp(dY, X):
    return aten.gelu_backward(dY, X)
