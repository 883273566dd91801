"""Runs a piece of Python in a process of its own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import fastgrad

PACKAGE = Path(fastgrad.__file__).parent


def run(code, path=None, **environment):
    """What the code prints; fails with its errors if it does not end well. `path` comes first in sys.path."""
    path = str(PACKAGE.parent if path is None else path)
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=path,
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, f"exit status {finished.returncode}\n{finished.stdout}{finished.stderr}"
    return finished.stdout.strip()
