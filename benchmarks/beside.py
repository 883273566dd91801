"""fastgrad beside NumPy and beside the machine's limit: figures that mean the same on a slower or busier machine.

Measured once an environment, as `python -m fastgrad bench` does: each library in a process of its own, in turns.
"""

import math
import statistics

import numba

from fastgrad._bench import measurement
from fastgrad._functions import FUNCTIONS

from .common import HOME


class Beside:
    """One number a function, over its shapes."""

    param_names = ("function",)
    params = (list(FUNCTIONS),)
    timeout = 300

    def setup_cache(self):
        rows = measurement.run(["float32"], peers=[HOME, "numpy"], rounds=2, seconds=0.03)["rows"]
        return {name: [row for row in rows if row["function"] == name] for name in FUNCTIONS}

    setup_cache.timeout = 300

    def track_share_of_limit(self, rows, function):
        """The geometric mean over the shapes."""
        return 100 * statistics.geometric_mean(row["limit"] / row["times"][HOME] for row in rows[function])

    track_share_of_limit.unit = "% of the limit"

    def track_ratio_to_numpy(self, rows, function):
        """The geometric mean over the shapes; above 1, fastgrad is faster."""
        ratios = [ratio for row in rows[function] if (ratio := measurement.ratio(row)) is not None]
        return statistics.geometric_mean(ratios) if ratios else math.nan  # gelu needs SciPy there

    track_ratio_to_numpy.unit = "times as fast as NumPy"

    def track_largest_error(self, rows, function):
        return max((row["errors"][HOME] for row in rows[function] if row["errors"]), default=math.nan)

    track_largest_error.unit = "ulp of the largest entry in a row"


def track_threads():
    """How many threads all of these figures were measured with."""
    return numba.get_num_threads()


track_threads.unit = "threads"
