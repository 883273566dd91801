"""What a user waits for before the first result: importing, and the first call of a function, compiled or cached.

    python -m benchmarks.startup affine softmax_vjp --dtypes float32

goes beyond what asv times: every function of the table, or those that are named, each sample in a process of its own,
with an empty cache and with a filled one. What is above its bar is marked. On a machine with other work the time of
the CPU, in brackets, says more.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

from fastgrad._functions import DTYPES, FUNCTIONS

IMPORT, COLD, SEVERAL_PRODUCTS, CACHED = 0.1, 3.0, 6.0, 0.1  # seconds: the bars

FIRST_CALL = "fastgrad.softmax_vjp(ones, ones)"
IMPORTS = """
import os, tempfile
{environment}
import fastgrad, numpy
ones = numpy.ones((64, 10), numpy.float32)
"""
NOWHERE = 'os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp()'

TIMED = """
import time
def now():
    return time.perf_counter(), time.process_time()
{before}
start = now()
{timed}
print(*[end - begin for end, begin in zip(now(), start)])
"""
ARGUMENTS = """
import fastgrad, numpy
from fastgrad._functions import FUNCTIONS
function = FUNCTIONS[{name!r}]
sizes = dict(zip(function.sizes, (5, 7, 4)))
arguments = function.arguments(numpy.random.default_rng(0), numpy.dtype({dtype!r}), (8,), **sizes)
"""


class StartUp:
    """Each sample is a process of its own."""

    timeout = 120
    rounds = 1
    repeat = (3, 10, 15.0)
    warmup_time = 0

    def timeraw_import_numba(self):
        return "import numba"

    def timeraw_import(self):
        return "import fastgrad"

    def timeraw_first_call_cold(self):
        return FIRST_CALL, IMPORTS.format(environment=NOWHERE)

    def timeraw_first_call_cached(self):
        return FIRST_CALL, IMPORTS.format(environment="")

    def setup(self):
        """Something to load for the cached call."""
        import numpy as np

        import fastgrad

        ones = np.ones((64, 10), np.float32)
        fastgrad.softmax_vjp(ones, ones)


def measured(timed, before="", times=1, **environment):
    """Seconds of a statement, and of the CPU for it: medians over processes."""
    code = TIMED.format(before=before, timed=timed)
    command = [sys.executable, "-c", code]
    outputs = [
        subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True).stdout
        for _ in range(times)
    ]
    return [statistics.median(column) for column in zip(*(map(float, line.split()) for line in outputs), strict=True)]


def report(what, bar, wall, cpu):
    print(f"{what:44} {wall:7.3f} ({cpu:.3f}) {'above ' + str(bar) if wall > bar else ''}".rstrip(), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("functions", nargs="*", metavar="function", help="all, if none is named")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--times", type=int, default=5, help="processes for what is not cold (default: %(default)s)")
    options = parser.parse_args()
    report("import, beyond numba", IMPORT, *measured("import fastgrad", "import numba", options.times))
    for name in options.functions or FUNCTIONS:
        for dtype in options.dtypes:
            call, before = "function.call(fastgrad, arguments)", ARGUMENTS.format(name=name, dtype=dtype)
            with tempfile.TemporaryDirectory() as empty:
                cold = SEVERAL_PRODUCTS if name == "affine_vjp" else COLD
                report(f"{name} {dtype}, cold", cold, *measured(call, before, NUMBA_CACHE_DIR=empty))
                cached = measured(call, before, options.times, NUMBA_CACHE_DIR=empty)
                report(f"{name} {dtype}, cached", CACHED, *cached)


if __name__ == "__main__":
    main()
