"""Public functions inside a user's own @njit function: as from Python, bit for bit and error for error."""

import itertools
import sys
from functools import partial

import inside_njit
import numba
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numba.core.runtime import _nrt_python, rtsys
from problems import LAYOUTS, assert_same_bits, seeds, sizes
from subprocesses import run
from test_rules import as_given, as_tuple, each, every_function

import fastgrad as fg
from fastgrad._functions import FUNCTIONS

RNG = np.random.default_rng(0)


def draw(data, function, dtype, lead):
    most = 5 if function.name.endswith("jacobian") else 40
    lead = tuple(data.draw(st.integers(0, 5 if len(lead) > 1 else 17)) for _ in lead)
    chosen = {letter: data.draw(sizes(most), letter) for letter in function.sizes}
    return function.arguments(np.random.default_rng(data.draw(seeds)), dtype, lead, **chosen)


def good(function, dtype=np.float64):
    return function.arguments(RNG, dtype, (6,), **dict(zip(function.sizes, (4, 3), strict=False)))


KINDS = (np.float32, "strided", (1, 1)), (np.float64, "Fortran", ())  # each a compilation, so functions take turns


@pytest.mark.parametrize(
    ("function", "kind"), list(zip(FUNCTIONS.values(), itertools.cycle(KINDS))), ids=list(FUNCTIONS)
)
@settings(max_examples=15)
@given(data=st.data())
def test_the_same_bits_as_from_python(function, kind, data):
    dtype, layout, lead = kind
    arguments = {name: LAYOUTS[layout](array) for name, array in draw(data, function, dtype, lead).items()}
    assert_same_bits(function.call(inside_njit, arguments), function.call(fg, arguments))


@every_function
@settings(max_examples=15)
@given(data=st.data())
def test_wrong_shapes_raise_what_python_raises(function, data):
    """With a size changed anywhere: the same message, or where that fits, the same result."""
    arguments = draw(data, function, np.float32, (1,))
    name = data.draw(st.sampled_from(sorted(arguments)))
    shape = list(arguments[name].shape)
    assume(shape)
    shape[data.draw(st.integers(0, len(shape) - 1))] += data.draw(st.sampled_from([-1, 1, 2]))
    arguments[name] = np.ones(np.maximum(shape, 0), arguments[name].dtype)
    compare(function, arguments)


def compare(function, arguments, **options):
    """A call gives the same bits as from Python, or raises a ValueError with the same message."""
    outcomes = []
    for module in (fg, inside_njit):
        try:
            outcomes.append(function.call(module, arguments, **options))
        except ValueError as error:
            outcomes.append(str(error))
    if isinstance(outcomes[0], str):
        assert outcomes[0] == outcomes[1]
    else:
        assert_same_bits(outcomes[1], outcomes[0])


def allocations(call):
    """How often a call asks Numba for memory: for what it makes there, and for each array that comes from Python."""
    call()  # compiled without statistics
    _nrt_python.memsys_enable_stats()
    try:
        before = rtsys.get_allocation_stats().alloc
        call()
        return rtsys.get_allocation_stats().alloc - before
    finally:
        _nrt_python.memsys_disable_stats()


@each(lambda function: function.has_out)
def test_out(function):
    """Contiguous and strided; and memory that is not right."""
    arguments = good(function)
    expected = function.outs(as_tuple(function.call(fg, arguments)))
    for layout in ("C", "strided"):
        outs = [LAYOUTS[layout](np.full_like(result, 7)) for result in expected]
        got = function.outs(as_tuple(function.call(inside_njit, arguments, out=as_given(outs))))
        for one, other, result in zip(got, outs, expected, strict=True):
            assert np.shares_memory(one, other)
            assert_same_bits(other, result)
        if layout == "C":  # nothing but what its kernel needs, a loss, and Numba for each array that comes from Python
            arrays = [a for a in arguments.values() if isinstance(a, np.ndarray)]
            calls = [partial(function.call, module, arguments, out=as_given(outs)) for module in (inside_njit, fg)]
            here, from_python = map(allocations, calls)
            assert here <= from_python + len(arrays) + len(outs) + function.is_loss

    name, array = next(iter(arguments.items()))
    buffer = np.concatenate([array.ravel(), np.empty(expected[0].size)])
    arguments[name] = buffer[: array.size].reshape(array.shape)
    overlapping = buffer[1 : expected[0].size + 1].reshape(expected[0].shape)
    for wrong in (overlapping, np.empty([size + 1 for size in expected[0].shape])):
        compare(function, arguments, out=as_given([wrong, *expected[1:]]))


