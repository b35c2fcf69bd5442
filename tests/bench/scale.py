"""``make bench-scale``: a first pull against size, files and layers; upgrades against their number.

One thing grows at a time. Each image has its turn in every round, and of its runs the one in the
middle counts, so that an hour in which the machine was slow bends no curve. All figures go to
``bench-results/<time>-scale.json``, after every point, so that what was measured stays when
something fails.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.history import nights
from bench.report import Results, machine_facts
from bench.sizes import rounds, size
from bench.staged_size import stage_synthetic
from bench.synthetic import Shape
from bench.tool import say
from bench.work_folder import work_folder

_COMMON = Shape(size=size().night_bytes, entries=20_000, layers=12)
"""What does not grow."""


def axes() -> dict[str, list[Shape]]:
    """The images of each axis."""
    common, few = _COMMON, min(_COMMON.entries, size().entries[-1])
    return {
        "size": [Shape(one, few, common.layers) for one in size().sizes],
        "entries": [Shape(common.size, one, common.layers) for one in size().entries],
        "layers": [Shape(common.size, few, one) for one in size().layers],
    }


def main() -> int:
    """Measure; return 1 if something failed."""
    results = Results(machine_facts())
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    folder = Path(__file__).parents[2] / "bench-results"
    folder.mkdir(exist_ok=True)
    target = folder / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ-scale.json")
    with work_folder() as work:
        for axis, what, found in _points(results, work):
            _tell(axis, what, found)
            runs.setdefault(axis, {}).setdefault(what, []).append(found)
            points = {axis: [_middle(one) for one in runs[axis].values()] for axis in runs}
            value = {"facts": results.facts, "failed": results.failed, "points": points}
            target.write_text(json.dumps(value, indent=2) + "\n")
    say(f"figures are in {target.relative_to(folder.parent)}")
    for axis, reason in results.failed.items():
        say(f"{axis} failed: {reason}")
    return 1 if results.failed else 0


def _points(results: Results, folder: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for _ in range(rounds()):
        for axis, shapes in axes().items():
            for shape in shapes:
                with results.part(axis):
                    what = f"{shape.size / 1e9:g} GB, {shape.entries} files, {shape.layers} layers"
                    yield axis, what, stage_synthetic(folder / axis, shape)
    with results.part("nights"):
        history = folder / "nights"
        history.mkdir()
        shape = Shape(_COMMON.size, min(_COMMON.entries, size().entries[-1]), _COMMON.layers)
        for found in nights(history, shape, size().nights):
            yield "nights", f"night {found['night']}", found


def _middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]


def _tell(axis: str, what: str, found: dict[str, Any]) -> None:
    say(
        f"{axis}: {what}: {found['seconds']:.1f} s, {found['cpu_seconds']:.1f} s of CPU, "
        f"{found['peak_pss'] / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    sys.exit(main())
