"""Matrices by columns that kernels take by rows: copied fast, in and out."""

import numpy as np
import pytest
from hypothesis import given
from problems import LONG_EDGES, assert_same_bits, dtypes, long_sizes, seeds
from test_rules import as_given, as_tuple, every_function

import fastgrad as fg
from fastgrad import _arguments
from fastgrad._functions import FUNCTIONS
from fastgrad.kernels.copies import by_rows


@given(dtypes, seeds, long_sizes(), long_sizes())
def test_a_matrix_by_columns_is_copied_as_it_is(dtype, seed, rows, columns):
    A = np.random.default_rng(seed).standard_normal((rows, columns)).astype(dtype)
    around = np.full(A.size + 64, dtype(7))
    B = around[32 : 32 + A.size].reshape(A.shape)
    assert by_rows(np.asfortranarray(A), B) is B
    assert_same_bits(B, A)
    assert (around[:32] == 7).all()
    assert (around[32 + A.size :] == 7).all()


@every_function
@pytest.mark.parametrize("size", LONG_EDGES[:3])
def test_large_matrices_by_columns(function, size, monkeypatch):
    """Whatever is one, inputs or `out`, is copied by the kernel, if it is copied."""
    monkeypatch.setattr(_arguments, "_MANY", 2)
    sizes = dict(zip(function.sizes, (5, 3), strict=False))
    rows = 3 if function.name.endswith("jacobian") else size
    arguments = function.arguments(np.random.default_rng(0), np.float32, (rows,), **sizes)
    expected = as_tuple(function.call(fg, arguments))
    laid_out = {name: np.asfortranarray(array) for name, array in arguments.items()}
    assert_same_bits(as_tuple(function.call(fg, laid_out)), expected)
    if function.has_out:
        for kind in (np.ndarray, np.memmap):
            outs = [np.full_like(result, 7, order="F").view(kind) for result in function.outs(expected)]
            function.call(fg, laid_out, out=as_given(outs))
            assert_same_bits(tuple(outs), tuple(function.outs(expected)))


def test_integers_by_columns():
    """Two leading axes, of more elements than NumPy copies."""
    rng = np.random.default_rng(0)
    S, target = rng.standard_normal((200, 200, 2)), rng.integers(0, 2, (200, 200))
    assert_same_bits(fg.cross_entropy(S, np.asfortranarray(target)), fg.cross_entropy(S, target))


ELEMENT_WISE = [f for f in FUNCTIONS.values() if f.signature.inplace and not f.is_loss]


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (300, 200)])
@pytest.mark.parametrize("function", ELEMENT_WISE, ids=[f.name for f in ELEMENT_WISE])
def test_results_lie_as_arrays_in_fortran_order_do(function, shape):
    """Of what works element by element or along an axis; `out` may lie otherwise, or be an input."""
    *lead, k = shape
    arguments = function.arguments(np.random.default_rng(0), np.float64, tuple(lead), k=k)
    arguments = {name: np.resize(array, shape) for name, array in arguments.items()}
    for axis in range(-len(shape), len(shape)) if function.has_axis else (None,):
        options = {} if axis is None else {"axis": axis}
        laid_out = {name: np.asfortranarray(array) for name, array in arguments.items()}
        expected, got = function.call(fg, arguments, **options), function.call(fg, laid_out, **options)
        assert got.flags.f_contiguous
        assert expected.flags.c_contiguous
        assert_same_bits(got, expected)
        for dtype in (np.float16, np.int64, ">f8"):
            converted = {name: array.astype(dtype, order="K") for name, array in laid_out.items()}
            assert function.call(fg, converted, **options).flags.f_contiguous
        for out in (np.empty(shape), np.empty(shape, order="F"), next(iter(laid_out.values()))):
            assert function.call(fg, laid_out, out=out, **options) is out
            assert_same_bits(out, expected)
    with pytest.raises(ValueError, match=r"out has shape \(2, 1\) but needs"):
        function.call(fg, laid_out, out=np.empty((2, 1), order="F"))
