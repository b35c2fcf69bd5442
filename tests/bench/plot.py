"""``make bench-plot``: pictures of the newest results, in ``docs/``.

``performance.png`` has the tools of ``make bench`` side by side, ``scale.png`` what ``make
bench-scale`` found. It needs the extra ``bench``. What was not measured stays empty.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.targets import FIRST, SECOND

_CHECKOUT = Path(__file__).parents[2]
_DOCS = _CHECKOUT / "docs"
_DOTS_PER_INCH = 90
_PROMISED_MEMORY = 220
"""MB of all processes of a stage; so that curves below it can be compared."""
_AXES = {
    "size": ("size", 1e9, "GB unpacked, 20,000 files, 12 layers"),
    "entries": ("entries", 1e3, "thousand files, 0.4 GB, 12 layers"),
    "layers": ("layers", 1, "layers, 0.4 GB, 20,000 files"),
}


def newest(pattern: str) -> dict[str, Any]:
    """The newest results whose file name matches, or nothing at all."""
    found = sorted((_CHECKOUT / "bench-results").glob(pattern))
    return dict(json.loads(found[-1].read_text())) if found else {}


def draw_tools(bench: Mapping[str, Any]) -> Figure:
    """Draw what each tool took."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    _tools(figure.subplots(), bench.get("runs", {}))
    return figure


def draw_scale(scale: Mapping[str, Any]) -> Figure:
    """Draw the axes and the history."""
    figure = Figure(figsize=(13, 8), layout="constrained")
    places = figure.subplots(2, 3).flat
    points = scale.get("points", {})
    for axis in _AXES:
        _growth(next(places), axis, points.get(axis, []))
    _history_cost(next(places), points.get("nights", []))
    _history_disk(next(places), points.get("nights", []))
    next(places).set_axis_off()
    return figure


def _tools(axes: Axes, runs: Mapping[str, Any]) -> None:
    first, second = runs.get(FIRST, {}), runs.get(SECOND, {})
    names = list(first)
    rows = range(len(names))
    for shift, label, taken in ((-0.2, "first version", first), (0.2, "second version", second)):
        widths = [_median(taken.get(name, [])) for name in names]
        bars = axes.barh([row + shift for row in rows], widths, 0.38, label=label)
        axes.bar_label(bars, fmt="%.1f", padding=2)
    axes.set_yticks(rows, [name.replace(" + ", " +\n") for name in names])
    axes.invert_yaxis()
    axes.set_title("Seconds from registry to disk")
    if names:
        axes.legend()


def _growth(axes: Axes, axis: str, points: Sequence[Mapping[str, Any]]) -> None:
    key, unit, label = _AXES[axis]
    places = [point[key] / unit for point in points]
    for name, style in (("seconds", "o-"), ("cpu_seconds", "s--")):
        axes.plot(places, [point[name] for point in points], style, label=name.replace("_", " "))
    _memory(axes, places, points)
    axes.set_title(f"First pull against {axis}")
    axes.set_xlabel(label)


def _history_cost(axes: Axes, points: Sequence[Mapping[str, Any]]) -> None:
    later = [point for point in points if point["night"]]
    places = [point["night"] for point in later]
    for name, style in (("seconds", "-"), ("cpu_seconds", "--")):
        axes.plot(places, [point[name] for point in later], style, label=name.replace("_", " "))
    _memory(axes, places, later)
    axes.set_title("Upgrades in a row")
    axes.set_xlabel("night")


def _history_disk(axes: Axes, points: Sequence[Mapping[str, Any]]) -> None:
    seen = [point for point in points if "disk_bytes" in point]
    places = [point["night"] for point in seen]
    axes.plot(places, [point["disk_bytes"] / 1e6 for point in seen], "o-", label="MB on disk")
    _from_nothing(axes)
    other = axes.twinx()
    counts = [point["inodes"] / 1e3 for point in seen]
    other.plot(places, counts, "s--", color="tab:red", label="thousand inodes")
    _from_nothing(other)
    axes.set_title("Disk after upgrades in a row")
    axes.set_xlabel("night")
    axes.legend(loc="lower left")
    other.legend(loc="lower right")


def _memory(axes: Axes, places: Sequence[float], points: Sequence[Mapping[str, Any]]) -> None:
    _from_nothing(axes)
    axes.legend(loc="upper left")
    other = axes.twinx()
    peaks = [point["peak_pss"] / 1e6 for point in points]
    other.plot(places, peaks, ":", color="tab:green", label="MB of memory")
    other.set_ylim(0, max([_PROMISED_MEMORY, *peaks]) * 1.1)
    other.legend(loc="lower right")


def _from_nothing(axes: Axes) -> None:
    """Let the axis begin with 0, and leave room for the legend."""
    axes.set_ylim(0, axes.get_ylim()[1] * 1.2)


def _median(runs: Sequence[Mapping[str, float]]) -> float:
    return statistics.median(run["seconds"] for run in runs) if runs else 0.0


def main() -> int:
    """Draw the newest results; return 1 where there are none."""
    pictures = {
        "performance.png": ("*Z.json", draw_tools),
        "scale.png": ("*Z-scale.json", draw_scale),
    }
    drawn = 0
    for name, (pattern, draw) in pictures.items():
        if results := newest(pattern):
            draw(results).savefig(_DOCS / name, dpi=_DOTS_PER_INCH)
            sys.stdout.write(f"docs/{name}\n")
            drawn += 1
    if not drawn:
        sys.stdout.write("there are no results: run 'make bench' or 'make bench-scale' first\n")
    return 0 if drawn else 1


if __name__ == "__main__":
    sys.exit(main())
