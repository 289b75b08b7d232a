"""Draw figures for the README: SVG that is legible on a light page and on a dark one.

GitHub shows a README on white or on near black, as its reader prefers. One picture works on both if its background is
transparent, its text is a grey half-way between the two, and its colours have medium lightness. The colours are those
of M. Okabe and K. Ito; people with red-green blindness can tell them apart. Colour is never the only mark: bars carry
their names and numbers, lines have markers of their own and a name at their end, quiet is hollow and loud is filled.

Three pictures answer one question each. Where does an echo's time go, and how much of it is the kernel's, which no
server can save? What do more connections cost? How long do clients wait beside one that never stops sending?

The same figures make the same bytes, so a picture changes in the repository only when a figure does.
"""

from __future__ import annotations

import pathlib
import statistics
from collections.abc import Iterator
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

from . import rounds
from .contenders import BASE
from .goals import OUR_STREAMS, OURS
from .rounds import Results

TEXT = "#777777"  # against white 4.5 : 1, against GitHub's dark page 4.2 : 1 (WCAG 2.1)
KERNEL = "#9a9a9a"
ORANGE, BLUE = "#d55e00", "#3a87c8"  # ours, all others
STYLE: Any = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 10,
    "svg.fonttype": "none",  # keep text as text: a reader can select it, a screen reader can read it
    "svg.hashsalt": "reactor",  # so that ids are the same each time
    "text.color": TEXT, "axes.labelcolor": TEXT, "axes.edgecolor": TEXT, "xtick.color": TEXT, "ytick.color": TEXT,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 11, "axes.titlelocation": "left",
    "legend.frameon": False, "legend.labelcolor": TEXT, "grid.color": TEXT, "grid.alpha": 0.25,
}  # fmt: skip
EACH_OF_OURS = (OURS, OUR_STREAMS)
# Which servers are drawn as lines, and how: more lines would be hard to tell apart.
LINES = {
    OURS: (ORANGE, "o"),
    OUR_STREAMS: ("#e8995c", "o"),
    BASE: ("#3a87c8", "s"),
    "asyncio streams": ("#56a8d8", "D"),
    "uvloop Protocol": ("#c46a9f", "^"),
    "threads": ("#8c7a2e", "v"),
    "trio": ("#7a6fd0", "P"),
    "floor (Python, bare epoll)": ("#1f9e77", "X"),
    "limit (C, epoll)": (TEXT, "d"),
}
PERCENTILES = {"p50": "o", "p99": "D", "p99.9": "s"}
LEAST_GAP = 0.052  # between two names at the ends of lines, as a share of the picture's height
WIDTH_INCHES = 8.0


