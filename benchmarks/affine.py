"""The affine functions; a shape is n×d×m."""

from .common import benchmarks_of

globals().update(benchmarks_of("affine"))
