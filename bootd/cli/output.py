"""Where everything ``bootctl-py`` says goes: data to stdout, talk and errors to stderr.

With ``--json`` stdout carries exactly one document, be it the result or the error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO

from bootd.cli.screen.terminal import has_all, in_charset, rows, size
from bootd.cli.style import Style, wants_colour
from bootd.model.errors import WriteFailedError
from bootd.startup import later

if TYPE_CHECKING:
    from pydantic import BaseModel

with later():
    # JSON needs no pydantic, and few have anything to page.
    from bootd.cli.render import by_kind
    from bootd.cli.screen import pager

JsonMode = Literal["off", "short", "pretty"]


class Output(NamedTuple):
    """What to print, and how.

    Attributes:
        stdout: takes results.
        stderr: takes progress, advice and errors.
        json: ``off`` for people.
        quiet: no progress and no advice.
        pager: a text that does not fit the screen may be paged.
        environment: whose colours and pager count.
    """

    stdout: TextIO
    stderr: TextIO
    json: JsonMode = "off"
    quiet: bool = False
    pager: bool = False
    environment: Mapping[str, str] = os.environ

    @property
    def style(self) -> Style:
        """How stdout is marked up."""
        terminal = self.stdout.isatty()
        return Style(colour=wants_colour(self.environment, terminal=terminal))

    @property
    def talkative(self) -> bool:
        """Whether progress and advice are wanted."""
        return not self.quiet and self.json == "off"

    def show(self, document: BaseModel | Mapping[str, Any], *, full: bool | None = None) -> None:
        """Print a document, as JSON or as text.

        Args:
            document: a model, or what the daemon answered; the latter is passed on as it is, so
                that what a newer daemon adds is not lost.
            full: whether long lists are written as a whole; None: unless a terminal reads along.

        Raises:
            InternalError: there is no text for this kind of document.
        """
        value = document if isinstance(document, Mapping) else document.model_dump(mode="json")
        if self.json != "off":
            self.value(value)
            return
        whole = not self.stdout.isatty() if full is None else full
        self.text(by_kind.render(value, self.style._replace(full=whole)))

    def value(self, value: Any) -> None:
        """Print a JSON value on stdout."""
        indent = 2 if self.json == "pretty" else None
        separators = None if indent else (",", ":")
        text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=False)
        if not has_all(text, self.stdout):
            # A substitute would change the value; JSON has escapes of its own.
            text = json.dumps(value, indent=indent, separators=separators)
        self._write(text)

    def text(self, text: str) -> None:
        """Print text on stdout, through a pager where it does not fit the screen."""
        if not text:
            return
        shown = in_charset(text, self.stdout)
        if self.pager and self._overflows(shown):
            page = shown.encode(self.stdout.encoding, "replace")
            if pager.page(page, self.environment):
                return
        self._write(shown)

    def note(self, text: str) -> None:
        """Say something to the person at the keyboard, if there is one who wants to hear it."""
        if self.talkative:
            self.stderr.write(text + "\n")
            self.stderr.flush()

    def _overflows(self, text: str) -> bool:
        """Return whether a terminal reads along that cannot show a text and a prompt at once.

        ``less -F`` does not find out: it waits for a key wherever ``-S`` cut a line.
        """
        if self.stdout is not sys.stdout or not self.stdout.isatty():
            return False
        screen = size(self.environment, self.stdout.fileno())
        return rows(text, screen.columns) >= screen.lines

    def _write(self, text: str) -> None:
        """Write a line or more on stdout.

        Raises:
            BrokenPipeError: the reader has left.
            WriteFailedError: the text could not be written, so the caller knows no result.
        """
        try:
            self.stdout.write(text + "\n")
            self.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise WriteFailedError(
                f"the result cannot be written: {error.strerror}",
                hint="See what standard output leads to.",
            ) from error


def json_mode(asked: str, stdout: TextIO) -> JsonMode:
    """Return the mode for what ``--json`` or ``-j`` said."""
    if asked == "auto":
        return "pretty" if stdout.isatty() else "short"
    return "pretty" if asked == "pretty" else "short" if asked == "short" else "off"
