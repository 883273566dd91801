"""`python -m fastgrad warmup`: afterwards nothing is left to compile, and it says where it put it."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
from subprocesses import PACKAGE, run

from fastgrad import _warmup
from fastgrad._functions import FUNCTIONS
from fastgrad.kernels import _cache
from fastgrad.kernels._jit import Kernel

COMMAND = [sys.executable, "-m", "fastgrad", "warmup"]


def warmup(cwd=PACKAGE.parent, **environment):
    environment = os.environ | {"PYTHONPATH": str(cwd), "PYTHONWARNINGS": "default"} | environment
    return subprocess.run(COMMAND, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_every_kernel_of_every_function_is_known():
    names = {name for _, name, _ in _warmup.every_kernel()}
    for function in FUNCTIONS.values():
        kernels = import_module(f"fastgrad.kernels.{function.family}")
        assert names & {name for name, value in vars(kernels).items() if isinstance(value, Kernel)}
    assert names >= {function.name for function in FUNCTIONS.values() if function.family in ("affine", "activations")}


def test_it_compiles_what_is_missing_and_says_where():
    first, second = warmup(), warmup()
    assert (first.returncode, first.stderr) == (second.returncode, second.stderr) == (0, "")
    total = 2 * sum(len(kernel.dispatchers) for _, _, kernel in _warmup.every_kernel())
    assert second.stdout.splitlines()[-2].startswith(f"[{total}/{total}] ")
    assert second.stdout.splitlines()[-1].startswith(f"{total} binaries, 0 of them compiled now in ")
    assert second.stdout.endswith(f" MB in {_cache.directory()}\n")
    code = """
        import numpy as np, fastgrad as fg
        from fastgrad.kernels import affine
        for dtype in ("f4", "f8"):
            fg.affine_vjp(*np.ones((3, 200, 200), dtype))
        counts = [d.stats for d in affine.affine_vjp.dispatchers.values()]
        print([(sum(c.cache_hits.values()), sum(c.cache_misses.values())) for c in counts])
    """
    assert run(code, NUMBA_THREADING_LAYER="omp", NUMBA_NUM_THREADS="2") == "[(2, 0), (2, 0)]"


def test_a_bar_in_a_terminal():
    terminal, its_end = pty.openpty()
    text = b""
    with subprocess.Popen(COMMAND, cwd=PACKAGE.parent, stdout=its_end) as process:
        os.close(its_end)
        while True:  # as it comes: a terminal takes few kilobytes before it is read
            try:
                text += os.read(terminal, 65536)
            except OSError:  # all is read, and the other end closed
                break
    os.close(terminal)
    assert process.returncode == 0
    assert "━".encode() in text
    assert b"[1/" not in text


def test_where_nothing_can_be_saved(package, tmp_path):
    (package / "kernels" / "__pycache__").write_text("a file where the directory would be")
    (tmp_path / "home").write_text("and another")
    home = str(tmp_path / "home")
    finished = warmup(tmp_path, XDG_CACHE_HOME=home, HOME=home)
    assert finished.returncode == 1
    assert re.search("No directory can be written; point NUMBA_CACHE_DIR", finished.stderr)


def _command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


@pytest.mark.parametrize("when", ["processes start", "something is compiled"])
def test_control_c_leaves_no_traceback(tmp_path, when):
    process = subprocess.Popen(
        COMMAND,
        cwd=PACKAGE.parent,
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if when == "processes start" and children.exists():
        while b"spawn_main" not in b"".join(_command_line(child) for child in children.read_text().split()):
            assert process.poll() is None
            time.sleep(0.01)
    else:
        process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert (process.returncode, errors.strip()) == (130, "interrupted")
