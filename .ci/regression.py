"""Is any function slower than in the previous commit? Exits with 1 if so; passes where that cannot be told.

Two processes, one with each commit, call the same function on the same arrays in turns: old, new, old, a few
milliseconds each, many rounds. The median of new / old is judged, never a time; old / old tells how much the machine
wavers. What looks slower is measured once more, longer, by two new processes: where one finds its memory can alone make
a quarter of a short call. One thread, so that nothing depends on who else is running.
"""

import io
import json
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CPUS = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}
KERNELS = Path("fastgrad", "kernels")
SLOWER, NOISE = 1.3, 1.1  # the ratio new / old that fails, and the ratio old / old beyond which nothing is judged
ROUNDS, BATCH = 15, 0.002  # turns of each, and seconds in one
SHAPES = ("1000", "64x10", "512x1000", "8x16x16", "128x784x10")
SECONDS = 20  # what is not compiled and compared by then is left out
# Asked first, since they are most of the work of a network.
FIRST = ("affine_vjp", "affine", "softmax", "softmax_vjp", "cross_entropy_value_and_grad", "relu", "relu_vjp")


class Commit:
    """A process that runs the functions of the package in a folder."""

    def __init__(self, folder):
        environment = os.environ | {"PYTHONPATH": str(folder), "NUMBA_NUM_THREADS": "1"}
        command = [sys.executable, __file__, "worker"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, cwd=folder, env=environment, **pipes)

    def run_on(self, cpus):
        """Both on one CPU while they take turns, so that whoever else is there hinders them alike."""
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self._process.pid, cpus)

    def send(self, request):
        pickle.dump(request, self._process.stdin)
        self._process.stdin.flush()

    def answer(self):
        return json.loads(self._process.stdout.readline())

    def ask(self, request):
        self.send(request)
        return self.answer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()


def worker():
    """Answers requests: (name, inputs, keywords) is made ready, None is timed, as seconds a call."""
    answers, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    import fastgrad

    while True:
        request = pickle.load(sys.stdin.buffer)
        if request:
            name, inputs, keywords = request
            function, count = getattr(fastgrad, name, None), 1
            try:
                for _ in range(5):
                    start = time.perf_counter()
                    function(*inputs, **keywords)
                    took = time.perf_counter() - start
                    count = max(count, int(BATCH / took))
                answer = True
            except (TypeError, ValueError):  # not there yet, or called differently
                answer = False
        else:
            start = time.perf_counter()
            for _ in range(count):
                function(*inputs, **keywords)
            answer = (time.perf_counter() - start) / count
        print(json.dumps(answer), file=answers, flush=True)


def compare(old, new, request, rounds):
    """The medians of new / old and of the unlikeness of old and old; None if one of them has no such function."""
    old.send(request)  # both compile at the same time
    new.send(request)
    if not all([old.answer(), new.answer()]):
        return None, None
    ratios, noise = [], []
    for commit in (old, new):
        commit.run_on({min(CPUS)})
    before = old.ask(None)
    for _ in range(rounds):
        after, again = new.ask(None), old.ask(None)  # never one of them twice in a row: the second would be faster
        ratios.append(2 * after / (before + again))
        noise.append(max(before, again) / min(before, again))
        before = again
    for commit in (old, new):
        commit.run_on(CPUS)
    return statistics.median(ratios), statistics.median(noise)


def previous(folder):
    """The package as it was in the previous commit, unpacked; None where there is none."""
    packed = subprocess.run(["git", "archive", "HEAD^", "fastgrad"], cwd=ROOT, capture_output=True, check=False)
    if packed.returncode:
        return None
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
        files.extractall(folder, filter="data")
    return Path(folder)


def kernels(folder):
    return {file.name: file.read_bytes() for file in (folder / KERNELS).glob("*.py")}


def requests():
    """(what is told of it, the request) for every function of the table on each shape."""
    sys.path.insert(0, str(ROOT))
    from fastgrad._bench.cases import cases
    from fastgrad._functions import FUNCTIONS

    names = sorted(FUNCTIONS, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    for case in cases(["float32"], SHAPES, names):
        inputs = case.arguments()
        keywords = {name: inputs.pop(name) for name in case.function.keywords if name in inputs}
        yield f"{case.name} {case.shape}", (case.name, list(inputs.values()), keywords)


def main():
    with tempfile.TemporaryDirectory() as folder:
        before = previous(folder)
        if before is None:
            return "There is no previous commit here to compare with."
        if kernels(before) == kernels(ROOT):  # then what is compiled for the one serves the other
            compiled = shutil.ignore_patterns("*.pyc")
            shutil.copytree(ROOT / KERNELS / "__pycache__", before / KERNELS / "__pycache__", ignore=compiled)
        with Commit(before) as old, Commit(ROOT) as new:
            return judge(old, new, before)


def once_more(before, request):
    with Commit(before) as old, Commit(ROOT) as new:
        return compare(old, new, request, 4 * ROUNDS)


def judge(old, new, before):
    end = time.monotonic() + SECONDS
    compared, slower, unclear = [], [], []
    for title, request in requests():
        if time.monotonic() > end:
            break
        ratio, noise = compare(old, new, request, ROUNDS)
        if ratio is None:
            continue
        if ratio > SLOWER:
            ratio, noise = once_more(before, request)
        compared.append(ratio)
        print(f"{title:50} {ratio:5.2f}   (old / old {noise:4.2f})", flush=True)
        if ratio > SLOWER:
            (slower if noise < NOISE else unclear).append(title)
    if unclear:
        print(f"Too noisy a machine to tell: {', '.join(unclear)}")
    if slower:
        sys.exit(f"Slower than in the previous commit: {', '.join(slower)}")
    return f"{len(compared)} cases, none clearly slower; new / old {statistics.geometric_mean(compared or [1]):.2f}"


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        worker()
    else:
        print(main())
