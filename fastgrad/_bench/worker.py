"""One process of a measurement: it answers requests, a line of JSON each, until its input ends.

Pools of threads that spin would slow each other down within one process, so every peer has its own. Arguments: the
peer (or `exact`, which forms the results that all are held against) and the cases.
"""

import json
import os
import statistics
import sys
import time

import numpy as np

from .cases import Case, flat, largest_error
from .peers import CPUS, prepare

_LEAST_SAMPLE = 1e-4  # seconds; what is shorter is called several times a sample


def main():
    peer, cases = sys.argv[1], [Case(*case) for case in json.loads(sys.argv[2])]
    cpus = os.environ.get(CPUS)
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cpus)])
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing that a library prints may come between
    if peer == "limits":
        from . import limits

        for _ in sys.stdin:
            print(json.dumps(limits.measure().as_json()), file=answers, flush=True)
        return
    known, call = None, None
    for line in sys.stdin:
        request = json.loads(line)
        case = cases[request["case"]]
        if peer == "exact":
            exact = case.exact()
            answer = exact is not None
            if answer:
                np.savez(request["file"], *exact)
        else:
            if case != known:
                known, call = case, prepare(peer, case)
            if call is None:
                answer = None
            elif "file" in request:
                with np.load(request["file"]) as exact:
                    answer = largest_error(flat(call()), list(exact.values()), case.dtype)
            else:
                answer = median_seconds(call, request["seconds"])
        print(json.dumps(answer), file=answers, flush=True)


def median_seconds(call, seconds):
    """The median time of a call over so many seconds.

    As long before, it runs unmeasured: the first call compiles, and where the threads of a pool wake up on one CPU, the
    system takes some milliseconds to part them, which some calls wait for.
    """
    call()
    start, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() < start + seconds:
        call()
        calls += 1
    calls = max(1, int(_LEAST_SAMPLE * calls / (time.perf_counter() - start)))
    samples = []
    end = time.perf_counter() + seconds
    while len(samples) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        samples.append((time.perf_counter() - start) / calls)
    return statistics.median(samples)


if __name__ == "__main__":
    main()
