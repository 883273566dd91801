"""The page of derivations: its sums and its loops are run, and every name on it exists."""

import importlib
import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest
from problems import assert_within, tolerance
from test_rules import as_tuple

from fastgrad import reference
from fastgrad._functions import FUNCTIONS
from fastgrad.kernels._jit import Kernel

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "derivations.md").read_text()
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^#{2,3} |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def test_every_function_has_its_section():
    assert set(SECTIONS) == set(FUNCTIONS)


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_the_sum_and_the_loop_are_the_function(name):
    (block,) = re.findall(r"```python\n(.*?)```", SECTIONS[name], re.DOTALL)
    code = {"np": np, "δ": np.eye, "erf": np.vectorize(math.erf)}
    exec(block, code)
    function = FUNCTIONS[name]
    sizes = dict(zip(function.sizes, (3, 4), strict=False))
    inputs = function.arguments(np.random.default_rng(1), np.float64, (5,), **sizes)
    expected = as_tuple(function.call(reference, inputs))
    for written in (code["δ_sum"], code["loop"]):
        results = as_tuple(written(**inputs))
        for got, want in zip(results, expected, strict=True):
            largest = np.abs(want).max()
            assert_within(got, want, tolerance(np.float64, 100) * max(largest, 1.0))


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_the_names_exist(name):
    rows = dict(re.findall(r"^\| ([\w ]+) \| `(\S+)` \|$", SECTIONS[name], re.MULTILINE))
    assert rows["function"] == f"fastgrad.{name}"
    family, _, kernel = rows["compiled loop"].rpartition(".")
    assert family == f"fastgrad.kernels.{FUNCTIONS[name].family}"
    assert kernel in dict(inspect.getmembers(importlib.import_module(family), lambda value: isinstance(value, Kernel)))
    file, _, test = rows["test"].partition("::")
    assert re.search(rf"^def {test}\(", (ROOT / file).read_text(), re.MULTILINE)
    assert imported(rows["benchmark"]).function == name


def imported(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
