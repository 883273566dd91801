"""How Python calls a kernel: what it takes, what it makes, what it refuses, and that it keeps and loses nothing."""

import ctypes
import gc
import sys
import tracemalloc

import numpy as np
import pytest
from problems import LAYOUTS, assert_same_bits
from test_rules import as_given, as_tuple, every_function

import fastgrad as fg
from fastgrad.kernels import activations, affine, cross_entropy, linear_cross_entropy, softmax
from fastgrad.kernels._jit import DTYPES
from fastgrad.kernels._wrapper import MISFIT, NOT_PLAIN, ArrayFields, DtypeFields, RefusedError


def refused(kernel, *args):
    """Why a kernel refuses."""
    with pytest.raises(RefusedError) as error:
        kernel(*args)
    return error.value.args[0]


@pytest.mark.parametrize("array", [np.ones((2, 3, 4)), np.ones(5, np.float32)[1::2], np.ones((), ">i4")])
def test_arrays_in_memory_are_as_they_are_read(array):
    fields = ArrayFields.from_address(id(array))
    assert fields.type == id(np.ndarray)
    assert (fields.data, fields.ndim) == (array.ctypes.data, array.ndim)
    for place, values in ((fields.shape, array.shape), (fields.strides, array.strides)):
        assert not values or tuple((ctypes.c_int64 * len(values)).from_address(place)) == values
    assert fields.dtype == id(array.dtype)
    assert fields.flags & 0xFFFF == array.flags.num & 0xFFFF
    dtype = DtypeFields.from_address(fields.dtype)
    assert (dtype.type, dtype.num) == (id(type(array.dtype)), array.dtype.num)
    assert (dtype.kind + dtype.char + dtype.byteorder).decode() == (
        array.dtype.kind + array.dtype.char + array.dtype.byteorder
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 0, 3), (1, 2, 1, 2), (1,) * 60])
def test_any_leading_axes(lead, dtype):
    """As the rows that they are, without a way through Python; results of no axes alone are left to Python."""
    rng = np.random.default_rng(0)
    X, dY = (rng.standard_normal((*lead, size)).astype(dtype) for size in (5, 4))
    W, b = rng.standard_normal((4, 5)).astype(dtype), rng.standard_normal(4).astype(dtype)
    fg.affine_vjp(dY, X, W), fg.affine(X, W, b), fg.softmax(X), fg.logsumexp(X), fg.relu(X)  # compiled and linked
    rows = X.reshape(-1, 5)
    Y = affine.affine[dtype](X, W, b, None, False)
    assert Y.dtype == dtype
    assert Y.flags.owndata
    assert_same_bits(Y, fg.affine(rows, W, b).reshape(*lead, 4))
    dX, dW, db = affine.affine_vjp[dtype](dY, X, W, None, None, None, False)
    of_rows = fg.affine_vjp(dY.reshape(-1, 4), rows, W)
    assert_same_bits((dX, dW, db), (of_rows[0].reshape(X.shape), *of_rows[1:]))
    assert_same_bits(softmax.softmax[dtype](X, None, 1), fg.softmax(rows).reshape(X.shape))
    assert_same_bits(activations.relu[dtype](X, None), fg.relu(rows.reshape(-1)).reshape(X.shape))
    if lead:
        assert_same_bits(softmax.logsumexp[dtype](X, None, 1), fg.logsumexp(rows).reshape(lead))
    else:
        assert refused(softmax.logsumexp[dtype], X, None, 1) == NOT_PLAIN


@pytest.mark.parametrize("dtype", DTYPES)
def test_leading_axes_have_to_be_the_same(dtype):
    W = np.ones((4, 5), dtype)
    fg.affine_dw(np.ones((6, 4), dtype), np.ones((6, 5), dtype))
    for lead, other in (((2, 3), (3, 2)), ((6,), (2, 3)), ((2, 3), (6,)), ((6,), ()), ((2, 3), (1, 2, 3))):
        dY, X = np.ones((*lead, 4), dtype), np.ones((*other, 5), dtype)
        assert refused(affine.affine_dw, dY, X, None, False) == NOT_PLAIN
        assert refused(affine.affine_dx, dY, W, X, False) == NOT_PLAIN
        with pytest.raises(ValueError, match="has shape"):
            fg.affine_dw(dY, X)
        with pytest.raises(ValueError, match="has shape"):
            fg.affine_dx(dY, W, out=X)
    assert refused(affine.affine_dx, np.ones((), dtype), W, None, False) == NOT_PLAIN
    assert refused(affine.affine_dx, np.ones((6, 4), dtype), W[0], None, False) == NOT_PLAIN
    assert refused(affine.affine_dx, np.ones((6, 4), dtype), W[None], None, False) == NOT_PLAIN
    assert refused(affine.affine_dx, np.ones((6, 3), dtype), W, None, False) == MISFIT


