"""What fastgrad found here: versions, CPU, tiles, threads, cache; and the measured limits of the machine."""

import os
import platform
from importlib import metadata
from pathlib import Path

import numba
import numpy as np
from numba.core.registry import cpu_target

from . import __version__, affine_vjp
from ._functions import DTYPES
from ._warmup import every_kernel
from .kernels import _cache, _panels
from .kernels._tile import TileShape
from .kernels._vec import VECTOR_BYTES, cpu_features

_LIBRARIES = ("numpy", "numba", "llvmlite", "rich", "matplotlib", "torch", "jax", "autograd")
_VECTOR_FEATURES = ("avx512f", "avx2", "fma", "neon", "sve")  # what the speed or the bits depend on

# Whether a layer stands a fork after it has started, and calls from several threads at once.
_SAFE = {"tbb": (True, True), "omp": (platform.system() == "Windows", True), "workqueue": (True, False)}


def add_arguments(parser):
    parser.add_argument("--no-limits", action="store_true", help="leave out the limits, which take seconds to measure")


def run(no_limits):
    sections = {"Versions": _versions(), "CPU": _cpu(), "Threads": _threads(), "Cache": _cache_state()}
    for title, lines in sections.items():
        _show(title, lines)
    if not no_limits:
        _show("Limits, measured", _limits())


def _show(title, lines):
    print(title)
    for name, value in lines.items():
        print(f"  {name:<21}{value}")
    print(flush=True)


def _versions():
    found = {"fastgrad": __version__, "python": f"{platform.python_version()}, {platform.platform(terse=True)}"}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _cpu():
    _, name, _ = cpu_target.target_context.codegen().magic_tuple()
    features = cpu_features()
    shapes = {n: s for n, s in vars(_panels).items() if isinstance(s, TileShape) and not n.startswith("_")}
    tiles = ", ".join(f"{shape.rows}×{shape.vecs} ({name.lower()})" for name, shape in shapes.items())
    return {
        "compiled for": name,
        "features used": " ".join(f for f in _VECTOR_FEATURES if f in features) or "none that fastgrad looks for",
        "vectors": f"{VECTOR_BYTES} bytes: {VECTOR_BYTES // 4} float32 or {VECTOR_BYTES // 8} float64",
        "tiles, rows×vectors": tiles,
    }


def _threads():
    large = np.zeros((512, 512), np.float32)
    affine_vjp(large, large, large)  # the layer is chosen when the first large work runs
    found = {"threads": f"{numba.get_num_threads()} of {os.cpu_count()} CPUs"}
    try:
        layer = numba.threading_layer()
    except ValueError:
        return found | {"threading layer": "none: everything runs serially"}
    fork, threads = _SAFE[layer]
    return found | {
        "threading layer": layer,
        "fork-safe": f"{'yes' if fork else 'no, the layer is not'}; forked children of fastgrad work serially",
        "thread-safe": f"{'yes' if threads else 'no, the layer is not'}; one call at a time takes the threads, "
        "others run serially",
    }


def _cache_state():
    folder = _cache.directory()
    if folder is None:
        return {"directory": "none can be written: every process compiles anew"}
    size = sum(file.stat().st_size for file in Path(folder).glob("*.nb[ic]"))
    saved, possible = _saved()
    state = f"{saved} of {possible} binaries of kernels are compiled for this version and CPU"
    return {"directory": folder, "state": f"{state}; {size / 1e6:.1f} MB"}


def _saved():
    """How many binaries of kernels are compiled and saved, and how many there are."""
    codegen = cpu_target.target_context.codegen()
    caches = [dispatcher._cache for _, _, kernel in every_kernel() for dispatcher in kernel.dispatchers.values()]
    saved = [cache.has(dtype, codegen) for cache in caches for dtype in DTYPES]
    return sum(saved), len(saved)


def _limits():
    from ._bench import limits

    found = limits.measure()
    sizes = {16: "64 KiB", 20: "1 MiB", 24: "16 MiB", 28: "256 MiB"}
    rates = ", ".join(f"{found.bandwidth(2**k) / 1e9:.0f} ({text})" for k, text in sizes.items())
    return {
        "multiply-adds": " and ".join(f"{rate / 1e9:.0f} Gflop/s {dtype}" for dtype, rate in found.peak.items()),
        "copying": f"{rates} GB/s, read and written, by working set",
    }
