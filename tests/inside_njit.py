"""Stands in for `fastgrad`: `inside_njit.softmax(S)` is what a user's `@njit` function makes of `fg.softmax(S)`.

Arguments are passed on as they are given, by position or by keyword. Strings are written out, as Numba wants them.
"""

from functools import cache, partial

import numba

import fastgrad as fg
from fastgrad._functions import FUNCTIONS


def __getattr__(name):
    if name in FUNCTIONS:
        return partial(_call, name)
    raise AttributeError(name)


def _call(name, *inputs, **options):
    written = tuple((option, value) for option, value in options.items() if isinstance(value, str))
    passed = {option: value for option, value in options.items() if not isinstance(value, str)}
    return compiled(name, len(inputs), tuple(passed), written)(*inputs, *passed.values())


@cache
def compiled(name, count, passed=(), written=()):
    """A user's function of so many arguments by position and of these options, which are passed on by keyword."""
    inputs = [f"_{place}" for place in range(count)]
    keywords = [f"{option}={option}" for option in passed] + [f"{option}={value!r}" for option, value in written]
    source = f"lambda {', '.join([*inputs, *passed])}: fg.{name}({', '.join([*inputs, *keywords])})"
    return numba.njit(eval(source, {"fg": fg}))
