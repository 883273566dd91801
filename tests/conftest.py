"""Hypothesis profiles: the same examples in every run by default, HYPOTHESIS_PROFILE=search for new ones, and a few of
the same for a run with every index checked (NUMBA_BOUNDSCHECK=1 HYPOTHESIS_PROFILE=few)."""

import os
import shutil
import signal

import pytest
from hypothesis import HealthCheck, settings
from subprocesses import PACKAGE

# The first call of a kernel compiles: no deadline, and generating beside it is not what is slow.
COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=40, derandomize=True, **COMMON)
settings.register_profile("few", max_examples=6, derandomize=True, **COMMON)
settings.register_profile("search", max_examples=1000, **COMMON)
# A run in the background ignores Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
# What runs beside another worker is not to be bound to the same CPU as that, as the benchmarks bind what runs alone.
os.environ["OMP_PROC_BIND"] = "false"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package to edit or to lock, whose cache is its own."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    return shutil.copytree(PACKAGE, tmp_path / "fastgrad", ignore=shutil.ignore_patterns("__pycache__"))


def pytest_terminal_summary(terminalreporter):
    """How many mistakes the testing kit rejected, and how many right gradients it accepted."""
    for test, done in (
        ("test_wrong_gradient_is_rejected", "rejected"),
        ("test_right_gradient_is_accepted", "accepted"),
    ):
        outcomes = [
            outcome
            for outcome in ("passed", "failed")
            for report in terminalreporter.stats.get(outcome, [])
            if f"::{test}[" in report.nodeid and report.when == "call"
        ]
        if outcomes:
            kind = test.split("_")[1]
            terminalreporter.write_line(f"{done} {outcomes.count('passed')} of {len(outcomes)} {kind} gradients")
