"""The guard: every public function is in the table, and has all that a function of the table must have."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

from test_rules import every_function

import fastgrad
from benchmarks.common import class_name
from fastgrad import reference
from fastgrad._functions import FUNCTIONS

ROOT = Path(__file__).parents[1]


def test_the_table_is_the_public_surface():
    assert sorted(FUNCTIONS) == sorted(fastgrad.__all__)
    in_reference = [n for n, f in vars(reference).items() if inspect.isfunction(f) and not n.startswith("_")]
    assert sorted(in_reference) == sorted(FUNCTIONS)


@every_function
def test_reference_takes_the_same_arguments(function):
    public, other = (
        [(p.name, p.kind, p.default) for p in inspect.signature(getattr(module, function.name)).parameters.values()]
        for module in (fastgrad, reference)
    )
    assert public == other


@every_function
def test_is_typed(function):
    signature = inspect.signature(getattr(fastgrad, function.name))
    assert signature.return_annotation is not signature.empty
    assert all(p.annotation is not p.empty for p in signature.parameters.values())


@every_function
def test_docstring(function):
    """One sentence, the formula, Parameters with shapes, Returns, Raises, a doctest that runs."""
    public = getattr(fastgrad, function.name)
    text = inspect.getdoc(public)
    sentence, rest = text.split("\n", 1)
    assert sentence.endswith(".")
    assert re.search(r"^ {4}\S.* = ", rest, re.MULTILINE), "no formula"
    sections = re.split(r"^(Parameters|Returns|Raises|Examples)\n-+\n", rest, flags=re.MULTILINE)
    assert sections[1::2] == ["Parameters", "Returns", "Raises", "Examples"]
    parameters = sections[2]
    for name in inspect.signature(public).parameters:
        assert re.search(rf"^{name} : ", parameters, re.MULTILINE), f"{name} is not described"
    for operand in function.signature.inputs:
        shape = ", ".join(operand.axes) + ("," if len(operand.axes) == 1 and operand.axes[0] != "..." else "")
        wanted = rf"^{operand.name} : array_like, shape \({re.escape(shape)}\)"
        assert re.search(wanted, parameters, re.MULTILINE), f"shape of {operand.name}"
    assert "ValueError" in sections[6]
    assert "TypeError" in sections[6]
    examples = doctest.DocTestFinder().find(public, function.name, globs={})
    results = [doctest.DocTestRunner().run(example) for example in examples]
    assert sum(result.attempted for result in results) > 0
    assert not any(result.failed for result in results)


@every_function
def test_module_tests_and_benchmark(function):
    module = importlib.import_module(f"fastgrad.kernels.{function.family}")
    assert any(getattr(value, "signature", None) is not None for value in vars(module).values())
    assert getattr(fastgrad, function.name).__module__ == f"fastgrad.{function.family}"
    tests = (ROOT / "tests" / f"test_{function.family}.py").read_text()
    assert re.search(rf"\bfg\.{function.name}\b", tests)
    benchmarks = importlib.import_module(f"benchmarks.{function.family}")
    assert getattr(benchmarks, class_name(function.name)).function == function.name


def test_everything_public_is_typed_as_public():
    assert (ROOT / "fastgrad" / "py.typed").exists()
