"""How far a job is: a bar on a terminal, lines elsewhere, nothing where nobody listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol, TextIO

from bootd.cli.output import Output
from bootd.startup import later

with later():
    from bootd.cli.screen import bar  # rich is optional and slow to load

_LINES: Final = 10
"""How many lines a job gets besides one a phase."""


@dataclass(frozen=True, slots=True)
class Step:
    """A moment of a job.

    Attributes:
        phase: what it is busy with; empty before the first phase.
        fraction: 0 to 1 for the whole job.
        done: bytes of this phase.
        total: bytes this phase will have; 0 if not known.
    """

    phase: str
    fraction: float
    done: int = 0
    total: int = 0


class Display(Protocol):
    """Shows steps."""

    def update(self, step: Step) -> None:
        """Show a step that has just been reached."""


class SilentDisplay:
    """Shows nothing."""

    def update(self, step: Step) -> None:
        """Do nothing."""


class LineDisplay:
    """Writes a line when a phase begins and at every tenth of the job: for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._phase = ""
        self._tenth = 0

    def update(self, step: Step) -> None:
        """Write a line if there is enough news."""
        tenth = int(step.fraction * _LINES)
        if not step.phase or (step.phase, tenth) == (self._phase, self._tenth):
            return
        self._phase, self._tenth = step.phase, tenth
        self._stream.write(f"{step.phase}: {step.fraction:.0%}\n")
        self._stream.flush()


@contextmanager
def displayed(output: Output) -> Iterator[Display]:
    """Yield the display that fits the terminal, or its absence."""
    if not output.talkative:
        yield SilentDisplay()
    elif not output.stderr.isatty():
        yield LineDisplay(output.stderr)
    else:
        with _bar(output.stderr) as display:
            yield display


@contextmanager
def _bar(stream: TextIO) -> Iterator[Display]:
    try:
        made = bar.BarDisplay(stream)
    except ImportError:
        yield LineDisplay(stream)
        return
    with made as display:
        yield display
