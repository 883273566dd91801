"""README's figures and the picture, from the stored result of a real run: `python docs/figures.py`

The run is `python -m fastgrad bench --json docs/benchmark.json` on a quiet machine; nothing here is typed by hand.
"""

import math
from pathlib import Path

from fastgrad._bench.measurement import HOME, read
from fastgrad._bench.report import conclusion, duration, setting

DOCS = Path(__file__).resolve().parent
README = DOCS.parent / "README.md"
BEGIN, END = "<!-- made by docs/figures.py -->\n", "<!-- end -->\n"


def section(result):
    """What stands between the two marks in README: where, how, what came out of it, and a table a dtype."""
    lines = [
        f"Measured on {setting(result)},",
        f"by `{result['command']}`: each library in a process of its own, in turns, on the same arrays.",
        f"Other programs took {result['foreign'] or 0:.0%} of the CPUs meanwhile. Redrawn by `python docs/figures.py`.",
    ]
    for dtype in dict.fromkeys(row["dtype"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["dtype"] == dtype]
        lines += ["", f"**{dtype}.** {conclusion(rows)}", "", *table(rows)]
    return "\n".join(lines) + "\n"


def table(rows):
    """A line for each function and shape: fastgrad's time and its share of the limit, and how many times longer the
    others take; below 1, in bold, is a loss."""
    peers = list(dict.fromkeys(peer for row in rows for peer in row["times"] if peer != HOME))
    head = ["function", "shape", "fastgrad", "of the limit", *peers]
    lines = [f"| {' | '.join(head)} |", f"|---|---|{'--:|' * (len(head) - 2)}"]
    for row in rows:
        own = row["times"][HOME]
        cells = [f"`{row['function']}`", row["shape"].replace("x", "×"), duration(own), f"{row['limit'] / own:.0%}"]
        cells += [times(row["times"].get(peer, math.nan) / own) for peer in peers]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def times(ratio):
    if math.isnan(ratio):
        return ""
    text = f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
    return f"**{text}**" if ratio < 1 else text


def replaced(readme, result):
    """README with the section made anew."""
    before, rest = readme.split(BEGIN)
    return before + BEGIN + section(result) + END + rest.split(END, 1)[1]


def main():
    from fastgrad._bench.plot import draw

    result = read(DOCS / "benchmark.json")
    README.write_text(replaced(README.read_text(), result))
    draw(result, DOCS / "benchmark.png")


if __name__ == "__main__":
    main()
