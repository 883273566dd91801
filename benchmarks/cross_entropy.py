"""The losses on logits; a shape is n×k."""

from .common import benchmarks_of

globals().update(benchmarks_of("cross_entropy"))
