"""A network of three layers on handwritten digits, trained by the gradients of the derivation, NumPy beside fastgrad.

X → affine → relu → affine → relu → affine → S        J = −1/N Σ_r log softmax(S_r)_{target(r)}

∂J/∂S  →  affine_vjp  →  relu_vjp  →  affine_vjp  →  relu_vjp  →  affine_vjp  →  ∂J/∂W, ∂J/∂b of every layer
"""

import time
from itertools import pairwise

import numpy as np

import fastgrad

from ._options import count

LAYERS, BATCH, RATE = (64, 64, 32, 10), 64, 0.2
TURN = 20  # epochs of one library, then of the other: threads of the one that still spin would slow the other down


def add_arguments(parser):
    parser.add_argument("--epochs", type=count, default=100, help="passes over the training set (default: %(default)s)")


class PlainNumPy:
    """The five functions as everybody writes them."""

    @staticmethod
    def affine(X, W, b):
        return X @ W.T + b

    @staticmethod
    def affine_vjp(dY, X, W):
        return dY @ W, dY.T @ X, dY.sum(0)

    @staticmethod
    def relu(X):
        return np.maximum(X, 0)

    @staticmethod
    def relu_vjp(dY, Y):
        return dY * (Y > 0)

    @staticmethod
    def cross_entropy_value_and_grad(S, target):
        rows = np.arange(len(S))
        e = np.exp(S - S.max(1, keepdims=True))
        dS = e / e.sum(1, keepdims=True)
        loss = -np.log(dS[rows, target]).mean()
        dS[rows, target] -= 1
        return loss, dS / len(S)


def digits():
    """The images as rows of 64 pixels in [0, 1], and the digit each shows: three quarters to train on, the rest."""
    from sklearn.datasets import load_digits

    images, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, targets = images[order] / 16, targets[order]
    cut = 3 * len(images) // 4
    return (images[:cut], targets[:cut]), (images[cut:], targets[cut:])


def initial(rng):
    """W and b of every layer: K. He et al., "Delving deep into rectifiers" (2015)."""
    pairs = pairwise(LAYERS)
    return [(rng.standard_normal((m, d)) * np.sqrt(2 / d), np.zeros(m)) for d, m in pairs]


def forward(library, X, parameters):
    """The inputs of the layers, and the logits."""
    inputs = [X]
    for W, b in parameters[:-1]:
        inputs.append(library.relu(library.affine(inputs[-1], W, b)))
    return inputs, library.affine(inputs[-1], *parameters[-1])


def gradients(library, X, targets, parameters):
    """The loss, and its gradients with respect to W and b of every layer."""
    inputs, S = forward(library, X, parameters)
    loss, dY = library.cross_entropy_value_and_grad(S, targets)
    found = []
    for layer in reversed(range(len(parameters))):
        dX, dW, db = library.affine_vjp(dY, inputs[layer], parameters[layer][0])
        found.append((dW, db))
        if layer:
            dY = library.relu_vjp(dX, inputs[layer])
    return loss, found[::-1]


class Learner:
    """One implementation on its way through the training set."""

    def __init__(self, library, images, targets):
        self.library, self.images, self.targets = library, images, targets
        self.parameters, self.shuffle, self.seconds = initial(np.random.default_rng(2)), np.random.default_rng(1), 0.0
        for rows in (BATCH, len(images) % BATCH):  # a first call compiles, or loads what was compiled
            self.gradients(np.arange(rows))

    def gradients(self, batch):
        return gradients(self.library, self.images[batch], self.targets[batch], self.parameters)

    def learn(self, epochs):
        """Passes over the training set in batches; returns all gradients."""
        seen, start = [], time.perf_counter()
        for _ in range(epochs):
            order = self.shuffle.permutation(len(self.images))
            for batch in np.split(order, range(BATCH, len(order), BATCH)):
                _, found = self.gradients(batch)
                for (W, b), (dW, db) in zip(self.parameters, found, strict=True):
                    W -= RATE * dW
                    b -= RATE * db
                seen += [array for pair in found for array in pair]
        self.seconds += time.perf_counter() - start
        return seen

    def row(self, name, images, targets):
        """The row of the closing table: loss on the training set, accuracy on these images, seconds."""
        loss, _ = self.gradients(slice(None))
        _, S = forward(self.library, images, self.parameters)
        return name, f"{loss:.6f}", f"{(S.argmax(-1) == targets).mean():.4f}", f"{self.seconds:.3f}"


def run(epochs):
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    console = Console()
    training, held_out = digits()
    by_numpy, by_fastgrad = Learner(PlainNumPy, *training), Learner(fastgrad, *training)
    apart, count = 0.0, 0
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("NumPy and fastgrad", total=epochs)
        for done in range(0, epochs, TURN):
            turn = min(TURN, epochs - done)
            for one, other in zip(by_numpy.learn(turn), by_fastgrad.learn(turn), strict=True):
                apart, count = max(apart, float(np.abs(one - other).max())), count + 1
            progress.advance(bar, turn)
    table = Table(title=f"{len(training[0])} digits, {epochs} epochs of batches of {BATCH}")
    for column in ("", "training loss", "held-out accuracy", "seconds"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row(*by_numpy.row("NumPy", *held_out))
    table.add_row(*by_fastgrad.row("fastgrad", *held_out))
    console.print(table)
    console.print(f"Largest difference between any two of their {count} gradients: {apart:.1e}")
