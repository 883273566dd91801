"""Runs the cases: a process for each peer, in turns; and what is kept of a run."""

import datetime
import json
import math
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import astuple
from importlib import metadata
from pathlib import Path

import fastgrad

from . import SECONDS
from .cases import cases
from .limits import Limits
from .peers import BOUND, HOME, PEERS, installed, limit_threads

VERSIONS = ("numpy", "numba", "llvmlite", "torch", "jax", "autograd")
_PAUSE = 0.01  # seconds between two libraries: threads of the one spin for a while after its last call


class WorkerError(Exception):
    """A worker ended before it answered."""


class Worker:
    """A process that runs the cases of one peer, one at a time."""

    def __init__(self, peer, listed, environment):
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 closed by `close`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fastgrad._bench.worker", peer, json.dumps([astuple(case) for case in listed])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | environment,
        )

    def ask(self, **request):
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, and told why
        return self.answer()

    def answer(self):
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._process.wait()
        self._errors.seek(0)
        told = self._errors.read().strip().splitlines()
        raise WorkerError(told[-1] if told else f"exit status {self._process.returncode}")

    def close(self):
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            stream.close()


def run(
    dtypes,
    threads=None,
    shapes=None,
    functions=None,
    peers=None,
    seconds=SECONDS,
    rounds=3,
    track=iter,
    judge=True,
    by_columns=(),
):
    """Measures, and returns the result as what JSON can hold; `track` goes through the cases, and may show how far. The
    inputs named in `by_columns` are in Fortran order.

    The errors are left out where `judge` is false: on large arrays, they take longer than the times.
    """
    listed = list(cases(dtypes, shapes, functions, by_columns))
    if not listed:
        raise SystemExit("No function takes as many sizes as these shapes have.")
    peers = peers or installed()
    shared = BOUND | (limit_threads(threads) if threads else {})
    workers, failures, rows = {}, {}, []
    foreign = ForeignWork()
    try:
        workers["limits"] = Worker("limits", [], shared)
        limits = Limits(**workers["limits"].ask())
        for peer in ("exact", *peers) if judge else peers:
            own = PEERS[peer].environment if peer in PEERS else limit_threads(1)
            workers[peer] = Worker(peer, listed, shared | own)
        with tempfile.TemporaryDirectory() as folder:
            for number, case in enumerate(track(listed)):
                here = [p for p in peers if p not in failures and (case.multiplies or not PEERS[p].products)]
                rows.append(_measure(case, number, workers, here, failures, Path(folder), seconds, rounds))
        limits = limits.or_higher(Limits(**workers["limits"].ask()))
        for row in rows:
            row["limit"] = limits.seconds(row["dtype"], row["flops"], row["bytes"])
    finally:
        for worker in workers.values():
            worker.close()
    return {
        "machine": machine(),
        "versions": versions(),
        "threads": limits.threads,
        "foreign": foreign.share(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": "python -m fastgrad " + shlex.join(sys.argv[1:]),
        "limits": limits.as_json(),
        "rows": rows,
        "failures": failures,
    }


class ForeignWork:
    """How much of the CPUs other programs take meanwhile, where the system tells: their work makes times waver."""

    def __init__(self):
        self._start = self._counts()

    @staticmethod
    def _counts():
        """Seconds: of all CPUs at work, of this process and its ended children at work, and of the clock."""
        try:
            user, nice, kernel = map(int, Path("/proc/stat").read_text().split()[1:4])
        except (OSError, ValueError):
            return None
        own = sum(os.times()[:4])
        return (user + nice + kernel) / os.sysconf("SC_CLK_TCK"), own, time.monotonic()

    def share(self):
        """From 0 to 1, or None where it cannot be known."""
        end = self._counts()
        if end is None or self._start is None:
            return None
        busy, own, elapsed = (b - a for a, b in zip(self._start, end, strict=True))
        return round(min(max((busy - own) / (elapsed * os.cpu_count()), 0), 1), 3)


def _measure(case, number, workers, peers, failures, folder, seconds, rounds):
    times, errors = {}, {}

    def ask(peer, **request):
        if peer in failures:
            return None
        try:
            return workers[peer].ask(case=number, **request)
        except WorkerError as error:
            failures[peer] = f"{case.name} {case.shape} {case.dtype}: {error}"
            return None

    for _ in range(rounds):
        for peer in peers:
            time.sleep(_PAUSE)
            taken = ask(peer, seconds=seconds)
            if taken is not None:
                times[peer] = min(taken, times.get(peer, math.inf))
    file = folder / f"{number}.npz"
    if "exact" in workers and ask("exact", file=str(file)):
        for peer in times:
            errors[peer] = ask(peer, file=str(file))
        file.unlink()
    flops, nbytes = case.work()
    return {
        "function": case.name,
        "family": case.function.family,
        "shape": case.shape,
        "dtype": case.dtype,
        "flops": flops,
        "bytes": nbytes,
        "times": times,
        "errors": errors,
    }


def others(row):
    """The times of everyone but fastgrad."""
    return {peer: seconds for peer, seconds in row["times"].items() if peer != HOME}


def ratio(row):
    """How many times longer the fastest other library takes; None where there is none."""
    times = others(row)
    return min(times.values()) / row["times"][HOME] if times and HOME in row["times"] else None


def summary(rows):
    """(geometric mean of the ratios, cases, cases in which another library is faster), or None without a peer."""
    ratios = [r for row in rows if (r := ratio(row)) is not None]
    if not ratios:
        return None
    return math.exp(sum(map(math.log, ratios)) / len(ratios)), len(ratios), sum(r < 1 for r in ratios)


def machine():
    """The CPU by its name where the system tells, and how many there are."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {"cpu": name, "cpus": os.cpu_count(), "system": platform.platform(terse=True)}


def versions():
    found = {"python": platform.python_version(), "fastgrad": fastgrad.__version__}
    for name in VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def write(result, file):
    Path(file).write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def read(file):
    try:
        result = json.loads(Path(file).read_text())
    except (OSError, ValueError) as error:
        raise SystemExit(f"{file} cannot be read: {error}") from None
    if not isinstance(result, dict) or not {"rows", "limits", "failures"} <= result.keys():
        raise SystemExit(f"{file} holds no result that --json wrote")
    return result
