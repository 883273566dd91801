"""The table of public functions, which tests, benchmarks, README and the command line walk.

A function that is not in it fails the guard test; one that is in it gets the tests that hold for all.
"""

from dataclasses import dataclass
from importlib import import_module

import numpy as np

from . import reference
from .kernels import activations, affine, cross_entropy, linear_cross_entropy, softmax
from .kernels._jit import DTYPES as _DTYPES
from .kernels._signature import Signature

DTYPES = tuple(map(str, _DTYPES))  # what they compute in


@dataclass(frozen=True)
class Function:
    """One public function: the family is the name of its module, its tests and its benchmarks."""

    name: str
    family: str
    formula: str
    signature: Signature
    keywords: tuple = ()  # inputs that are passed by keyword
    options: tuple = ()  # of the call whose results have the signature's shapes
    kernel_name: str = ""  # where it is not the function's
    choice: tuple = ()  # a parameter that chooses the kernel, and the kernel's name by the value

    def kernel(self, chosen=None):
        """The loop that it calls, for this value of the parameter that chooses it."""
        name = self.choice[1][chosen] if chosen else self.kernel_name or self.name
        return getattr(import_module(f".kernels.{self.family}", __package__), name)

    @property
    def sizes(self):
        """The letters of the signature, beside the leading axes."""
        axes = [axis for operand in self.signature.inputs for axis in operand.axes if axis != "..."]
        return tuple(dict.fromkeys(axes))

    @property
    def has_axis(self):
        return self.family == "softmax" and self.name != "softmax_jacobian"

    @property
    def is_loss(self):
        return self.family.endswith("cross_entropy")

    @property
    def has_out(self):
        return not self.name.endswith(("jacobian", "logsumexp", "cross_entropy"))

    @property
    def has_accumulate(self):
        return self.name.endswith(("_vjp", "_dx", "_dw", "_db")) and self.family != "activations"

    @property
    def float_inputs(self):
        return [operand.name for operand in self.signature.inputs if not operand.integer]

    def arguments(self, rng, dtype, lead, **sizes):
        """Arguments by name with these leading axes and sizes: probabilities for Y, their logarithms for L, class
        indices for integers."""
        dtypes = {o.name: np.int64 if o.integer else dtype for o in self.signature.inputs}
        return {o.name: np.asarray(_random(rng, o, lead, sizes), dtypes[o.name]) for o in self.signature.inputs}

    def call(self, module, arguments, **options):
        """Calls the function of this name in a module (`fastgrad` or `fastgrad.reference`)."""
        inputs = [value for name, value in arguments.items() if name not in self.keywords]
        options = dict(self.options) | {n: value for n, value in arguments.items() if n in self.keywords} | options
        return getattr(module, self.name)(*inputs, **options)

    def outs(self, results):
        """What `out` takes, of all results as a tuple: of a loss and its gradients, the gradients."""
        return results[1:] if self.is_loss else results


def _random(rng, operand, lead, sizes):
    shape = [size for axis in operand.axes for size in (lead if axis == "..." else (sizes[axis],))]
    if operand.integer:
        return rng.integers(0, sizes["k"], shape) if sizes["k"] else np.full(shape, -100)
    values = rng.standard_normal(shape)
    if operand.name in ("weight", "sample_weight"):
        return np.abs(values)
    if operand.name == "S":
        return 3 * values
    if operand.name == "Y":
        return reference.softmax(3 * values) if operand.axes[-1] == "k" else np.tanh(values)
    if operand.name == "L":
        return reference.log_softmax(3 * values)
    return values


