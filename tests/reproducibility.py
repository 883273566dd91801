"""The bits of every function as hashes: `python tests/reproducibility.py [--write]` prints them, or makes `bits.json`.

The arguments come from integers and from fastgrad's own functions, so that they are the same bits on every machine. A
process prints what it gets for its CPU, threading layer and dtypes, which `test_reproducibility.py` compares.
"""

import hashlib
import json
import math
import sys
from pathlib import Path

import numba
import numpy as np
from problems import DTYPES
from regions import large_calls

import fastgrad as fg
from fastgrad._functions import FUNCTIONS

GOLDEN = Path(__file__).with_name("bits.json")

# Sizes of rows and sums around the edges of vectors, tiles, few classes and blocks of sums, one beyond two blocks.
ROWS = (1, 2, 7, 33)
SIZES = (1, 2, 7, 8, 9, 16, 17, 31, 32, 33, 65, 128, 129, 257, 600)
AFFINE = [(1, 1, 1), (3, 5, 7), (1, 300, 9), (2, 33, 130), (4, 17, 65)]
AFFINE += [(13, 33, 17), (65, 49, 33), (600, 9, 17), (7, 9, 600), (40, 7, 130), (300, 3, 50)]
TAILS = (4, 30, 200)  # of activations: what numbers are multiplied by, beside gradients that are subnormal
JACOBIANS = [(1, 1, 1), (3, 5, 7), (2, 17, 9)]
# Beside so many rows that the work is done in parallel: by parts of dW, and by blocks of its sums.
LARGE, TALL = {"d": 70, "m": 50, "k": 137}, {"d": 33, "m": 17, "k": 17}


def numbers(rng, shape, dtype):
    """Multiples of 2⁻¹⁸ between −4 and 4."""
    return (rng.integers(-(2**20), 2**20, shape) / 2.0**18).astype(dtype)


def arguments(function, dtype, rows, sizes, seed=0):
    """Arguments by name: Y is what the forward function makes of random logits, L its logarithm."""
    rng, named = np.random.default_rng(seed), {}
    forward = getattr(fg, function.name.removesuffix("_vjp").removesuffix("_jvp").removesuffix("_jacobian"), None)
    for operand in function.signature.inputs:
        shape = tuple(rows if axis == "..." else sizes[axis] for axis in operand.axes)
        values = numbers(rng, shape, dtype)
        if operand.integer:
            values = rng.integers(0, sizes["k"], shape)
        elif "weight" in operand.name:
            values = np.abs(values)
        elif operand.name == "S":
            values *= 8
        elif operand.name in ("Y", "L"):
            values = forward(4 * values)
        named[operand.name] = values
    return named


def small_problems(function, dtype):
    if function.name.endswith("jacobian"):
        shapes = JACOBIANS
    elif function.family == "affine":
        shapes = AFFINE
    else:
        shapes = [(rows, size, size) for rows in ROWS for size in (SIZES if "k" in function.sizes else SIZES[:1])]
        shapes += [(rows, 1, 1) for rows in SIZES]
    for place, (rows, d, m) in enumerate(shapes):
        yield arguments(function, dtype, rows, {"d": d, "m": m, "k": m}, place)
    if function.family == "activations":
        subnormal = np.finfo(dtype).smallest_subnormal * 2**18
        for stretch in TAILS:
            problem = arguments(function, dtype, SIZES[-1], {})
            factors = {"X": stretch, "dY": subnormal}
            yield {name: (values * factors.get(name, 1)).astype(dtype) for name, values in problem.items()}


def large_problems(function, dtype):
    work, shapes = 120_000 if "k" in function.sizes else 800_000, [LARGE]
    if function.family in ("affine", "linear_cross_entropy"):
        work, shapes = 1_600_000, [LARGE, TALL]
    if function.name.endswith("jacobian"):
        shapes = [{"d": 9, "m": 13, "k": 37}]
    if function.name == "affine_jacobian":
        work = 12_000
    for sizes in shapes:
        yield arguments(function, dtype, work // math.prod([sizes[letter] for letter in function.sizes]), sizes)


def as_list(results):
    return [array for r in results for array in as_list(r)] if isinstance(results, tuple) else [np.asarray(results)]


def digest(results):
    """Of all bits; but every NaN is the same one, as its sign and payload are the CPU's."""
    hashed = hashlib.sha256()
    for array in results:
        hashed.update(np.where(np.isnan(array), np.array(np.nan, array.dtype), array).astype(array.dtype).tobytes())
    return hashed.hexdigest()[:16]


def bits(function, problems, module=fg):
    """A hash of the results for all problems, added to what `out` holds too where the function does that."""
    results = []
    for problem in problems:
        given = as_list(function.call(module, problem))
        results += given
        if function.has_accumulate:
            out = [np.ones_like(array) for array in given]
            function.call(module, problem, out=tuple(out) if len(out) > 1 else out[0], accumulate=True)
            results += out
    return digest(results)


def all_bits(dtypes, threads):
    """Hashes by function and dtype: of small problems, and of large ones for each number of threads."""
    found = {}
    with large_calls() as calls:
        for dtype in dtypes:
            for function in FUNCTIONS.values():
                name = f"{function.name} {np.dtype(dtype)}"
                found[name] = bits(function, small_problems(function, dtype))
                large = list(large_problems(function, dtype))
                for count in threads:
                    numba.set_num_threads(count)
                    calls.clear()
                    found[f"{name} large, {count} threads"] = bits(function, large)
                    assert calls, f"{function.name} ran serially: its large problems are too small"
    return found


def golden():
    return json.loads(GOLDEN.read_text())


def write():
    """Makes the golden file of what this process gets."""
    hashes = {name.partition(",")[0]: bits for name, bits in all_bits(DTYPES, [1]).items()}
    GOLDEN.write_text(json.dumps(hashes, indent=1) + "\n")


if __name__ == "__main__":
    if "--write" in sys.argv:
        write()
    dtypes = [np.dtype(argument) for argument in sys.argv[1:] if argument.startswith("float")] or DTYPES
    threads = [int(argument) for argument in sys.argv[1:] if argument.isdigit()] or [1]
    hashes = all_bits(dtypes, threads)
    layer = numba.threading_layer() if max(threads) > 1 else "serial"
    print(json.dumps({"layer": layer, "bits": hashes}))
