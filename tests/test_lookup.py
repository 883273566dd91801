"""Tables in registers, in each of the ways that CPUs have."""

import pytest
from subprocesses import run

# Features that Numba is told of, not all of which this CPU needs to have beside AVX2.
CPUS = {
    "this one": {},
    "with AVX2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"},
    "with neither": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
}


@pytest.mark.parametrize("cpu", CPUS)
def test_entries_by_the_last_four_bits_of_a_number(cpu, tmp_path):
    """In one vector and in two, of numbers beyond the table and below 0."""
    code = """
        import numba, numpy as np
        from fastgrad.kernels._loads import load, store
        from fastgrad.kernels._lookup import looked_up
        from fastgrad.kernels._simd import bits, lanes, repeated
        from fastgrad.kernels._vec import PAIR, Constant

        values = tuple((np.arange(16.0) ** 2 - 3).tolist())
        TABLE = Constant(values, ())

        @numba.njit
        def look_up(x, result, twice):
            for i in range(0, x.size, lanes(x)):
                index = bits(load(x, i))
                store(result, i, looked_up(index, TABLE))
                store(twice, 2 * i, looked_up(bits(repeated(PAIR, load(x, i))), TABLE))

        numbers = np.concatenate([np.arange(-40, 40), [264, 2**31 - 1, -(2**31)], np.arange(77)]).astype(np.int32)
        result, twice = np.empty(160, np.float32), np.empty(320, np.float32)
        look_up(numbers.view(np.float32), result, twice)
        expected = np.array(values, np.float32)[numbers & 15]
        pairs = np.repeat(expected.reshape(-1, 1, 16), 2, axis=1)
        print(np.array_equal(result, expected), np.array_equal(twice, pairs.ravel()))
    """
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path), **CPUS[cpu]) == "True True"