@each(lambda function: function.has_accumulate)
def test_accumulate(function):
    arguments = good(function, np.float32)
    expected = as_tuple(function.call(fg, arguments))
    for layout in ("C", "strided"):
        outs = [LAYOUTS[layout](np.full_like(result, 7)) for result in expected]
        for times in (1, 2):
            function.call(inside_njit, arguments, out=as_given(outs), accumulate=times > 1)
            sums = tuple(r + r if times > 1 else r for r in expected)
            assert_same_bits(tuple(outs), sums)
    without = numba.njit(lambda *args: fg.affine_db(*args, None, True))
    with pytest.raises(ValueError, match="affine_db: accumulate=True adds to out, which must be given"):
        without(np.ones((2, 3)))


@each(lambda function: function.has_axis)
def test_any_axis(function):
    arguments = function.arguments(RNG, np.float64, (3, 4), k=5)
    for axis in range(-4, 4):
        compare(function, arguments, axis=axis)


def test_numbers_that_are_too_large_for_int64():
    """2⁶⁴ − 100 is −100 as an int64, which is the class to ignore; and 2⁶⁴ − 1 would be the last axis."""
    S, large = RNG.standard_normal((3, 5)), np.uint64(2**64 - 100)
    target = np.array([1, 2, large], np.uint64)
    right = target % 5
    for t in (target, right):
        compare(FUNCTIONS["cross_entropy"], {"S": S, "target": t, "weight": None, "sample_weight": None})
    for user, message in (
        (lambda: fg.cross_entropy(S, right, ignore_index=large), "ignore_index is 18446744073709551516 but must fit"),
        (lambda: fg.softmax(S, large), "axis is 18446744073709551516 but S has shape"),
    ):
        for call in (user, numba.njit(user)):
            with pytest.raises(ValueError, match=message):
                call()
    user = numba.njit(lambda S, axis, ignored, t: (fg.softmax(S, axis), fg.cross_entropy(S, t, ignore_index=ignored)))
    expected = fg.softmax(S, 1), fg.cross_entropy(S, right, ignore_index=2)
    assert_same_bits(user(S, np.uint64(1), np.uint64(2), right), (expected[0], np.float64(expected[1])))


@each(lambda function: function.signature.inplace)
def test_out_may_be_an_input(function):
    arguments = good(function)
    (expected,) = function.outs(as_tuple(function.call(fg, arguments)))
    name = "S" if function.is_loss else list(arguments)[-1]
    function.call(inside_njit, arguments, out=arguments[name])
    assert_same_bits(arguments[name], expected)


def test_out_is_no_input_of_another_dtype():
    both = np.ones((2, 4), np.float32)
    S, Y = np.lib.stride_tricks.as_strided(both, (1, 2), (16, 8)), both.view(np.float64)[:1]
    for module in (fg, inside_njit):
        with pytest.raises(ValueError, match="out overlaps Y"):
            module.tanh_vjp(np.ones((1, 2)), S, out=Y)


def test_out_may_interleave_with_an_input():
    """Bounds overlap, and no element does: Python is asked, and says so."""
    both = np.ones((4, 6))
    S, Y = both[:, ::2], both[:, 1::2]
    inside_njit.softmax(S, out=Y)
    assert_same_bits(Y, fg.softmax(np.ones((4, 3))))


def test_mixed_unaligned_and_read_only_arrays():
    X, W = RNG.standard_normal((5, 3)), RNG.standard_normal((4, 3)).astype(np.float32)
    expected = fg.affine(X, W)
    for layout in ("unaligned", "read-only", "reversed"):
        assert_same_bits(inside_njit.affine(LAYOUTS[layout](X), W), expected)