def draw(results: Results, folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Draw what `results` has figures for; yield the files made in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, row, make in (
        ("cpu_per_echo", "echo", _cpu_per_echo),
        ("connections", "growth", _connections),
        ("latency", "firehose", _latency),
    ):
        measured = [who for who in results["contenders"] if rounds.samples(results, row, who)]
        if measured:
            path = folder / f"{name}.svg"
            with pyplot.rc_context(STYLE):
                picture = make(results, measured)
                picture.savefig(path, transparent=True, metadata={"Date": None}, bbox_inches="tight")
                pyplot.close(picture)
            yield path


def _cpu_per_echo(results: Results, measured: list[str]) -> Picture:
    """A bar for each server, the shortest first; the grey part is the kernel's."""
    figures = {who: rounds.value(results, "echo", who) for who in measured}
    medians = {who: figure.median for who, figure in figures.items() if figure}
    order = sorted(medians, key=lambda who: -medians[who])
    picture, axes = _canvas(0.32 * len(order) + 1.0)
    for place, who in enumerate(order):
        kernel = medians[who] * (rounds.median_of(results, "echo", who, "kernel_share") or 0.0)
        axes.barh(place, kernel, color=KERNEL, height=0.68)
        axes.barh(place, medians[who] - kernel, left=kernel, color=_colour(who), height=0.68)
        weight = "bold" if who in EACH_OF_OURS else "normal"
        end = medians[who], place
        axes.annotate(f"{end[0]:.1f}", end, (5, 0), textcoords="offset points", va="center", weight=weight)
    _name_rows(axes, order)
    axes.set_xlabel(_caption(results, "echo", "CPU time per echo, µs"))
    axes.set_title(results["rows"]["echo"]["title"])
    parts = [Patch(color=KERNEL), Patch(color=ORANGE), Patch(color=BLUE)]
    axes.legend(parts, ["in the kernel", "in reactor", "in other servers"], loc="upper right")
    return picture


def _connections(results: Results, measured: list[str]) -> Picture:
    """CPU per echo over the number of busy connections, a line for each server."""
    picture, axes = _canvas(4.6)
    ends: list[tuple[float, str]] = []
    for who in (name for name in LINES if name in measured):
        points = _medians(details["microseconds"] for details in _details(results, "growth", who))
        colour, marker = LINES[who]
        width = 2.6 if who in EACH_OF_OURS else 1.5
        axes.plot([int(step) for step in points], list(points.values()), color=colour, marker=marker, linewidth=width)
        ends.append((list(points.values())[-1], who))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(True, axis="y")
    steps = [int(step) for step in _details(results, "growth", measured[0])[0]["microseconds"]]
    axes.set_xticks(steps, [f"{step:,}" for step in steps])
    axes.tick_params(axis="x", which="minor", length=0, labelbottom=False)
    _plain_numbers(axes)
    _name_ends(axes, ends, steps[-1])
    axes.set_title("CPU per echo by number of busy connections, 64 bytes")
    axes.set_ylabel("µs (logarithmic)")
    axes.set_xlabel(_caption(results, "growth", "connections"))
    return picture


def _latency(results: Results, measured: list[str]) -> Picture:
    """Percentiles of the ping-pong clients: hollow when quiet, filled beside the firehose."""
    quiet, beside = (
        {who: _medians(details[when] for details in _details(results, "firehose", who)) for who in measured}
        for when in ("quiet", "beside")
    )
    order = sorted(measured, key=lambda who: -beside[who]["p99"])
    picture, axes = _canvas(0.42 * len(order) + 1.3)
    for place, who in enumerate(order):
        colour = _colour(who)
        for figures, height, face in ((quiet[who], place + 0.17, "none"), (beside[who], place - 0.17, colour)):
            values = [figures[name] for name in PERCENTILES]
            axes.plot(values, [height] * len(values), color=colour, linewidth=1, alpha=0.6)
            for value, marker in zip(values, PERCENTILES.values(), strict=True):
                axes.plot(value, height, marker=marker, color=colour, markerfacecolor=face, markersize=6, linestyle="")
    axes.set_xscale("log")
    axes.grid(True, axis="x")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    _name_rows(axes, order)
    axes.set_xlabel(_caption(results, "firehose", "µs from sending to the last byte back (logarithmic)"))
    axes.set_title("Waiting of 50 ping-pong clients, alone and beside one firehose", pad=30)
    shapes = [Line2D([], [], color=TEXT, marker=mark, linestyle="") for mark in PERCENTILES.values()]
    grounds = [Patch(edgecolor=TEXT, facecolor="none"), Patch(color=TEXT)]
    names = [*PERCENTILES, "alone: hollow", "beside the firehose: filled"]
    axes.legend([*shapes, *grounds], names, loc="lower left", bbox_to_anchor=(-0.02, 0.995), ncols=5, columnspacing=1.6)
    return picture


def _colour(who: str) -> str:
    return ORANGE if who in EACH_OF_OURS else BLUE


def _canvas(height_inches: float) -> tuple[Picture, Axes]:
    picture, axes = pyplot.subplots(figsize=(WIDTH_INCHES, height_inches))
    return picture, axes


def _name_rows(axes: Axes, order: list[str]) -> None:
    axes.set_yticks(range(len(order)), order)
    axes.tick_params(axis="y", length=0)
    for label, who in zip(axes.get_yticklabels(), order, strict=True):
        if who in EACH_OF_OURS:
            label.set(color=ORANGE, weight="bold")


def _name_ends(axes: Axes, ends: list[tuple[float, str]], last: float) -> None:
    """Write the name of each line beside its end, moved up where it would touch the name below."""
    to_share = axes.transAxes.inverted().transform
    lowest = float("-inf")
    for value, who in sorted(ends):
        height = float(to_share(axes.transData.transform((last, value)))[1])
        height = lowest = max(height, lowest + LEAST_GAP)
        weight = "bold" if who in EACH_OF_OURS else "normal"
        style: dict[str, Any] = {"va": "center", "color": LINES[who][0], "weight": weight}
        axes.text(1.02, height, f"{who}  {value:.1f}", transform=axes.transAxes, **style)


def _plain_numbers(axes: Axes) -> None:
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in (5, 10, 20, 50, 100, 200, 500, 1_000) if low <= tick <= high])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _details(results: Results, row: str, who: str) -> list[dict[str, Any]]:
    return [sample["details"] for sample in rounds.samples(results, row, who).values()]


def _medians(details: Any) -> dict[str, float]:
    """The median of each entry over all rounds."""
    details = list(details)
    return {name: statistics.median(each[name] for each in details) for name in details[0]}


def _caption(results: Results, row: str, words: str) -> str:
    machine = results.get("machine", {})
    count = max(len(rounds.samples(results, row, who)) for who in results["contenders"])
    made = f"Python {machine.get('python')}, {machine.get('processor')}; medians of {count} rounds"
    return f"{words}\n{made}"