@pytest.mark.parametrize("dtype", DTYPES)
def test_matrices_by_columns(dtype):
    """Are taken as they lie, where the signature says so; not more axes, nor rows that lie apart, nor as outputs."""
    rng = np.random.default_rng(0)
    dY, X, W = (rng.standard_normal(shape).astype(dtype) for shape in ((6, 4), (6, 5), (4, 5)))
    target = rng.integers(0, 4, 6)
    X_F, W_F = map(np.asfortranarray, (X, W))
    options = -100, 0.0, 0.0, 1.0, cross_entropy.MEAN, *linear_cross_entropy.SETTINGS
    rest = None, target, None, None, None, None, None, None, None, *options
    expected = fg.affine(X, W), fg.affine_vjp(dY, X, W), fg.linear_cross_entropy(X, W, None, target)
    assert_same_bits(affine.affine[dtype](X_F, W_F, None, None, False), expected[0])
    assert_same_bits(affine.affine_vjp[dtype](dY, X_F, W.T.copy().T, None, None, None, False), expected[1])
    linear_cross_entropy.of_indices(X, W_F, *rest)  # compiled and linked
    loss, *_ = linear_cross_entropy.of_indices[dtype](X, W_F, *rest)
    assert loss[0] == expected[2]
    assert refused(linear_cross_entropy.of_indices[dtype], X_F, W, *rest) == NOT_PLAIN
    other = np.asfortranarray(rng.standard_normal((2, 3, 5)).astype(dtype))
    assert_same_bits(fg.affine(other, W), fg.affine(other.copy(order="C"), W))
    for wrong in (other, np.repeat(X_F, 2, axis=0)[::2], X_F[::-1]):
        assert refused(affine.affine[dtype], wrong, W, None, None, False) == NOT_PLAIN
    assert refused(affine.affine[dtype], X, W, None, np.asfortranarray(dY), False) == NOT_PLAIN


class Subclass(np.ndarray):
    pass


def of_a_subclass(array):
    return array.view(Subclass) if isinstance(array, np.ndarray) else array


def without(_):
    return None


