"""The same bits: for any number of threads, threading layer, CPU, place in a batch, layout, with `out`, inside `@njit`.

`bits.json` holds a hash of every function's results. A new function, or one whose order of operations changes on
purpose, gets its own by `python tests/reproducibility.py --write`.
"""

import importlib.util
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import inside_njit
import numpy as np
import pytest
import reproducibility
from problems import DTYPES, LAYOUTS, WRITEABLE, assert_same_bits
from reproducibility import arguments, as_list, bits, large_problems, small_problems
from test_rules import every_function

import fastgrad as fg
from fastgrad._functions import FUNCTIONS
from fastgrad.kernels import _cache
from fastgrad.kernels._vec import cpu_features


@dataclass
class Process:
    """One that runs every function, with so many threads one after the other, and what is set in its environment."""

    threads: tuple
    environment: dict
    dtypes: tuple = DTYPES


# Where the CPU has AVX-512, compiled for one that has not: other tiles, and vectors of half the width. A dtype each, to
# share out the compilation.
AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"}
PROCESSES = {"omp": Process((1, 2, 3, 7), {"NUMBA_THREADING_LAYER": "omp"})}
if "avx512f" in cpu_features():
    PROCESSES |= {f"avx2 {np.dtype(dtype)}": Process((1,), AVX2, (dtype,)) for dtype in DTYPES}
for layer in ("workqueue", *(["tbb"] if importlib.util.find_spec("tbb") else [])):
    PROCESSES[layer] = Process((2, 7), {"NUMBA_THREADING_LAYER": layer})


def run(name):
    """What the process prints; each CPU has a cache of its own, as processes that write to one lose each other's."""
    process = PROCESSES[name]
    environment = {"NUMBA_NUM_THREADS": str(max(process.threads))} | process.environment
    if "NUMBA_CPU_NAME" in environment and _cache.directory():
        environment["NUMBA_CACHE_DIR"] = str(Path(_cache.directory(), name.replace(" ", "-")))
    tests, package = Path(reproducibility.__file__).parent, Path(fg.__file__).parents[1]
    finished = subprocess.run(
        [
            sys.executable,
            reproducibility.__file__,
            *(np.dtype(d).name for d in process.dtypes),
            *map(str, process.threads),
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(package), str(tests)])} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.fixture(scope="module")
def runs():
    """What all processes print, two at a time; other layers load what the first one compiles."""
    with ThreadPoolExecutor(2) as pool:
        started = {name: pool.submit(run, name) for name in PROCESSES if name not in ("workqueue", "tbb")}
        started["omp"].result()
        started |= {name: pool.submit(run, name) for name in PROCESSES if name not in started}
        return {name: future.result() for name, future in started.items()}


@pytest.mark.parametrize("name", PROCESSES)
def test_bits_of_another_process_are_the_golden_ones(runs, name):
    golden, process, bits = reproducibility.golden(), PROCESSES[name], runs[name]["bits"]
    assert not [which for which in bits if golden[which.partition(",")[0]] != bits[which]]
    assert len(bits) == len(FUNCTIONS) * len(process.dtypes) * (1 + len(process.threads))
    assert runs[name]["layer"] == (name if max(process.threads) > 1 else "serial")


def test_the_golden_file_has_every_function():
    names = {f"{function} {np.dtype(dtype)}" for function in FUNCTIONS for dtype in DTYPES}
    assert set(reproducibility.golden()) == names | {f"{name} large" for name in names}


# --- in this process -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@every_function
def test_inside_njit(function, dtype):
    name, golden = f"{function.name} {np.dtype(dtype)}", reproducibility.golden()
    assert bits(function, small_problems(function, dtype), inside_njit) == golden[name]
    assert bits(function, large_problems(function, dtype), inside_njit) == golden[f"{name} large"]


ROW_WISE = [f for f in FUNCTIONS.values() if all(o.axes[0] == "..." for o in f.signature.outputs)]
ROW_WISE = [f for f in ROW_WISE if f.name != "affine_jacobian"]
BATCHES = (1, 2, 3, 5, 8, 13, 16, 17, 31, 64, 65, 130, 257, 3001)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", ROW_WISE, ids=lambda f: f.name)
@pytest.mark.parametrize("size", [7, 40, 300])
def test_a_row_alone_first_in_the_middle_and_last(function, dtype, size):
    if function.name == "softmax_jacobian":
        size = min(size, 40)
    sizes = {"d": size, "m": 19, "k": size}
    batch = arguments(function, dtype, max(BATCHES), sizes)
    row_wise = {o.name for o in function.signature.inputs if "..." in o.axes}

    def rows(chosen):
        return as_list(function.call(fg, {n: a[chosen] if n in row_wise else a for n, a in batch.items()}))

    alone = rows(slice(5, 6))
    for count in BATCHES:
        for place in {0, count // 2, count - 1}:
            chosen = (np.arange(count) + 7) % max(BATCHES)
            chosen[place] = 5
            assert_same_bits(tuple(r[place : place + 1] for r in rows(chosen)), tuple(alone))


@pytest.mark.parametrize("dtype", DTYPES)
@every_function
def test_every_layout_of_every_argument_and_of_out(function, dtype):
    sizes = (3, {"d": 9, "m": 5, "k": 5}) if function.name.endswith("jacobian") else (33, {"d": 40, "m": 19, "k": 37})
    given = arguments(function, dtype, *sizes)
    expected = tuple(as_list(function.call(fg, given)))
    for layout in LAYOUTS.values():
        for name in [[name] for name in given] + [list(given)]:
            laid_out = {n: layout(a) if n in name else a for n, a in given.items()}
            assert_same_bits(tuple(as_list(function.call(fg, laid_out))), expected)
    if function.has_out:
        written = function.outs(expected)
        for layout in WRITEABLE:
            outs = tuple(LAYOUTS[layout](np.full_like(array, 7)) for array in written)
            function.call(fg, given, out=outs if len(outs) > 1 else outs[0])
            assert_same_bits(outs, written)
