"""The progress bar; the only module that knows rich."""

from __future__ import annotations

from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from bootd.cli.render.text import size
from bootd.cli.screen.progress import Step


class BarDisplay:
    """A bar for the whole job, with its phase, its bytes and its time.

    It is redrawn when a step comes, by no thread of its own.
    """

    def __init__(self, stream: TextIO) -> None:
        self._bar = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[bytes]}"),
            TimeElapsedColumn(),
            console=Console(file=stream),
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task("", total=1.0, bytes="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def update(self, step: Step) -> None:
        """Draw a step."""
        amount = f"{size(step.done)} of {size(step.total)}" if step.total else ""
        self._bar.update(
            self._task, completed=step.fraction, description=step.phase, bytes=amount, refresh=True
        )
