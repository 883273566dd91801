"""The functions in JAX, each compiled by `jax.jit`; a vjp from an input is JAX's own, the rest are the formulas."""

import jax
import jax.numpy as jnp
from jax import nn

from .with_numpy import (  # formulas that need nothing but the operators of the arrays
    affine,
    affine_db,
    affine_dw,
    affine_dx,
    affine_jvp,
    affine_vjp,
    sigmoid_vjp,
    softmax_jvp,
    softmax_vjp,
    tanh_vjp,
)

jax.config.update("jax_enable_x64", True)  # float64 is an option there; float32 stays what it is

array = jnp.asarray


def ready(call):
    """The call compiled; it returns when the result is there."""
    compiled = jax.jit(call)
    return lambda *inputs: jax.block_until_ready(compiled(*inputs))


def affine_jacobian(X, W):
    return jax.jacrev(affine, argnums=(0, 1, 2))(X, W, jnp.zeros(len(W), X.dtype))


def softmax(S):
    return nn.softmax(S)


def softmax_jacobian(Y):
    return Y[..., None] * (jnp.eye(Y.shape[-1], dtype=Y.dtype) - Y[..., None, :])


def log_softmax(S):
    return nn.log_softmax(S)


def log_softmax_vjp(dL, L):
    return dL - jnp.exp(L) * dL.sum(-1, keepdims=True)


def log_softmax_jvp(dS, L):
    return dS - (jnp.exp(L) * dS).sum(-1, keepdims=True)


def logsumexp(S):
    return nn.logsumexp(S, axis=-1)


def cross_entropy(S, target):
    return -jnp.take_along_axis(nn.log_softmax(S), target[:, None], -1).mean()


def cross_entropy_value_and_grad(S, target):
    return jax.value_and_grad(cross_entropy)(S, target)


def linear_cross_entropy(X, W, b, target):
    return cross_entropy(affine(X, W, b), target)


def linear_cross_entropy_value_and_grad(X, W, b, target):
    return jax.value_and_grad(linear_cross_entropy, argnums=(0, 1, 2))(X, W, b, target)


def relu(X):
    return nn.relu(X)


def relu_vjp(dY, Y):
    return jnp.where(Y > 0, dY, 0)


def sigmoid(X):
    return nn.sigmoid(X)


def tanh(X):
    return jnp.tanh(X)


def silu(X):
    return nn.silu(X)


def silu_vjp(dY, X):
    return jax.vjp(silu, X)[1](dY)[0]


def gelu(X):
    return nn.gelu(X, approximate=False)


def gelu_vjp(dY, X):
    return jax.vjp(gelu, X)[1](dY)[0]
