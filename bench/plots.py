"""A picture of each section's result, as SVG."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from results import HEADRACE, Result

COLOURS = {
    HEADRACE: "#0b6e99",
    "MiniStack": "#d9822b",
    "kinesalite": "#7a5195",
    "raw loop": "#9aa5b1",
    "bare loop": "#9aa5b1",
    "bare server": "#c9d1d9",
    "bare Python": "#9aa5b1",
}
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "headrace", "font.family": "sans-serif", "font.size": 9}


def draw(result: Result, path: Path) -> bool:
    """Draw a result; return whether there is a picture of its section."""
    drawing = {"ingest": _ingest, "end_to_end": _end_to_end, "reads": _reads, "footprint": _footprint}
    if result.section not in drawing:
        return False
    with mpl.rc_context(_STYLE):
        canvas = Canvas(figsize=(8, 3.4), layout="constrained", facecolor="white")
        drawing[result.section](canvas, result)
        for axes in canvas.axes:
            axes.spines[["top", "right"]].set_visible(False)
        canvas.savefig(path, metadata={"Date": None, "Creator": "bench/plots.py"})
    return True


def _ingest(canvas: Canvas, result: Result) -> None:
    axes = canvas.subplots()
    names = [HEADRACE, *dict.fromkeys(name for figure in result.figures for name in figure.beside)]
    height = 0.8 / len(names)
    for place, name in enumerate(names):
        rows = [
            (at - 0.4 + height * (place + 0.5), figure.value if name == HEADRACE else figure.beside[name])
            for at, figure in enumerate(result.figures)
            if name == HEADRACE or name in figure.beside
        ]
        axes.barh([at for at, _ in rows], [value for _, value in rows], height * 0.9, color=COLOURS[name], label=name)
    axes.set_yticks(range(len(result.figures)), [figure.name for figure in result.figures])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("records/s (logarithmic)")
    canvas.legend(loc="outside upper center", ncols=len(names), frameon=False)


def _end_to_end(canvas: Canvas, result: Result) -> None:
    left, right = canvas.subplots(1, 2)
    backlog = result.series["backlog"]
    left.plot([at for at, _ in backlog], [count for _, count in backlog], color=COLOURS[HEADRACE])
    left.set_ylim(bottom=0)
    left.set_xlabel("seconds under load")
    left.set_ylabel("records that wait (the slower function)")
    cpu_us = sorted(result.series["cpu_us"].items(), key=lambda one: one[1])
    right.barh([name for name, _ in cpu_us], [value for _, value in cpu_us], color=COLOURS[HEADRACE])
    right.set_xlabel("CPU, µs an event")


def _reads(canvas: Canvas, result: Result) -> None:
    axes: Axes = canvas.subplots()
    for (name, values), colour in zip(result.series.items(), ("#d9822b", "#0b6e99", "#7a5195"), strict=False):
        shares = [100 * place / len(values) for place in range(len(values))]
        axes.plot(shares, values, label=name, color=colour)
    axes.set_yscale("log")
    axes.set_xlabel("percent of them that took at most …")
    axes.set_ylabel("ms, under load (logarithmic)")
    axes.legend(frameon=False)


def _footprint(canvas: Canvas, result: Result) -> None:
    axes = canvas.subplots()
    own = result.series["fresh"], result.series["after events"]
    rows = [f"{HEADRACE}, fresh", f"{HEADRACE}, after events", *result.series["others"]]
    for row, processes in enumerate(own):
        left = 0.0
        for name, megabytes in sorted(processes.items(), key=lambda one: -one[1]):
            axes.barh(row, megabytes, left=left, color=COLOURS[HEADRACE], edgecolor="white")
            if megabytes > 12:
                short = name.removeprefix("headrace.app ").removesuffix(" 0")
                axes.text(left + megabytes / 2, row, short, ha="center", va="center", color="white", size=6)
            left += megabytes
    for row, (name, megabytes) in enumerate(result.series["others"].items(), len(own)):
        axes.barh(row, megabytes, color=COLOURS[name])
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_xlabel("MB when idle, all processes (PSS)")
