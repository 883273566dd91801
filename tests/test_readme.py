"""README says what is so: its table is the table, its example runs, its commands are those of the command line."""

import json
import re
import runpy
from pathlib import Path

import pytest
from subprocesses import run

from fastgrad._functions import FUNCTIONS
from fastgrad._functions import table_rows as rows

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("row", rows(), ids=list(FUNCTIONS))
def test_the_table_of_functions(row):
    assert row in README.splitlines()


def test_examples_run_as_pasted():
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert examples
    for example in examples:
        run(example)


def test_the_first_example_is_eight_lines():
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    assert len(example.strip().splitlines()) == 8


def test_the_figures_are_those_of_the_stored_run():
    figures = runpy.run_path(str(ROOT / "docs" / "figures.py"))
    result = json.loads((ROOT / "docs" / "benchmark.json").read_text())
    assert figures["replaced"](README, result) == README
    assert result["command"].startswith("python -m fastgrad bench")
    assert (ROOT / "docs" / "benchmark.png").read_bytes().startswith(b"\x89PNG")
