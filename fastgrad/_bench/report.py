"""A result as tables in the terminal."""

from itertools import groupby

from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from .measurement import HOME, ratio, summary

_MUCH = 0.03  # of the CPUs, taken by other programs
_PIPE_WIDTH = 180  # columns where there is no terminal to fit


def tracked(cases):
    """The cases, with a bar that shows how many are done; on a terminal only, and apart from what is printed."""
    console = Console(stderr=True)
    return track(cases, "measuring", console=console, transient=True, disable=not console.is_terminal)


def show(result):
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPE_WIDTH)
    console.print(setting(result))
    if (result["foreign"] or 0) > _MUCH:
        console.print(f"Other programs took {result['foreign']:.0%} of the CPUs meanwhile: these times waver.")
    for dtype, rows in _by_dtype(result):
        console.print(_table(dtype, rows))
        console.print(conclusion(rows), "")


def setting(result):
    """One line: on what, with what, when."""
    machine, threads = result["machine"], result["threads"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return f"{machine['cpu']}, {threads} of {machine['cpus']} CPUs, {versions}, {result['date'][:10]}"


def conclusion(rows):
    """What the ratios say together, and every case that fastgrad loses."""
    said = summary(rows)
    if said is None:
        return "Nothing is there to compare with."
    mean, cases, lost = said
    text = f"The fastest other library takes {mean:.2f} times as long in the geometric mean of {cases} cases"
    if not lost:
        return f"{text}, and is faster in none."
    behind = sorted((row for row in rows if (r := ratio(row)) is not None and r < 1), key=ratio)
    listed = ", ".join(f"{row['function']} {row['shape']} ({ratio(row):.2f})" for row in behind)
    return f"{text}, and is faster in {lost}: {listed}."


def _by_dtype(result):
    dtypes = dict.fromkeys(row["dtype"] for row in result["rows"])
    return [(dtype, [row for row in result["rows"] if row["dtype"] == dtype]) for dtype in dtypes]


def _table(dtype, rows):
    peers = list(dict.fromkeys(peer for row in rows for peer in row["times"] if peer != HOME))
    table = Table(title=f"{dtype}: time, and how many times fastgrad's")
    table.add_column("", no_wrap=True)
    table.add_column("fastgrad", justify="right")
    table.add_column("of the limit", justify="right")
    for peer in peers:
        table.add_column(peer, justify="right")
    table.add_column("error (ulp)", justify="right")
    table.add_column("the others'", justify="right")
    for name, group in groupby(rows, key=lambda row: row["function"]):
        table.add_section()
        table.add_row(Text(name, style="bold"))
        for row in group:
            table.add_row(*_cells(row, peers))
    return table


def _cells(row, peers):
    times, errors = row["times"], row["errors"]
    own = times.get(HOME)
    cells = [f"  {row['shape']}", duration(own), f"{row['limit'] / own:.0%}" if own else "–"]
    for peer in peers:
        cells.append(_beside(times[peer], own) if peer in times else "–")
    theirs = [error for peer, error in errors.items() if peer != HOME and error is not None]
    cells.append(_digits(errors.get(HOME)))
    cells.append(f"{_digits(min(theirs))} … {_digits(max(theirs))}" if theirs else "–")
    return cells


def _beside(seconds, own):
    if not own:
        return duration(seconds)
    times = seconds / own
    style = "green" if times >= 1.05 else "red" if times < 0.95 else "yellow"
    return Text.assemble(duration(seconds), (f" {_three_digits(times):>4}×", style))


def duration(seconds):
    """Three digits and a unit."""
    if seconds is None:
        return "–"
    unit, size = next((u, size) for u, size in (("s", 1), ("ms", 1e-3), ("µs", 0)) if seconds >= size)
    return f"{_three_digits(seconds / (size or 1e-6))} {unit}"


def _three_digits(value):
    return f"{value:.{max(0, 3 - len(str(int(value))))}f}"


def _digits(value):
    if value is None:
        return "–"
    return f"{value:.1f}" if value < 100 else f"{value:.0e}"
