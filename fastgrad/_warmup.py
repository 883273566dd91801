"""Compiles every kernel for float32 and float64 and saves the machine code, so that no first call has to wait.

A Dockerfile would run it after installing fastgrad, as the user and with the environment of the program to come:
machine code is for one CPU, and is saved where that user's programs look for it. What is there is not compiled again.
"""

import os
import pkgutil
import signal
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

from numba.core import types

from . import kernels
from ._functions import DTYPES
from ._options import count
from .kernels import _cache


def add_arguments(parser):
    parser.add_argument("--jobs", type=count, default=_cpus(), help="processes at a time (default: %(default)s)")


def _cpus():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(jobs):
    """0 if all is compiled and saved, 1 if it is not."""
    if _cache.directory() is None:
        print("No directory can be written; point NUMBA_CACHE_DIR at one that can be.", file=sys.stderr)
        return 1
    start, compiled, failed = time.perf_counter(), 0, 0
    # A process of its own for what each compiles: forking would copy this one's threads, and compiling holds a lock.
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_end_at_interrupts)
    try:
        tasks = [
            (module, name, dtype, variant)
            for module, name, kernel in every_kernel()
            for variant in kernel.dispatchers
            for dtype in DTYPES
        ]
        with _interrupts_wait():
            futures = {pool.submit(_compile, *task): task for task in tasks}
        with _progress(len(tasks)) as advance:
            for future in as_completed(futures):
                _, name, dtype, variant = futures[future]
                try:
                    compiled += future.result()
                except Exception as error:
                    failed += 1
                    print(f"{name} {dtype} {variant}: {error}", file=sys.stderr)
                advance(f"{name} {dtype}")
    finally:
        pool.shutdown(cancel_futures=True)
    folder = Path(_cache.directory())
    size = sum(file.stat().st_size for file in folder.glob("*.nb[ic]"))
    print(
        f"{len(tasks)} binaries, {compiled} of them compiled now in {time.perf_counter() - start:.0f} s by {jobs} "
        f"processes: {size / 1e6:.1f} MB in {folder}"
    )
    return 1 if failed else 0


def every_kernel():
    """(module, name, kernel) of every loop nest, without what is another name of one."""
    found = {}
    for module in pkgutil.iter_modules(kernels.__path__, f"{kernels.__name__}."):
        for name, value in vars(import_module(module.name)).items():
            if hasattr(value, "dispatchers"):
                found.setdefault(value, (module.name, name, value))
    return list(found.values())


@contextmanager
def _interrupts_wait():
    """Ctrl-C waits until this is left, and in processes that are started here until they are ready for it.

    They inherit that it is blocked; here, a thread of NumPy's may be told of it, for which it is not.
    """
    came = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _let_interrupts_in()
    if came:
        signal.raise_signal(signal.SIGINT)


def _let_interrupts_in():
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _end_at_interrupts():
    """Without a traceback: what is half done is not saved."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _let_interrupts_in()


def _compile(module, name, dtype, variant):
    """Compiles one binary, unless it is there; whether it was not."""
    kernel = getattr(import_module(module), name)
    dispatcher = kernel.dispatchers[variant]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # that it cannot be saved
        dispatcher.compile(kernel.types(getattr(types, dtype)))
    return not dispatcher.stats.cache_hits


@contextmanager
def _progress(total):
    """A function to call after each of so many steps: a bar in a terminal where rich is installed, else lines."""
    if sys.stdout.isatty():
        try:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        except ModuleNotFoundError:
            pass
        else:
            columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
            with Progress(*columns, transient=True) as progress:
                task = progress.add_task("compiling", total=total)
                yield lambda what: progress.update(task, advance=1, description=what)
            return
    done = 0

    def line(what):
        nonlocal done
        done += 1
        print(f"[{done}/{total}] {what}", flush=True)

    yield line
