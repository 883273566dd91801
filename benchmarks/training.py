"""One step of stochastic gradient descent of a 784-256-128-10 ReLU network, by the size of its batch."""

from functools import cache

import numpy as np

from fastgrad._bench.peers.training import STEPS

from .common import HOME, IMPLEMENTATIONS, required

SIZES = (784, 256, 128, 10)
MIXED = "numpy's products"  # and fastgrad's other functions


@cache
def _step(implementation, batch):
    for function in ("relu_vjp", "cross_entropy_value_and_grad"):
        required(HOME, function)
    if implementation != MIXED:
        required(implementation, "cross_entropy_value_and_grad")
    rng = np.random.default_rng(0)
    shapes = list(zip(SIZES[1:], SIZES, strict=False))
    weights = [(rng.standard_normal(shape) * np.sqrt(2 / shape[1])).astype(np.float32) for shape in shapes]
    biases = [np.zeros(m, np.float32) for m, _ in shapes]
    X, target = rng.standard_normal((batch, SIZES[0])).astype(np.float32), rng.integers(0, SIZES[-1], batch)
    step = STEPS[implementation](weights, biases, X, target, np.float32(1e-3))
    step()
    return step


class Training:
    param_names = ("implementation", "batch")
    params = ([*IMPLEMENTATIONS, MIXED], [1, 32, 128, 1024])
    timeout = 120
    repeat = (10, 500, 1.0)
    warmup_time = 0.02

    def setup(self, implementation, batch):
        self.step = _step(implementation, batch)

    def time_step(self, implementation, batch):
        self.step()
