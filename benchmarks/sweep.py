"""Many shapes at random, each beside the fastest other library: what the fixed shapes of the benchmarks do not show.

    python -m benchmarks.sweep softmax softmax_vjp --grid 1,17,512 2,33,1000
    python -m benchmarks.sweep affine affine_vjp --dtypes float64 --cases 50 --seed 1
    python -m benchmarks.sweep affine affine_dx --by-columns W

Without a grid, sizes are uniform in their logarithm: one in three as it comes, the next prime, or a power of two.
"""

import argparse
import itertools
import math
import random
from collections import defaultdict

from fastgrad._bench import measurement
from fastgrad._bench.report import duration
from fastgrad._functions import DTYPES, FUNCTIONS


def random_size(rng, largest):
    size = math.exp(rng.uniform(0, math.log(largest)))
    kind = rng.randrange(3)
    if kind == 0:
        return round(size)
    if kind == 1:
        return 2 ** round(math.log2(size))
    return next(p for p in itertools.count(max(2, int(size))) if all(p % q for q in range(2, math.isqrt(p) + 1)))


def shapes(count, options):
    """Shapes of `count` sizes whose product is within the limit, as `_bench` writes them."""
    rng = random.Random(f"{options.seed} {count}")
    if options.grid:
        fitting = [s for s in itertools.product(*options.grid) if math.prod(s) <= options.most]
        chosen = rng.sample(fitting, min(options.cases, len(fitting)))
    else:
        drawn = (tuple(random_size(rng, options.largest) for _ in range(count)) for _ in itertools.count())
        chosen = itertools.islice((s for s in drawn if math.prod(s) <= options.most), options.cases)
    return ["x".join(map(str, shape)) for shape in chosen]


def show(rows, worst):
    groups = defaultdict(list)
    for row in rows:
        if measurement.ratio(row) is not None:
            groups[row["function"], row["dtype"]].append(row)
    for (function, dtype), group in groups.items():
        mean, cases, lost = measurement.summary(group)
        print(f"{function} {dtype}: {mean:.2f} times as fast as the fastest other over {cases} cases, slower in {lost}")
        for row in sorted(group, key=measurement.ratio)[:worst]:
            peer = min(others := measurement.others(row), key=others.get)
            own = row["times"][measurement.HOME]
            times = f"{duration(own):>8}, {peer} {duration(others[peer])}, limit {duration(row['limit'])}"
            print(f"    {measurement.ratio(row):5.2f}  {row['shape']:>16}  {times}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("functions", nargs="+", choices=FUNCTIONS, metavar="function")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["float32"])
    parser.add_argument("--grid", nargs="+", type=lambda text: [int(size) for size in text.split(",")])
    parser.add_argument("--by-columns", nargs="+", default=[], metavar="input", help="inputs in Fortran order")
    parser.add_argument("--cases", type=int, default=20, help="shapes a function and dtype (default: %(default)s)")
    parser.add_argument("--most", type=float, default=1e7, help="product of the sizes (default: %(default)g)")
    parser.add_argument("--largest", type=float, default=5000, help="one random size (default: %(default)g)")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--worst", type=int, default=5, help="cases shown a function and dtype (default: %(default)s)")
    parser.add_argument("--json", help="a file for all of them, which `python -m fastgrad bench --load` shows")
    options = parser.parse_args()
    counts = dict.fromkeys(1 + len(FUNCTIONS[name].sizes) for name in options.functions)
    listed = [shape for count in counts for shape in shapes(count, options)]
    by_columns = tuple(options.by_columns)
    result = measurement.run(options.dtypes, None, listed, options.functions, judge=False, by_columns=by_columns)
    show(result["rows"], options.worst)
    if options.json:
        measurement.write(result, options.json)


if __name__ == "__main__":
    main()
