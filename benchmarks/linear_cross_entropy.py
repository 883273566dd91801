"""Cross-entropy of affine logits; a shape is n×d×k."""

from .common import _OfFunction


class _OfLinearCrossEntropy(_OfFunction):
    letters = "dk"
    shapes = ("64x64x10", "4096x64x10", "512x256x1000")


class LinearCrossEntropy(_OfLinearCrossEntropy):
    function = "linear_cross_entropy"


class LinearCrossEntropyValueAndGrad(_OfLinearCrossEntropy):
    function = "linear_cross_entropy_value_and_grad"
    shapes = ("64x64x10", "128x784x10", "4096x64x10", "512x256x1000", "512x512x32000")
