"""The softmax family; a shape is n×k."""

from .common import benchmarks_of

globals().update(benchmarks_of("softmax"))