FUNCTIONS = {
    function.name: function
    for function in (
        Function("affine", "affine", "Y_rs = Σ_k X_rk W_sk + b_s", affine.AFFINE),
        Function("affine_vjp", "affine", "dX, dW and db in one call", affine.AFFINE_VJP),
        Function("affine_dx", "affine", "dX_ij = Σ_s dY_is W_sj", affine.AFFINE_DX),
        Function("affine_dw", "affine", "dW_ij = Σ_r dY_ri X_rj", affine.AFFINE_DW),
        Function("affine_db", "affine", "db_i = Σ_r dY_ri", affine.AFFINE_DB),
        Function("affine_jvp", "affine", "dY = dX Wᵀ + X dWᵀ + db", affine.AFFINE_JVP, ("dX", "dW", "db")),
        Function(
            "affine_jacobian",
            "affine",
            "∂Y_rs/∂X_ij = W_sj δ_ir, ∂Y_rs/∂W_ij = X_rj δ_is, ∂Y_rs/∂b_i = δ_is",
            affine.AFFINE_JACOBIAN,
        ),
        Function("softmax", "softmax", "Y_i = exp(S_i) / Σ_c exp(S_c)", softmax.SOFTMAX),
        Function(
            "softmax_vjp",
            "softmax",
            "dS_j = Y_j (dY_j − Σ_r dY_r Y_r)",
            softmax.SOFTMAX_VJP,
            kernel_name="softmax_product",
        ),
        Function(
            "softmax_jvp",
            "softmax",
            "dY_i = Y_i (dS_i − Σ_j Y_j dS_j)",
            softmax.SOFTMAX_JVP,
            kernel_name="softmax_product",
        ),
        Function("softmax_jacobian", "softmax", "J_ij = Y_i (δ_ij − Y_j)", softmax.SOFTMAX_JACOBIAN),
        Function("log_softmax", "softmax", "L_i = S_i − log Σ_c exp(S_c)", softmax.LOG_SOFTMAX),
        Function("log_softmax_vjp", "softmax", "dS_j = dL_j − exp(L_j) Σ_i dL_i", softmax.LOG_SOFTMAX_VJP),
        Function("log_softmax_jvp", "softmax", "dL_i = dS_i − Σ_j exp(L_j) dS_j", softmax.LOG_SOFTMAX_JVP),
        Function("logsumexp", "softmax", "l = log Σ_c exp(S_c)", softmax.LOGSUMEXP),
        Function("relu", "activations", "Y = max(X, 0)", activations.FORWARD),
        Function("relu_vjp", "activations", "dX = dY where Y > 0, else 0", activations.VJP_OF_OUTPUT),
        Function("sigmoid", "activations", "Y = σ(X) = 1 / (1 + exp(−X))", activations.FORWARD),
        Function("sigmoid_vjp", "activations", "dX = dY Y (1 − Y)", activations.VJP_OF_OUTPUT),
        Function("tanh", "activations", "Y = tanh X", activations.FORWARD),
        Function("tanh_vjp", "activations", "dX = dY (1 − Y²)", activations.VJP_OF_OUTPUT),
        Function("silu", "activations", "Y = X σ(X)", activations.FORWARD),
        Function("silu_vjp", "activations", "dX = dY σ(X) (1 + X (1 − σ(X)))", activations.VJP_OF_INPUT),
        Function(
            "gelu",
            "activations",
            "Y = X Φ(X), or with a tanh in place of erf",
            activations.FORWARD,
            choice=("approximate", {"none": "gelu", "tanh": "gelu_tanh"}),
        ),
        Function(
            "gelu_vjp",
            "activations",
            "dX = dY (Φ(X) + X φ(X)), or of that",
            activations.VJP_OF_INPUT,
            choice=("approximate", {"none": "gelu_vjp", "tanh": "gelu_tanh_vjp"}),
        ),
        Function(
            "cross_entropy",
            "cross_entropy",
            "J_r = −log softmax(S_r)_y, weighted, smoothed, reduced",
            cross_entropy.CROSS_ENTROPY,
            ("weight", "sample_weight"),
            (("reduction", "none"),),
        ),
        Function(
            "cross_entropy_value_and_grad",
            "cross_entropy",
            "J_r and dS_rj = softmax(S_r)_j − δ_jy",
            cross_entropy.CROSS_ENTROPY_VALUE_AND_GRAD,
            ("weight", "sample_weight"),
            (("reduction", "none"),),
        ),
        Function(
            "linear_cross_entropy",
            "linear_cross_entropy",
            "J of the logits S = X Wᵀ + b, without S",
            linear_cross_entropy.LINEAR_CROSS_ENTROPY,
            ("weight", "sample_weight"),
            (("reduction", "none"),),
        ),
        Function(
            "linear_cross_entropy_value_and_grad",
            "linear_cross_entropy",
            "J, and dX, dW and db, without S",
            linear_cross_entropy.LINEAR_CROSS_ENTROPY_VALUE_AND_GRAD,
            ("weight", "sample_weight"),
            (("reduction", "none"),),
        ),
    )
}


def table_rows():
    """The rows of README's table: function with its shapes, and formula."""
    return [f"| `{f.name}` | {f.formula} | `{_arrow(f.signature)}` |" for f in FUNCTIONS.values()]


def _arrow(signature):
    return signature.text.replace("->", "→")
