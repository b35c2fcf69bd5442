"""Medians and ratios of the runs, as JSON and as a table, and what failed with its reason."""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.measure import Measurement

_FIGURES = ("seconds", "durable_seconds", "cpu_seconds", "peak_pss", "written_bytes", "wire_bytes")
_MIB = 1 << 20
_LONGEST_REASON = 300


class NotMeasuredError(Exception):
    """A figure is not there; the message says why."""


@dataclass(frozen=True)
class Target:
    """A figure that is promised: at most so much. What was not measured is not met."""

    what: str
    found: float | None
    at_most: float
    unit: str = ""
    reason: str = ""

    @property
    def met(self) -> bool:
        return self.found is not None and self.found <= self.at_most

    def row(self) -> tuple[str, ...]:
        found = f"not measured: {self.reason}" if self.found is None else f"{self.found:.3g}"
        verdict = "met" if self.met else "MISSED"
        return (self.what, found, f"<= {self.at_most:g}", self.unit, verdict)


@dataclass
class Results:
    """All runs, by what was done and by which tool, and other figures, by part and name.

    Attributes:
        failed: the parts that failed, and why.
    """

    facts: dict[str, Any]
    runs: dict[str, dict[str, list[Measurement]]] = field(default_factory=dict)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)

    def add(self, what: str, tool: str, measurement: Measurement) -> None:
        self.runs.setdefault(what, {}).setdefault(tool, []).append(measurement)

    def note(self, part: str, **figures: float) -> None:
        """Keep figures of a part."""
        self.figures.setdefault(part, {}).update(figures)

    def figure(self, part: str, name: str) -> float:
        """A figure that was noted.

        Raises:
            NotMeasuredError: there is none.
        """
        try:
            return self.figures[part][name]
        except KeyError:
            raise NotMeasuredError(self.failed.get(part, f"{part} was left out")) from None

    def median(self, what: str, tool: str, figure: str = "seconds") -> float:
        """The median of all runs of a tool.

        Raises:
            NotMeasuredError: there is none.
        """
        runs = self.runs.get(what, {}).get(tool)
        if not runs:
            raise NotMeasuredError(self.failed.get(tool, f"{tool} was left out"))
        return statistics.median(float(getattr(run, figure)) for run in runs)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Let a part of the benchmark fail on its own; the reason is kept."""
        start = time.monotonic()
        try:
            yield
        # pytest.fail is how the tests' own tools say what is missing.
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - the other parts go on
            traceback.print_exc(file=sys.stdout)
            said = " ".join(str(error).split()) or type(error).__name__
            self.failed.setdefault(name, said[:_LONGEST_REASON].replace("|", "/"))
        self.note("seconds of the benchmark", **{name: time.monotonic() - start})

    def table(self) -> str:
        """A table for people, in Markdown."""
        lines = [f"{name}: {value}" for name, value in self.facts.items()]
        for what, tools in self.runs.items():
            header = ("tool", "s", "s, durable", "s of CPU", "MiB of memory", "MiB written",
                      "MiB on the wire", "runs")  # fmt: skip
            rows = [self._row(what, tool, runs) for tool, runs in tools.items()]
            lines += ["", f"## {what}", "", *_markdown(header, rows)]
        if self.failed:
            lines += ["", "## Failed", ""]
            lines += [f"- {name}: {reason}" for name, reason in self.failed.items()]
        header = ("what", "found", "target", "unit", "verdict")
        rows = [target.row() for target in self.targets]
        lines += ["", "## Targets", "", *_markdown(header, rows)]
        return "\n".join(lines) + "\n"

    def verdict(self) -> str:
        """The last line: how many targets were met, and how many missed."""
        return f"{len(self.targets) - self.missed} targets met, {self.missed} missed"

    @property
    def missed(self) -> int:
        """How many targets were missed."""
        return sum(not target.met for target in self.targets)

    def write(self, folder: Path, name: str) -> None:
        """Write ``<name>.json`` and ``<name>.md`` into a folder."""
        folder.mkdir(exist_ok=True)
        plain = {
            what: {tool: [_figures(run) for run in runs] for tool, runs in tools.items()}
            for what, tools in self.runs.items()
        }
        targets = [{**asdict(target), "met": target.met} for target in self.targets]
        value = {
            "facts": self.facts,
            "runs": plain,
            "figures": self.figures,
            "failed": self.failed,
            "targets": targets,
        }
        (folder / f"{name}.json").write_text(json.dumps(value, indent=2) + "\n")
        (folder / f"{name}.md").write_text(self.table())

    def _row(self, what: str, tool: str, runs: Sequence[Measurement]) -> tuple[str, ...]:
        seconds, durable, cpu, memory, written, wire = (
            self.median(what, tool, figure) for figure in _FIGURES
        )
        sizes = tuple(f"{size / _MIB:.0f}" for size in (memory, written, wire))
        return (tool, f"{seconds:.2f}", f"{durable:.2f}", f"{cpu:.2f}", *sizes, str(len(runs)))


@dataclass(frozen=True)
class Promise:
    """A target before anything was measured: `find` takes the figure out of the results."""

    what: str
    at_most: float
    unit: str
    find: Callable[[Results], float]

    def judge(self, results: Results) -> Target:
        try:
            found = self.find(results)
        except NotMeasuredError as error:
            return Target(self.what, None, self.at_most, self.unit, str(error))
        return Target(self.what, found, self.at_most, self.unit)


def machine_facts() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": f"{len(names)} x {names[0]}" if names else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _figures(run: Measurement) -> Mapping[str, float]:
    return {figure: round(getattr(run, figure), 3) for figure in _FIGURES}


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    head = [cell.ljust(width) for cell, width in zip(header, widths, strict=True)]
    rule = ["-" * width for width in widths]
    return ["| " + " | ".join(line) + " |" for line in (head, rule, *lines)]
