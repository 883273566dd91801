"""Parts: a call links those that it needs, whatever its shapes are, before it runs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import DTYPES, assert_same_bits, long_sizes, sizes
from test_rules import as_given, as_tuple

import fastgrad as fg
from fastgrad._functions import FUNCTIONS
from fastgrad._warmup import every_kernel
from fastgrad.kernels import linear_cross_entropy
from fastgrad.kernels._parts import Part
from fastgrad.kernels._region import state

PARTS = [kernel for _, _, kernel in every_kernel() if isinstance(kernel, Part)]
FAMILIES = "affine", "cross_entropy", "linear_cross_entropy"
USERS = [f for f in FUNCTIONS.values() if f.family in FAMILIES and f.name != "affine_jacobian"]


@pytest.mark.parametrize("function", USERS, ids=[f.name for f in USERS])
@given(
    st.one_of(sizes(40), long_sizes(), st.just(1025)),
    st.data(),
    st.sampled_from(DTYPES),
    st.sampled_from([2000, 11 * 2**20]),
    st.booleans(),
    st.booleans(),
)
def test_a_call_links_what_it_needs(function, rows, data, dtype, room, adds, in_region):
    """The slots of all parts are emptied: a call of one that was not linked again would end this process."""
    each = {letter: data.draw(sizes(40, least=letter == "k"), label=letter) for letter in function.sizes}
    arguments = function.arguments(np.random.default_rng(0), dtype, (rows,), **each)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_cross_entropy, "SETTINGS", (room,))
        if in_region:
            patch.setattr(state, "least_work", 0.0)
            patch.setattr(state, "waking_work", 0.0)

        def call():
            results = as_tuple(function.call(fg, arguments))
            if adds and function.has_accumulate:
                function.call(fg, arguments, out=as_given(results), accumulate=True)
            return results

        expected = call()
        for part in PARTS:
            patch.setattr(part.slots[np.dtype(dtype).name], "value", None)  # @njit functions count on those they linked
        assert_same_bits(call(), expected)
        assert not state.taken
