"""Every function of fastgrad beside NumPy and whatever else is installed (torch, jax, autograd), on a few shapes.

Each library runs in a process of its own, and they take turns on the same arrays: times are medians, the best of a few
rounds. A ratio above 1 says how many times longer the other library takes. The limit is the least time that this
machine, measured before and after, needs for the multiply-adds of a function or for reading its inputs and writing its
results. OpenMP's threads, of fastgrad and torch alike, are bound to CPUs (OMP_PROC_BIND), lest two of them share one.
Errors are in units of the last place of the largest entry in a row, against wider arithmetic.
"""

import argparse
import os
import re

from .. import _options
from .._functions import DTYPES, FUNCTIONS

# For one turn of a library: in a tenth of it, the system may have both of NumPy's threads on one CPU still.
SECONDS = 0.1


def add_arguments(parser):
    parser.add_argument("--dtype", choices=(*DTYPES, "both"), default="float32", help="default: %(default)s")
    parser.add_argument("--threads", type=_threads, help="as many for every library (default: all, as each finds them)")
    parser.add_argument(
        "--shapes",
        type=_shapes,
        help="such as 4096x10,128x784x10: elements, n×k, or n×d×m, for the functions that take so many sizes",
    )
    parser.add_argument("--functions", type=_functions, help="only these, such as softmax,affine_vjp")
    parser.add_argument("--peers", type=_peers, help="only these beside fastgrad (default: all that are installed)")
    parser.add_argument(
        "--seconds",
        type=_options.seconds,
        default=SECONDS,
        help="for one turn of a library, after as long a warm-up (default: %(default)s)",
    )
    parser.add_argument(
        "--rounds", type=_options.count, default=3, help="turns of every library (default: %(default)s)"
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=_options.file_to_write,
        help="write the result there, with machine, versions, date, command",
    )
    parser.add_argument(
        "--plot",
        metavar="FILE",
        type=_options.picture_to_write,
        help="draw it: rooflines and ratios, as PNG, SVG or PDF",
    )
    parser.add_argument("--load", metavar="FILE", help="measure nothing: show the result that --json wrote")


def run(dtype, threads, shapes, functions, peers, seconds, rounds, json, plot, load):
    from . import measurement, report

    if plot:
        from .plot import draw  # whatever is missing is missed before the minutes of measuring
    if load:
        result = measurement.read(load)
    else:
        dtypes = DTYPES if dtype == "both" else (dtype,)
        result = measurement.run(dtypes, threads, shapes, functions, peers, seconds, rounds, report.tracked)
    report.show(result)
    if json:
        measurement.write(result, json)
    if plot:
        draw(result, plot)
    if result["failures"]:
        raise SystemExit("\n".join(f"{peer} failed: {why}" for peer, why in result["failures"].items()))


def _threads(text):
    number, most = _options.count(text), os.cpu_count()
    if number > most:
        raise argparse.ArgumentTypeError(f"{text} is more than {most}, the CPUs here")
    return number


def _shapes(text):
    for shape in text.split(","):
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){0,2}", shape):
            raise argparse.ArgumentTypeError(f"{shape} is not a shape such as 1000, 64x10 or 128x784x10")
    return text.split(",")


def _functions(text):
    return _known(text, FUNCTIONS, "function")


def _peers(text):
    from .peers import HOME, PEERS, installed

    names = _known(text, PEERS, "library")
    for name in names:
        if name not in installed():
            raise argparse.ArgumentTypeError(f"{name} is not installed")
    return [HOME, *(name for name in names if name != HOME)]


def _known(text, names, what):
    for name in text.split(","):
        if name not in names:
            raise argparse.ArgumentTypeError(f"{name} is no {what}; there are {', '.join(names)}")
    return text.split(",")