read_only = LAYOUTS["read-only"]
CHANGES = [
    list,
    without,
    of_a_subclass,
    read_only,
    *(LAYOUTS[name] for name in ("strided", "reversed", "unaligned", "byte-swapped")),
    lambda array: array.astype(np.float16),
    lambda array: array.astype(np.int64),
    lambda array: array.astype(np.float32 if array.dtype == np.float64 else np.float64),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("changed", CHANGES)
def test_what_is_not_plain_is_refused(changed, dtype):
    """Whatever argument it is; but inputs may be read-only, and an output that is None is made."""
    dY, Y, out = np.ones((3, 7), dtype)
    expected = fg.softmax_vjp(dY, Y)
    kernel = softmax.softmax_product[dtype]
    if changed is read_only:
        assert_same_bits(kernel(changed(dY), changed(Y), None, False, 1), expected)
    else:
        assert refused(kernel, changed(dY), Y, None, False, 1) == NOT_PLAIN
        assert refused(kernel, dY, changed(Y), None, False, 1) == NOT_PLAIN
    other = changed(out)
    if other is None:
        assert_same_bits(kernel(dY, Y, other, False, 1), expected)
    else:
        assert refused(kernel, dY, Y, other, False, 1) == NOT_PLAIN
    assert (out == 1).all()
    assert refused(kernel, dY, Y, False, False, 1) == NOT_PLAIN  # it is not optional


@every_function
@pytest.mark.parametrize("lead", [(3,), (2, 3)])
def test_subclasses_of_arrays(function, lead):
    """What is made is an array as ever, what is given is filled and returned."""
    sizes = dict.fromkeys(function.sizes, 4)
    arguments = function.arguments(np.random.default_rng(0), np.float64, lead, **sizes)
    expected = as_tuple(function.call(fg, arguments))
    changed = {name: of_a_subclass(array) for name, array in arguments.items()}
    results = as_tuple(function.call(fg, changed))
    assert [type(result) for result in results] == [type(result) for result in expected]
    assert_same_bits(results, expected)
    if function.has_out:
        outs = [of_a_subclass(np.full_like(array, np.nan)) for array in function.outs(expected)]
        results = function.outs(as_tuple(function.call(fg, arguments, out=as_given(outs))))
        assert all(result is out for result, out in zip(results, outs, strict=True))
        assert_same_bits(results, function.outs(expected))


def test_dtypes_that_are_equal():
    S, target = np.ones((2, 3)), np.zeros(2, np.int64)
    expected = fg.cross_entropy(S, target)
    same = np.dtype(np.float64, metadata={"of": "the user"})
    for logits in (S.astype(same), S.view(S.dtype.newbyteorder("<" if sys.byteorder == "little" else ">"))):
        for indices in (target, target.view("q"), target.view("l"), target.view(np.dtype("i8", metadata={"a": 1}))):
            loss, left_out = cross_entropy.of_indices[logits.dtype](
                logits, indices, None, None, None, None, False, -100, 0.0, 0.0, 1.0, cross_entropy.MEAN
            )
            assert loss[0] == expected
            assert left_out is False
    for wrong in (target.astype(np.int32), target.view(np.uint64), target.astype(float)):
        assert_same_bits(fg.cross_entropy(S, wrong if wrong.dtype != float else np.eye(3)[[0, 0]]), expected)
        args = S, wrong, None, None, None, None, False, -100, 0.0, 0.0, 1.0, cross_entropy.MEAN
        assert refused(cross_entropy.of_indices[S.dtype], *args) == NOT_PLAIN


def test_what_is_given_for_nothing_has_its_shape():
    """An array without elements is not a missing one."""
    S, target = np.ones((2, 3)), np.zeros(2, np.int64)
    with pytest.raises(ValueError, match=r"out has shape \(0, 3\) but needs \(2, 3\)"):
        fg.cross_entropy_value_and_grad(S, target, out=np.empty((0, 3)))
    out = np.empty((2, 4)), np.empty((3, 4)), np.empty(0)
    with pytest.raises(ValueError, match=r"out\[2\] \(db\) has shape \(0,\) but needs \(3,\)"):
        fg.linear_cross_entropy_value_and_grad(np.ones((2, 4)), np.ones((3, 4)), None, target, out=out)
    with pytest.raises(ValueError, match=r"b has shape \(0,\)"):
        fg.affine(S, S, np.empty(0))
    assert fg.affine(S, np.empty((0, 3)), np.empty(0)).shape == (2, 0)


def test_options_are_converted_or_raise():
    S = np.ones((2, 3))
    dS, out = fg.softmax_vjp(S, S), np.ones((2, 3))
    kernel = softmax.softmax_product[S.dtype]
    assert_same_bits(kernel(S, S, out, [1], np.int8(1)), dS + 1)
    with pytest.raises(ValueError, match="ambiguous"):
        kernel(S, S, out, np.ones(2), 1)
    with pytest.raises((TypeError, ValueError)):
        kernel(S, S, out, False, "no number")
    for wrong in ((), (S,), (S, S, out, False), (S, S, out, False, 1, 1)):
        with pytest.raises(TypeError):
            kernel(*wrong)


def calls():
    """Calls that return, are refused and fail, each time it is walked."""
    S, target, out, W = np.ones((50, 30)), np.zeros(50, np.int64), np.empty((50, 30)), np.ones((20, 30))
    options = -100, 0.0, 0.0, 1.0, cross_entropy.NONE
    of_indices, dtype = cross_entropy.of_indices[S.dtype], S.dtype
    yield lambda: softmax.softmax[dtype](S, out, 1) is out
    yield lambda: affine.affine_vjp[dtype](W @ S.T, W, S, None, None, None, False)
    yield lambda: affine.affine_vjp[dtype](S @ W.T, S, W, out, None, None, False)[0] is out
    yield lambda: of_indices(S, target, None, None, None, None, False, *options)
    yield lambda: refused(of_indices, S, target + 100, None, None, None, None, None, *options) == MISFIT
    yield lambda: refused(affine.affine_vjp[dtype], S, S, W, None, None, None, False) == MISFIT
    yield lambda: refused(affine.affine_vjp[dtype], S @ W.T, S, W, None, None, False, False) == NOT_PLAIN
    yield lambda: fails(of_indices, S, target, None, None, None, None, None, *options[:4], "no number")


def fails(kernel, *args):
    with pytest.raises(ValueError, match="no number"):
        kernel(*args)
    return True


def test_references_and_memory_are_given_back():
    fg.softmax(np.ones((50, 30))), fg.affine_vjp(np.ones((50, 20)), np.ones((50, 30)), np.ones((20, 30)))
    fg.cross_entropy(np.ones((50, 30)), np.zeros(50, np.int64))
    for call in calls():
        objects = [cell.cell_contents for cell in call.__closure__] + [None, False, np.ndarray, np.dtype(float)]
        assert call()
        gc.collect()
        before = [sys.getrefcount(obj) for obj in objects]
        tracemalloc.start()
        first, _ = tracemalloc.get_traced_memory()
        for _ in range(100):
            call()
        gc.collect()  # errors hold what is around them
        last, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        after = [sys.getrefcount(obj) for obj in objects]
        assert last - first < 50 * 30 * 8
        assert max(abs(a - b) for a, b in zip(after, before, strict=True)) < 50


def test_a_result_that_memory_is_too_small_for():
    X = np.ones((2**20, 1))
    W = np.lib.stride_tricks.as_strided(np.ones(1), (2**40, 1), (0, 0))
    fg.affine(X[:2], X[:2])
    with pytest.raises(RefusedError):
        affine.affine[X.dtype](X, W, None, None, False)
    with pytest.raises(MemoryError):
        softmax.softmax_jacobian[X.dtype](np.ones((2, 2**21)), None)
