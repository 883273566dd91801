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
    """In one vector and in two, of numbers beyond the table and below 0; a polynomial with such coefficients."""
    code = """
        import numba, numpy as np
        from fastgrad.kernels._loads import load, store
        from fastgrad.kernels._lookup import looked_up, polynomial
        from fastgrad.kernels._simd import bits, lanes, repeated, to_float
        from fastgrad.kernels._vec import PAIR, Constant

        values = tuple((np.arange(16.0) ** 2 - 3).tolist())
        TABLE = Constant(values, ())
        TABLES = Constant((values, values[::-1], values[3:] + values[:3]), ())

        @numba.njit
        def look_up(x, result, twice, value):
            for i in range(0, x.size, lanes(x)):
                index = bits(load(x, i))
                store(result, i, looked_up(index, TABLE))
                store(twice, 2 * i, looked_up(bits(repeated(PAIR, load(x, i))), TABLE))
                store(value, i, polynomial(index, to_float(index), TABLES))

        numbers = np.concatenate([np.arange(-40, 40), [264, 2**31 - 1, -(2**31)], np.arange(77)]).astype(np.int32)
        result, twice, value = (np.empty(size, np.float32) for size in (160, 320, 160))
        look_up(numbers.view(np.float32), result, twice, value)
        expected = np.array(values, np.float32)[numbers & 15]
        pairs = np.repeat(expected.reshape(-1, 1, 16), 2, axis=1)
        c0, c1, c2 = (np.array(table, np.float32)[numbers & 15].astype(float) for table in TABLES.values[4])
        t = numbers.astype(np.float32).astype(float)
        inner = (c1 + c2 * t).astype(np.float32)
        print(np.array_equal(result, expected), np.array_equal(twice, pairs.ravel()))
        print(np.array_equal(value, (c0 + inner * t).astype(np.float32)))
    """
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path), **CPUS[cpu]).split() == ["True"] * 3
