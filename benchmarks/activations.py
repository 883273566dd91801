"""The activations and their gradients, on n elements."""

from .common import benchmarks_of

globals().update(benchmarks_of("activations"))
