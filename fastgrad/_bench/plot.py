"""A result as a picture: how near to the machine's limits fastgrad comes, and how many times longer the others take."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from .limits import Limits
from .measurement import HOME, others, summary

_COLOURS = {  # Okabe and Ito's, which the colour-blind tell apart
    HOME: "#000000",
    "numpy": "#0072B2",
    "numpy-avx512": "#56B4E9",
    "torch": "#D55E00",
    "jax": "#009E73",
    "autograd": "#CC79A7",
}
_LIMIT = "#0072B2"


def draw(result, file):
    rows = [row for row in result["rows"] if HOME in row["times"]]
    names = list(dict.fromkeys(row["function"] for row in rows))
    height = 4.6 + 0.3 * len(names)
    figure = plt.figure(figsize=(11, height + 0.9), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(4.6, 0.3 * len(names) + 0.9))
    compute, memory = above.subplots(1, 2)
    limits = Limits(**result["limits"])
    _roofline(compute, limits, [row for row in rows if row["flops"]])
    _bandwidth(memory, limits, [row for row in rows if not row["flops"]])
    _ratios(below.subplots(), rows, names)
    figure.suptitle(_title(result, rows), fontsize=10)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _title(result, rows):
    machine = result["machine"]
    title = f"fastgrad {result['versions']['fastgrad']} on {machine['cpu']}, {result['threads']} threads"
    title += f", {' and '.join(sorted({row['dtype'] for row in rows}))}, {result['date'][:10]}"
    said = summary(rows)
    if said is not None:
        title += f"\nThe fastest other library takes {said[0]:.2f}× as long (geometric mean); "
        title += f"it is the faster in {said[2]} of {said[1]} cases"
    return title


def _best_other(row):
    times = others(row)
    return min(times.values()) if times else None


def _pairs(axes, rows, x, y):
    """For each case, fastgrad and the fastest other library, joined: y(row, seconds) over x(row)."""
    for row in rows:
        best = _best_other(row)
        if best:
            axes.plot([x(row)] * 2, [y(row, best), y(row, row["times"][HOME])], color="0.75", lw=1, zorder=1)
            axes.plot(x(row), y(row, best), "o", color="white", mec="#D55E00", ms=6, zorder=2)
        axes.plot(x(row), y(row, row["times"][HOME]), "o", color=_COLOURS[HOME], ms=6, zorder=3)
    fastgrad = Line2D([], [], ls="", marker="o", color=_COLOURS[HOME], label="fastgrad")
    best = Line2D([], [], ls="", marker="o", color="white", mec="#D55E00", label="fastest other library")
    axes.legend(handles=[fastgrad, best], loc="lower right", fontsize=8)
    axes.grid(alpha=0.25, which="both", lw=0.5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())


def _label(axes, text, x, y, side):
    """Text just above a point."""
    axes.annotate(text, (x, y), (0, 5), textcoords="offset points", ha=side, fontsize=8, color=_LIMIT)


def _roofline(axes, limits, rows):
    """Gflop/s over flops a byte: below the slope, memory is the limit; below the ceiling, the multiply-adds are."""
    _pairs(axes, rows, lambda row: row["flops"] / row["bytes"], lambda row, seconds: row["flops"] / seconds / 1e9)
    if not rows:
        return
    slopes = {"caches": max(rate for _, rate in limits.copy), "memory": limits.copy[-1][1]}
    low, high = axes.get_xlim()
    low = min(low, max(limits.peak.values()) / slopes["caches"])  # so that its slope is in the picture
    intensity = np.geomspace(low / 2, high * 1.5, 200)
    for dtype in sorted({row["dtype"] for row in rows}):
        peak = limits.peak[dtype]
        for slope in slopes.values():
            axes.plot(intensity, np.minimum(peak, intensity * slope) / 1e9, color=_LIMIT, lw=1.8, zorder=0)
        _label(axes, f"{dtype}: {peak / 1e9:.0f} Gflop/s", intensity[-1], peak / 1e9, "right")
    for name, slope in slopes.items():
        _label(axes, f"{name}: {slope / 1e9:.0f} GB/s", intensity[4], intensity[4] * slope / 1e9, "left")
    axes.set_xlim(intensity[0], intensity[-1])
    axes.set_title("Matrix products: roofline (higher is better)", fontsize=10)
    axes.set_xlabel("flops for each byte read or written")
    axes.set_ylabel("Gflop/s")


def _bandwidth(axes, limits, rows):
    """GB/s over the bytes of a case, beneath the rate at which so many bytes can be copied."""
    _pairs(axes, rows, lambda row: row["bytes"], lambda row, seconds: row["bytes"] / seconds / 1e9)
    sizes, rates = np.array(limits.copy).T
    axes.plot(sizes, rates / 1e9, color=_LIMIT, lw=1.8, zorder=0)
    _label(axes, "copying", sizes[0], rates[0] / 1e9, "left")
    axes.set_title("All others: bytes moved (higher is better)", fontsize=10)
    axes.set_xlabel("bytes of all inputs and results")
    axes.set_ylabel("GB/s")


def _ratios(axes, rows, names):
    """For each function and library, one mark a shape: that library's time over fastgrad's."""
    peers = [peer for peer in _COLOURS if peer != HOME and any(peer in row["times"] for row in rows)]
    spread = 0.7 / max(len(peers), 1)
    for place, name in enumerate(names):
        for number, peer in enumerate(peers):
            chosen = [row for row in rows if row["function"] == name and peer in row["times"]]
            at = place + (number - (len(peers) - 1) / 2) * spread
            axes.plot(
                [row["times"][peer] / row["times"][HOME] for row in chosen],
                [at] * len(chosen),
                "o",
                color=_COLOURS[peer],
                ms=5,
                alpha=0.85,
            )
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color="0.96", zorder=0)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    low, high = min(low, 0.5), max(high, 2)
    axes.axvspan(low, 1, color="#D55E00", alpha=0.08, zorder=0)
    axes.axvline(1, color="0.2", lw=1)
    axes.set_xlim(low, high)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names, fontsize=8, family="monospace")
    marks = [m * 10.0**e for e in range(-3, 5) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    axes.set_xticks(marks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}×"))
    axes.minorticks_off()
    axes.grid(alpha=0.25, axis="x", lw=0.5)
    axes.set_xlabel("time of the other library ÷ time of fastgrad, one mark a shape")
    for text, shift, side in (("fastgrad is slower", -6, "right"), ("fastgrad is faster", 6, "left")):
        place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        axes.annotate(text, (1, 1), (shift, 4), ha=side, fontsize=8, color="0.2", **place)
    handles = [Line2D([], [], ls="", marker="o", color=_COLOURS[peer], label=peer) for peer in peers]
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), fontsize=8, ncols=len(peers), frameon=False)
