"""Where everything ``bootctl-py`` says goes: data to stdout, talk and errors to stderr.

With ``--json`` stdout carries exactly one document, be it the result or the error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TextIO

from bootd.cli.style import Style, wants_colour

if TYPE_CHECKING:
    from pydantic import BaseModel

JsonMode = Literal["off", "short", "pretty"]


class Output(NamedTuple):
    """What to print, and how.

    Attributes:
        stdout: takes results.
        stderr: takes progress, advice and errors.
        json: ``off`` for people.
        quiet: no progress and no advice.
        pager: long output may be paged.
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
        from bootd.cli.render.by_kind import render  # noqa: PLC0415 - JSON needs no pydantic

        whole = not self.stdout.isatty() if full is None else full
        self.text(render(value, self.style._replace(full=whole)))

    def value(self, value: Any) -> None:
        """Print a JSON value on stdout."""
        indent = 2 if self.json == "pretty" else None
        separators = None if indent else (",", ":")
        text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=False)
        self.stdout.write(text + "\n")
        self.stdout.flush()

    def text(self, text: str) -> None:
        """Print text on stdout, through a pager where one is of use."""
        if not text:
            return
        if self.pager and self.stdout is sys.stdout and self.stdout.isatty():
            from bootd.cli.pager import page  # noqa: PLC0415 - few have anything to page

            if page(text, self.environment):
                return
        self.stdout.write(text + "\n")
        self.stdout.flush()

    def note(self, text: str) -> None:
        """Say something to the person at the keyboard, if there is one who wants to hear it."""
        if self.talkative:
            self.stderr.write(text + "\n")
            self.stderr.flush()


def json_mode(asked: str, stdout: TextIO) -> JsonMode:
    """Return the mode for what ``--json`` or ``-j`` said."""
    if asked == "auto":
        return "pretty" if stdout.isatty() else "short"
    return "pretty" if asked == "pretty" else "short" if asked == "short" else "off"
