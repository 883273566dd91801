"""One training step of a ReLU network in each library: forward, cross-entropy, backward, gradient descent.

Each function takes the weights and biases of the layers, which a step changes, and returns the step, which returns the
loss.
"""

from types import SimpleNamespace

import fastgrad

from . import with_numpy

_PRODUCTS = "affine", "affine_vjp", "affine_dw", "affine_db"


def _forward(library, weights, biases, X):
    """The input of each layer, and the logits."""
    inputs = [X]
    for W, b in zip(weights[:-1], biases[:-1], strict=True):
        inputs.append(library.relu(library.affine(inputs[-1], W, b)))
    return inputs, library.affine(inputs[-1], weights[-1], biases[-1])


def with_fastgrad(weights, biases, X, target, rate):
    """All gradients are linear in that of the loss: scaled by −rate there, they are added to weights and biases where
    these are, and no array is a gradient of weights."""

    def step():
        inputs, S = _forward(fastgrad, weights, biases, X)
        loss, dY = fastgrad.cross_entropy_value_and_grad(S, target, dloss=-float(rate))
        for layer in range(len(weights) - 1, -1, -1):
            dX = fastgrad.affine_dx(dY, weights[layer]) if layer else None  # before the weights change
            fastgrad.affine_dw(dY, inputs[layer], out=weights[layer], accumulate=True)
            fastgrad.affine_db(dY, out=biases[layer], accumulate=True)
            if layer:
                dY = fastgrad.relu_vjp(dX, inputs[layer])
        return loss

    return step


def _by_hand(library, weights, biases, X, target, rate):
    """The network as one writes it in NumPy, which has no products that add to an array."""

    def step():
        inputs, S = _forward(library, weights, biases, X)
        loss, dY = library.cross_entropy_value_and_grad(S, target)
        for layer in range(len(weights) - 1, -1, -1):
            if layer:
                dX, dW, db = library.affine_vjp(dY, inputs[layer], weights[layer])
                dY = library.relu_vjp(dX, inputs[layer])
            else:
                dW, db = library.affine_dw(dY, X), library.affine_db(dY)
            dW *= rate
            weights[layer] -= dW
            biases[layer] -= rate * db
        return loss

    return step


def with_plain_numpy(*arguments):
    return _by_hand(with_numpy, *arguments)


def with_products_of_numpy(*arguments):
    """The rest by fastgrad: the threads of both share the cores."""
    products = {name: getattr(with_numpy, name) for name in _PRODUCTS}
    return _by_hand(SimpleNamespace(**vars(fastgrad) | products), *arguments)


def with_torch(weights, biases, X, target, rate):
    import torch

    layers = []
    for W, b in zip(weights, biases, strict=True):
        layer = torch.nn.Linear(W.shape[1], W.shape[0])
        layer.weight, layer.bias = (torch.nn.Parameter(torch.from_numpy(value)) for value in (W, b))
        layers += [layer, torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-1])
    descent = torch.optim.SGD(network.parameters(), lr=float(rate))
    X, target = torch.from_numpy(X), torch.from_numpy(target)

    def step():
        descent.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(X), target)
        loss.backward()
        descent.step()
        return loss.detach()

    return step


def with_jax(weights, biases, X, target, rate):
    import jax
    import jax.numpy as jnp

    from . import with_jax as functions

    def loss_of(layers, X, target):
        for W, b in layers[:-1]:
            X = functions.relu(functions.affine(X, W, b))
        return functions.cross_entropy(functions.affine(X, *layers[-1]), target)

    @jax.jit
    def update(layers, X, target):
        loss, gradients = jax.value_and_grad(loss_of)(layers, X, target)
        return loss, jax.tree.map(lambda value, gradient: value - rate * gradient, layers, gradients)

    layers = [(jnp.asarray(W), jnp.asarray(b)) for W, b in zip(weights, biases, strict=True)]
    X, target = jnp.asarray(X), jnp.asarray(target)

    def step():
        nonlocal layers
        loss, layers = jax.block_until_ready(update(layers, X, target))
        return loss

    return step


def with_autograd(weights, biases, X, target, rate):
    import autograd.numpy as anp
    from autograd import value_and_grad

    from .with_autograd import cross_entropy_of

    def loss_of(layers):
        inputs = X
        for W, b in layers[:-1]:
            inputs = anp.maximum(anp.dot(inputs, W.T) + b, 0)
        W, b = layers[-1]
        return cross_entropy_of(anp.dot(inputs, W.T) + b, target)

    def step():
        loss, gradients = value_and_grad(loss_of)(list(zip(weights, biases, strict=True)))
        for W, b, (dW, db) in zip(weights, biases, gradients, strict=True):
            W -= rate * dW
            b -= rate * db
        return loss

    return step


STEPS = {
    "fastgrad": with_fastgrad,
    "numpy": with_plain_numpy,
    "numpy's products": with_products_of_numpy,
    "torch": with_torch,
    "jax": with_jax,
    "autograd": with_autograd,
}
