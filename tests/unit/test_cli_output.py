"""Colours, pager, progress: what reaches which stream, and when."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from bootd.cli.output import Output, json_mode
from bootd.cli.progress import LineDisplay, SilentDisplay, Step, displayed
from bootd.cli.render.text import (
    count,
    fields,
    moment,
    printable,
    short_digest,
    size,
    table,
)
from bootd.cli.style import Style, wants_colour


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def output(terminal: bool = False, **options: object) -> Output:
    kind = Terminal if terminal else io.StringIO
    return Output(stdout=kind(), stderr=kind(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("environment", "terminal", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"SYSTEMD_COLORS": "1"}, False, True),
        ({"SYSTEMD_COLORS": "256"}, False, True),
        ({"SYSTEMD_COLORS": "false"}, True, False),
        ({"SYSTEMD_COLORS": "1", "NO_COLOR": "1"}, False, True),
        ({"SYSTEMD_COLORS": "", "NO_COLOR": "1"}, True, False),
    ],
)
def test_colours(environment: Mapping[str, str], terminal: bool, wanted: bool) -> None:
    assert wants_colour(environment, terminal=terminal) is wanted
    assert output(terminal, environment=environment).style == Style(colour=wanted)


def test_nothing_is_not_coloured() -> None:
    assert Style(colour=True).bad("") == ""


@pytest.mark.parametrize(
    ("asked", "terminal", "mode"),
    [
        ("off", True, "off"),
        ("short", True, "short"),
        ("pretty", False, "pretty"),
        ("auto", True, "pretty"),
        ("auto", False, "short"),
    ],
)
def test_json_modes(asked: str, terminal: bool, mode: str) -> None:
    assert json_mode(asked, Terminal() if terminal else io.StringIO()) == mode


def test_json_is_one_document() -> None:
    short = output(json="short")
    short.show({"kind": "New", "list": ["ä", 1]})
    short.note("progress is for people")
    assert short.stdout.getvalue() == '{"kind":"New","list":["ä",1]}\n'  # type: ignore[attr-defined]
    assert short.stderr.getvalue() == ""  # type: ignore[attr-defined]
    pretty = output(json="pretty")
    pretty.show({"kind": "New"})
    assert pretty.stdout.getvalue() == '{\n  "kind": "New"\n}\n'  # type: ignore[attr-defined]


@pytest.mark.parametrize(("quiet", "said"), [(True, ""), (False, "advice\n")])
def test_quiet_keeps_results(quiet: bool, said: str) -> None:
    out = output(quiet=quiet)
    out.note("advice")
    out.text("result")
    assert out.stderr.getvalue() == said  # type: ignore[attr-defined]
    assert out.stdout.getvalue() == "result\n"  # type: ignore[attr-defined]


def test_a_terminal_gets_a_pager(tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text('#!/bin/sh\necho "paged $LESS"\ncat\n')
    pager.chmod(0o755)
    code = (
        "import sys; from bootd.cli.output import Output\n"
        "Output(sys.stdout, sys.stderr, pager=sys.argv[1] == 'yes').text('the text')"
    )

    def shown(wanted: str, **environment: str) -> str:
        ours, theirs = pty.openpty()
        try:
            subprocess.run(
                [sys.executable, "-c", code, wanted],
                stdout=theirs,
                stdin=theirs,
                check=True,
                timeout=60,
                env={**os.environ, "PAGER": str(pager), **environment},
            )
            return os.read(ours, 4096).decode()
        finally:
            os.close(ours)
            os.close(theirs)

    assert shown("yes") == "paged FRSXMK\r\nthe text\r\n"
    assert shown("yes", SYSTEMD_LESS="X") == "paged X\r\nthe text\r\n"
    assert shown("no") == "the text\r\n"
    assert shown("yes", SYSTEMD_PAGER="") == "the text\r\n"
    assert shown("yes", SYSTEMD_PAGER="cat") == "the text\r\n"
    assert shown("yes", SYSTEMD_PAGER="/nonexistent/pager") == "the text\r\n"


def test_lines_tell_phases_and_tenths() -> None:
    stream = io.StringIO()
    display = LineDisplay(stream)
    display.update(Step("", 0.0))
    for percent in range(0, 51, 2):
        display.update(Step("pulling", percent / 100))
    display.update(Step("composing", 0.51))
    assert stream.getvalue().splitlines() == [
        "pulling: 0%",
        "pulling: 10%",
        "pulling: 20%",
        "pulling: 30%",
        "pulling: 40%",
        "pulling: 50%",
        "composing: 51%",
    ]


@pytest.mark.parametrize("options", [{"quiet": True}, {"json": "short"}])
def test_nobody_listens(options: dict[str, object]) -> None:
    out = output(terminal=True, **options)
    with displayed(out) as display:
        assert isinstance(display, SilentDisplay)
        display.update(Step("pulling", 0.5))
    assert out.stderr.getvalue() == ""  # type: ignore[attr-defined]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    out = output(terminal=True)
    with displayed(out) as display:
        display.update(Step("pulling", 0.5, 1_500_000, 3_000_000))
    drawn = out.stderr.getvalue()  # type: ignore[attr-defined]
    assert "pulling" in drawn
    assert "50%" in drawn
    assert "1.5 MB of 3.0 MB" in drawn


def test_a_log_gets_lines() -> None:
    out = output()
    with displayed(out) as display:
        display.update(Step("pulling", 0.5))
    assert out.stderr.getvalue() == "pulling: 50%\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_536_000, "1.5 MB"),
        (724_000_000, "724.0 MB"),
        (10**18, "1000.0 PB"),
    ],
)
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain ä", "plain ä"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("two\nlines", "two\\nlines"),
        ("\u202eright", "\\u202eright"),
        ("\udcff", "\\udcff"),
    ],
)
def test_nobody_draws_on_the_terminal(raw: str, shown: str) -> None:
    assert printable(raw) == shown
    assert table(("X",), [(raw,)], Style()) == f"X\n{shown}"


def test_small_words() -> None:
    assert short_digest("sha256:" + "ab" * 32) == "sha256:abababababab"
    assert (count(1, "try", "tries"), count(2, "try", "tries")) == ("1 try", "2 tries")
    assert count(0, "image") == "0 images"
    east = datetime(2026, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=1)))
    assert moment(east) == moment(east.astimezone(UTC)) == "2026-01-02 02:04 UTC"
    assert fields([("a", "1"), ("long", "2"), ("none", "")]) == "a     1\nlong  2"
    assert fields([]) == ""
