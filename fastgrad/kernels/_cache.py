"""Numba's disk cache with a stamp over the whole compiled layer.

Numba's own cache looks at the file of the cached function alone and would go on running an old kernel after an edit in
`_simd.py`. Here one stamp covers every file of this package, so any change compiles every kernel anew. Where no
directory can be written, or what stands there cannot be read, kernels are compiled as without a cache.
"""

import contextlib
import hashlib
import os
import sys
import warnings
from functools import cache
from importlib import resources
from types import FunctionType

import llvmlite
import numba
import numpy as np
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.runtime import rtsys
from numba.misc.appdirs import AppDirs

from ._compiling import OPTIONS, OuterCompiler, uncollected


@cache
def stamp(package=__package__):
    """A digest of a package's sources, and of what machine code depends on beside them and Numba's version."""
    digest = hashlib.sha256(f"{llvmlite.__version__} {np.__version__} {config.BOUNDSCHECK}".encode())
    for file in sorted(resources.files(package).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".py"):
            digest.update(file.read_bytes())
    return digest.hexdigest()


@cache
def directory():
    """The first of these that can be written: NUMBA_CACHE_DIR, __pycache__ beside the kernels, the user's cache."""
    here = os.path.dirname(os.path.abspath(__file__))
    user = AppDirs(appname="fastgrad", appauthor=False).user_cache_dir
    candidates = [os.path.join(config.CACHE_DIR, "fastgrad")] if config.CACHE_DIR else []
    for path in (*candidates, os.path.join(here, "__pycache__"), user):
        if not os.path.isabs(path):  # who has no home directory has ~ there
            continue
        try:
            _Locator(path, "").ensure_cache_path()
        except OSError:
            continue
        return path
    return None


class _Locator(_CacheLocator):
    def __init__(self, path, variant):
        self._path, self._variant = path, variant
        self._py_file = __file__  # where Numba warns of machine code that it cannot save, as some without optimisation

    def get_cache_path(self):
        return self._path

    def get_source_stamp(self):
        return stamp()

    def get_disambiguator(self):
        return self._variant


class _Impl(CompileResultCacheImpl):
    """As Numba's, with our locator in place of a search for one.

    Machine code is saved beside what it is good for: Numba's index alone would not do, since processes of another
    version or on another CPU may write index and machine code between ours.
    """

    def __init__(self, function, variant):
        self._lineno = function.__code__.co_firstlineno
        self._locator = _Locator(directory(), variant)
        name = f"{function.__module__}.{function.__qualname__}".replace("<", "").replace(">", "")
        self._filename_base = self.get_filename_base(name, getattr(sys, "abiflags", ""))

    def reduce(self, data):
        return (stamp(), data.codegen.magic_tuple()), super().reduce(data)

    def rebuild(self, target_context, payload):
        good_for, data = payload
        if good_for != (stamp(), target_context.codegen().magic_tuple()):
            return None
        return super().rebuild(target_context, data)


class _Opened(FunctionCache):
    """As Numba's, for one variant of a function; the stamp stands for the code, the file name for the variant."""

    def __init__(self, function, variant):
        self._impl_class = lambda function: _Impl(function, variant)
        super().__init__(function)

    def _index_key(self, sig, codegen):
        return sig, codegen.magic_tuple()


class KernelCache:
    """The cache of one variant of one kernel. Nothing is looked up before the first call, so importing stays fast.

    There is a pair of files for each dtype: Numba numbers the signatures in one index, and two processes that save
    different ones at the same time would use the same number.
    """

    def __init__(self, function, variant):
        self._function, self._variant = function, variant
        self._opened = {}

    def _open(self, dtype):
        if dtype not in self._opened and directory() is not None:
            self._opened[dtype] = _Opened(self._function, f"{self._variant}-{dtype}")
        return self._opened.get(dtype)

    @property
    def cache_path(self):
        return directory()

    def has(self, dtype, codegen):
        """Whether the directory has machine code for this dtype, of the sources as they are and for this CPU."""
        opened = self._open(dtype)
        if opened is None:
            return False
        try:
            return any(cpu == codegen.magic_tuple() for _, cpu in opened._cache_file._load_index())
        except Exception:  # a damaged file can raise anything at all
            return False

    def load_overload(self, sig, target_context):
        opened = self._open(str(sig[0].dtype))
        if opened is None:
            return None
        try:
            # Numba would first load all that a compilation needs, 0.1 to 0.2 s; machine code needs its runtime alone.
            rtsys.initialize(target_context)
            return opened._load_overload(sig, target_context)
        except Exception as error:  # a damaged file can raise anything at all; compiling anew is always right
            _warn_once(error)
            self._forget(opened)
            return None

    @staticmethod
    def _forget(opened):
        """Empties the index, so that what is compiled next can be saved."""
        with contextlib.suppress(OSError):
            opened.flush()

    def save_overload(self, sig, data):
        opened = self._open(str(sig[0].dtype))
        if opened is None:
            return
        try:
            opened.save_overload(sig, data)
        except OSError as error:
            _warn_once(error)


@cache
def _warn_once_each(path):
    return []


def _warn_once(error):
    told = _warn_once_each(directory())
    if not told:
        told.append(error)
        warnings.warn(
            f"fastgrad compiles anew in every process: its cache in {directory()} cannot be used ({error!r}). "
            "Delete that directory, make room in it, or point NUMBA_CACHE_DIR at another one.",
            RuntimeWarning,
            stacklevel=2,
        )


def cached(function, named_after, variant, compiler=OuterCompiler, **options):
    """A Numba dispatcher with our own cache, of a name of its own: Numba finds machine code by the function's name and
    types, and what several processes have compiled and saved meets in one."""
    own = FunctionType(function.__code__, function.__globals__, closure=function.__closure__)
    own.__module__, own.__qualname__ = named_after.__module__, f"{named_after.__qualname__}.{variant}"
    dispatcher = numba.njit(pipeline_class=compiler, **OPTIONS, **options)(own)
    dispatcher._cache = KernelCache(named_after, variant)
    dispatcher.compile = uncollected(dispatcher.compile)
    return dispatcher


stamp()  # now, of the files that are being imported: by the first call they may have been replaced
