"""Tells what is done, shows commands and their output, keeps the list of what was proved."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

_SECONDS = 120.0
_COLUMNS = 110


class DemoFailedError(Exception):
    """A command did not end as the demo expects."""


class Narrator:
    """Writes the story to standard output.

    Attributes:
        environment: what the shown commands run with.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._started = time.monotonic()
        self._claims: list[tuple[str, bool]] = []
        self._shown_as: dict[str, str] = {}
        self._bold, self._plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")

    def call(self, name: str, value: str) -> None:
        """Show a long value that is in commands under a short name from now on."""
        self._shown_as[value] = name

    def chapter(self, title: str) -> None:
        """Begin another part of the story."""
        passed = time.monotonic() - self._started
        self._print(f"\n{self._bold}== {title}{self._plain}  [{passed:.0f} s]")

    def tell(self, text: str) -> None:
        """Say something."""
        self._print(text)

    def run(self, *words: str, status: int = 0, lines: int = 60) -> str:
        """Run a command, show it and what it prints, at most so many lines; return all of that.

        Raises:
            DemoFailedError: its exit status is another one.
        """
        return self._run(shlex.join(words), words, status, lines)

    def shell(self, script: str) -> str:
        """Run a line of shell; see `run`."""
        return self._run(script, ("sh", "-ec", script), 0, 10)

    def _run(self, shown_as: str, words: Sequence[str], status: int, lines: int) -> str:
        self._print(f"{self._bold}$ {self._short(shown_as)}{self._plain}")
        done = subprocess.run(
            words,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            text=True,
            check=False,
        )
        shown = done.stdout.rstrip().splitlines()
        for line in shown[:lines]:
            self._print(f"    {_cut(self._short(line))}")
        if len(shown) > lines:
            self._print(f"    … {len(shown) - lines} more lines")
        if done.returncode != status:
            raise DemoFailedError(f"{words[0]} ended with status {done.returncode}, not {status}")
        return done.stdout

    def claim(self, text: str, holds: bool, *details: str) -> None:
        """State something that was just checked."""
        self._claims.append((text, holds))
        self._print(f"  {self._mark(holds)} {text}")
        if not holds:
            self._tell_all(details)

    def _tell_all(self, details: Sequence[str]) -> None:
        for line in details[:20]:
            self._print(f"      {line}")

    def finish(self) -> bool:
        """Print what was proved and how long it took; whether all of it holds."""
        passed = time.monotonic() - self._started
        self._print(f"\n{self._bold}What this showed, in {passed:.0f} s:{self._plain}")
        for text, holds in self._claims:
            self._print(f"  {self._mark(holds)} {text}")
        return all(holds for _, holds in self._claims)

    @staticmethod
    def _mark(holds: bool) -> str:
        return "[yes]" if holds else "[NO!]"

    def _short(self, text: str) -> str:
        for value, name in sorted(self._shown_as.items(), key=lambda one: -len(one[0])):
            text = text.replace(value, name)
        return text

    @staticmethod
    def _print(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _cut(line: str) -> str:
    return line if len(line) <= _COLUMNS else line[: _COLUMNS - 1].rstrip() + "…"