def test_optional_arguments():
    X, W, b = RNG.standard_normal((5, 3)), RNG.standard_normal((4, 3)), RNG.standard_normal(4)
    assert_same_bits(numba.njit(lambda X, W: fg.affine(X, W))(X, W), fg.affine(X, W))
    assert_same_bits(numba.njit(lambda X, W, b: fg.affine(X, b=b, W=W))(X, W, b), fg.affine(X, W, b))
    assert_same_bits(
        numba.njit(lambda X, W, b: fg.affine_jvp(X, W, None, W, b))(X, W, b), fg.affine_jvp(X, W, dW=W, db=b)
    )


WRONG_TYPES = [
    (lambda: (np.ones((2, 3), int), np.ones((4, 3))), "affine: X is array(int64, 2d, C) but needs an array of float32"),
    (lambda: (np.ones((2, 3)), np.ones(3)), "affine: W has 1 axis but needs 2 axes, (m, d)"),
    (lambda: (1.0, np.ones((4, 3))), "affine: X is float64 but needs an array of float32 or float64"),
    (lambda: (np.ones((2, 3)), np.ones((4, 3)), "b"), "affine: b is unicode_type but needs an array of float32 or"),
    (lambda: (np.ones((2, 3)), np.ones((4, 3)), None, np.ones((2, 4), np.float32)), "affine: out is array(float32"),
    (lambda: (np.ones((2, 3)),), "affine: missing a required argument: 'W'"),
]


WRONG_LOSSES = [
    (
        lambda S: (S, S[0].astype(bool)),
        "target is array(bool, 1d, C) but needs an array of integers, float32 or float64",
    ),
    (lambda S: (S, None), "target is none but needs an array of integers, float32 or float64"),
    (lambda S: (S, S, None, None, 0.5), "ignore_index is float64 but must be one integer"),
    (lambda S: (S, S, None, None, -100, 1j), "label_smoothing is complex128 but must be a number"),
    (lambda S: (S, S, None, None, -100, 0.0, 0.0, "all"), 'reduction is unicode_type but must be "none" or'),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG_LOSSES)
def test_wrong_types_of_losses_do_not_compile(arguments, message):
    user = numba.njit(lambda *args: fg.cross_entropy(*args))
    with pytest.raises(numba.TypingError) as caught:
        user(*arguments(np.ones((3, 4))))
    assert f"cross_entropy: {message}" in str(caught.value)


@pytest.mark.parametrize(("arguments", "message"), WRONG_TYPES)
def test_wrong_types_do_not_compile(arguments, message):
    user = numba.njit(lambda *args: fg.affine(*args))
    with pytest.raises(numba.TypingError) as caught:
        user(*arguments())
    assert message in str(caught.value)


def test_a_string_that_chooses_the_formula():
    X = RNG.standard_normal(20)
    for approximate in ("none", "tanh"):
        assert_same_bits(inside_njit.gelu(X, approximate=approximate), fg.gelu(X, approximate))
    with pytest.raises(numba.TypingError, match='must be "none" or "tanh", written out'):
        numba.njit(lambda X: fg.gelu(X, approximate="erf"))(X)


@each(lambda function: function.family == "cross_entropy")
def test_losses(function):
    """Every kind of target and option: the bits of Python, its errors, and its scalars."""
    k, rows = 5, 7
    S, P = RNG.standard_normal((rows, k)), fg.softmax(RNG.standard_normal((rows, k)))
    target, weight, sample_weight = RNG.integers(0, k, rows), RNG.random(k), RNG.random(rows)
    every_target = [target, P, 2 * P, target + 1, target[1:], target.astype(np.int32)]
    every_weight = [(weight, sample_weight), (-weight, sample_weight), (None, None), (weight, None)]
    for reduction, targets, weights in (
        ("mean", every_target, every_weight),
        ("sum", every_target[:-1], every_weight[:2]),
        ("none", every_target[:-1], every_weight[:2]),
    ):
        for t in targets:
            for w, s in weights:
                for ignored, smoothing, z in ((-100, 0.0, 0.0), (int(target[0]), 0.25, 0.5), (-100, 1.5, 0.0)):
                    options = {"ignore_index": ignored, "label_smoothing": smoothing, "z_loss": z}
                    given = {"S": S, "target": t, "weight": w, "sample_weight": s}
                    compare(function, given, **options, reduction=reduction)
    compare(function, {"S": S[:0], "target": target[:0]}, reduction="mean")


