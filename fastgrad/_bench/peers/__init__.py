"""Who is measured beside fastgrad, and how each writes the functions of the table: one module a library.

A module has the functions that its library can do, under their names, of the inputs in the order of the signature;
`array` makes an input its own, and `ready` whatever compiles or waits around a function.
"""

from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import fastgrad
from fastgrad.kernels._vec import cpu_features

HOME = "fastgrad"
CPUS = "FASTGRAD_BENCH_CPUS"  # the variable that tells a worker how many CPUs to see

# OpenMP's threads, fastgrad's and PyTorch's, stay each on a CPU of its own. Where two meet on one, a parallel region
# takes 8 ms, as long as the one spins that waits for the other, and the system may leave them there for seconds.
BOUND = {"OMP_PROC_BIND": "true"}


@dataclass(frozen=True)
class Peer:
    """A library, and the environment that its process is given. `products`: only what multiplies matrices differs."""

    library: str
    environment: dict = field(default_factory=dict)
    products: bool = False

    @property
    def is_installed(self):
        return find_spec(self.library) is not None

    def module(self):
        """Its functions, by the names of the table."""
        return import_module(f"{__name__}.with_{self.library}")

    def has(self, function):
        """Whether it is installed and has this function of the table."""
        if self.library == HOME:
            return function in fastgrad.__all__
        return self.is_installed and hasattr(self.module(), function)


# OpenBLAS takes some CPUs with AVX-512 for ones without: `numpy-avx512` is NumPy at its tuned best there.
PEERS = {
    HOME: Peer("fastgrad"),
    "numpy": Peer("numpy"),
    "torch": Peer("torch"),
    "jax": Peer("jax"),
    "autograd": Peer("autograd"),
}
if "avx512f" in cpu_features():
    PEERS["numpy-avx512"] = Peer("numpy", {"OPENBLAS_CORETYPE": "SkylakeX"}, products=True)


def installed():
    return [name for name, peer in PEERS.items() if peer.is_installed]


def limit_threads(threads):
    """The environment in which libraries start so many threads; a worker hides the other CPUs as well, for JAX."""
    names = ("NUMBA_NUM", "OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM")
    return {CPUS: str(threads)} | {f"{name}_THREADS": str(threads) for name in names}


def prepare(peer, case):
    """A call without arguments that runs the case there, or None where the library has no such function."""
    peer = PEERS[peer]
    if not peer.has(case.name):
        return None
    if peer.library == HOME:
        return case.bound(fastgrad, case.arguments())
    module = peer.module()
    inputs = [module.array(value) for value in case.arguments().values()]
    return partial(module.ready(getattr(module, case.name)), *inputs)
