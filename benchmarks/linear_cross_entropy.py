"""Cross-entropy of affine logits; a shape is n×d×k."""

from .common import benchmarks_of

globals().update(benchmarks_of("linear_cross_entropy"))