def test_the_upstream_gradient_of_a_loss():
    S, target = RNG.standard_normal((7, 5)), RNG.integers(0, 5, 7)
    for options in ({"dloss": 2.5}, {"dloss": RNG.standard_normal(7), "reduction": "none"}):
        expected = fg.cross_entropy_value_and_grad(S, target, **options)
        assert_same_bits(inside_njit.cross_entropy_value_and_grad(S, target, **options), expected)


def test_in_the_users_prange():
    @numba.njit(parallel=True)
    def each(S, Y, axis):
        for i in numba.prange(len(S)):
            fg.softmax(S[i], axis, Y[i])

    S = RNG.standard_normal((50, 6, 40))
    Y = np.empty_like(S)
    each(S, Y, -1)
    assert_same_bits(Y, fg.softmax(S))


def test_in_the_users_try():
    @numba.njit
    def attempt(X, W):
        try:
            return fg.affine(X, W)
        except Exception:
            return np.zeros((1, 1))

    X = RNG.standard_normal((5, 3))
    assert_same_bits(attempt(X, X), fg.affine(X, X))
    assert attempt(X, X[:, 1:]).shape == (1, 1)


def test_no_reference_is_lost():
    """The arrays made and the copies are freed, but what is returned."""
    user = inside_njit.compiled("affine_vjp", 3)
    arguments = [LAYOUTS["strided"](np.ones(shape)) for shape in ((6, 3), (6, 4), (3, 4))]
    user(*arguments)  # compiled without statistics
    held = []
    _nrt_python.memsys_enable_stats()
    try:
        for times in (1, 100):
            for _ in range(times):
                user(*arguments)
            stats = rtsys.get_allocation_stats()
            held.append((stats.alloc - stats.free, *map(sys.getrefcount, arguments)))
    finally:
        _nrt_python.memsys_disable_stats()
    assert held[0] == held[1]


CACHED = """
import numba, numpy as np, fastgrad as fg

@numba.njit
def inner(X):
    return fg.affine_db(X)

@numba.njit(cache=True)
def outer(X):
    return inner(X)

@numba.njit(cache=True, parallel=True)
def parallel(X):
    out = np.empty((4, X.shape[1]))
    for i in numba.prange(4):
        out[i] = fg.affine_db(X)
    return out[3]
"""
CALL = """
    import user, numpy as np
    for function in (user.outer, user.parallel):
        print(function(np.ones((1, 2))).tolist(), sum(function.stats.cache_hits.values()), end=" ")
"""


def test_the_users_cache_is_used_and_never_stale(package, tmp_path):
    """In processes of their own, before and after an edit in a file that the kernel needs: 0 + (0 + 1) becomes 4."""
    (tmp_path / "user.py").write_text(CACHED)
    simd = package / "kernels" / "_simd.py"
    text = simd.read_text()
    edited = text.replace(
        "_operator(operator.add, ir.IRBuilder.fadd,", "_operator(operator.add, lambda b, x, y: b.fadd(b.fadd(x, y), y),"
    )
    assert edited != text
    for source, result in ((text, "[1.0, 1.0]"), (edited, "[4.0, 4.0]")):
        simd.write_text(source)
        for hits in (0, 1):
            assert run(CALL, tmp_path) == f"{result} {hits} {result} {hits}"


def test_importing_compiles_nothing():
    code = """
        import fastgrad as fg
        from fastgrad._functions import FUNCTIONS
        kernels = [f.kernel() for f in FUNCTIONS.values() if not f.is_loss]
        print(sum(len(d.signatures) for kernel in kernels for d in kernel.dispatchers.values()))
    """
    assert run(code) == "0"
