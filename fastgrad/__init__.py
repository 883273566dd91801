"""Hand-derived neural-network gradients as explicit loops, compiled for the CPU by Numba, called on NumPy arrays."""

from . import _inside_njit
from ._version import __version__ as __version__
from .activations import (
    gelu,
    gelu_vjp,
    relu,
    relu_vjp,
    sigmoid,
    sigmoid_vjp,
    silu,
    silu_vjp,
    tanh,
    tanh_vjp,
)
from .affine import affine, affine_db, affine_dw, affine_dx, affine_jacobian, affine_jvp, affine_vjp
from .cross_entropy import cross_entropy, cross_entropy_value_and_grad
from .linear_cross_entropy import linear_cross_entropy, linear_cross_entropy_value_and_grad
from .softmax import (
    log_softmax,
    log_softmax_jvp,
    log_softmax_vjp,
    logsumexp,
    softmax,
    softmax_jacobian,
    softmax_jvp,
    softmax_vjp,
)

__all__ = [
    "affine",
    "affine_db",
    "affine_dw",
    "affine_dx",
    "affine_jacobian",
    "affine_jvp",
    "affine_vjp",
    "cross_entropy",
    "cross_entropy_value_and_grad",
    "gelu",
    "gelu_vjp",
    "linear_cross_entropy",
    "linear_cross_entropy_value_and_grad",
    "log_softmax",
    "log_softmax_jvp",
    "log_softmax_vjp",
    "logsumexp",
    "relu",
    "relu_vjp",
    "sigmoid",
    "sigmoid_vjp",
    "silu",
    "silu_vjp",
    "softmax",
    "softmax_jacobian",
    "softmax_jvp",
    "softmax_vjp",
    "tanh",
    "tanh_vjp",
]

_inside_njit.register()
