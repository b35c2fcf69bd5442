"""Colours, pager, progress: what reaches which stream, and when."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from bootd.cli.output import Output, json_mode
from bootd.cli.render.text import (
    count,
    fields,
    moment,
    printable,
    short_digest,
    size,
    table,
)
from bootd.cli.screen.progress import LineDisplay, SilentDisplay, Step, displayed
from bootd.cli.screen.terminal import adapt, rows
from bootd.cli.screen.terminal import size as terminal_size
from bootd.cli.style import Style, wants_colour
from bootd.cli.verbs import VERBS
from bootd.model.errors import WriteFailedError


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


LONG = "l1\nl2\nl3\nl4"
"""More than fits a terminal of four lines, of which one is for the prompt."""


@pytest.fixture
def pager(tmp_path: Path) -> str:
    program = tmp_path / "pager"
    program.write_text('#!/bin/sh\necho "paged $LESS"\ncat\n')
    program.chmod(0o755)
    return str(program)


def on_terminal(text: str, columns: int = 20, **environment: str) -> str:
    """Show a text on a terminal of four lines, and return what is there then."""
    code = (
        "import os, sys; from bootd.cli.output import Output\n"
        "Output(sys.stdout, sys.stderr, pager=os.environ.get('PAGE') != 'no').text(sys.argv[1])"
    )
    unsized = {
        name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")
    }
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 4, columns, 0, 0))
    try:
        subprocess.run(
            [sys.executable, "-c", code, text],
            stdout=theirs,
            stdin=theirs,
            check=True,
            timeout=60,
            env={**unsized, "TERM": "xterm", **environment},
        )
        return os.read(ours, 4096).decode().replace("\r\n", "\n")
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_terminal_gets_a_pager(pager: str) -> None:
    assert on_terminal(LONG, PAGER=pager) == f"paged FRSXMK\n{LONG}\n"
    assert on_terminal(LONG, PAGER=pager, SYSTEMD_LESS="X") == f"paged X\n{LONG}\n"


@pytest.mark.parametrize(
    "without",
    [
        {"PAGE": "no"},
        {"SYSTEMD_PAGER": ""},
        {"SYSTEMD_PAGER": "cat"},
        {"SYSTEMD_PAGER": "/nonexistent/pager"},
        {"TERM": "dumb"},
        {"LINES": "50"},
    ],
)
def test_nobody_wants_a_pager_or_can_use_one(pager: str, without: Mapping[str, str]) -> None:
    assert on_terminal(LONG, **{"PAGER": pager, **without}) == f"{LONG}\n"


@pytest.mark.parametrize(("width", "paged"), [(60, False), (61, True)])
def test_only_what_does_not_fit_the_screen_is_paged(pager: str, width: int, paged: bool) -> None:
    assert on_terminal("1" * width, PAGER=pager).startswith("paged ") is paged


@pytest.mark.parametrize(
    ("text", "columns", "taken"),
    [
        ("", 80, 1),
        ("1\n2\n3", 20, 3),
        ("1\n\n3", 20, 3),
        ("1\n" + "2" * 20, 20, 2),
        ("1\n" + "2" * 21, 20, 3),
        ("\x1b[1;31m" + "1" * 20 + "\x1b[0m", 20, 1),
        ("一二三四五", 10, 1),
        ("一二三四五六", 10, 2),
        ("e\u0301" * 10, 10, 1),
        ("\t\tx", 16, 2),
    ],
)
def test_rows_of_a_terminal(text: str, columns: int, taken: int) -> None:
    assert rows(text, columns) == taken


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (80, 24)),
        ({"COLUMNS": "100", "LINES": "30"}, (100, 30)),
        ({"COLUMNS": "0", "LINES": "many"}, (80, 24)),
    ],
)
def test_size_where_there_is_no_terminal(
    environment: Mapping[str, str], expected: tuple[int, int]
) -> None:
    with Path(os.devnull).open() as nowhere:
        assert tuple(terminal_size(environment, nowhere.fileno())) == expected


def test_what_changes_something_is_never_paged() -> None:
    assert {verb.words for verb in VERBS if verb.looks} == {
        *(
            "status",
            "deployments",
            "jobs",
            "why",
            "history",
            "doctor",
            "config",
            "completion",
            "kargs",
            "denied list",
        ),
        *("etc diff", "etc preview", "etc conflicts", "etc copies", "lint", "trust check"),
    }


MARKS = "● ○ → … \N{EN DASH} ' “ ” é 東 \U0001f600"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", MARKS),
        ("ascii", '* o -> ... - \' " " \\xe9 \\u6771 \\U0001f600'),
        ("iso-8859-1", '* o -> ... - \' " " é \\u6771 \\U0001f600'),
        ("koi8-r", '* o -> ... - \' " " \\xe9 \\u6771 \\U0001f600'),
        ("cp437", '* o -> ... - \' " " é \\u6771 \\U0001f600'),
        ("euc-jp", "● ○ → … - ' “ ” é 東 \\U0001f600"),
    ],
)
def test_any_text_can_be_shown_in_any_character_set(encoding: str, shown: str) -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    for stream in streams:
        adapt(stream)
    stdout, stderr = streams
    Output(stdout, stderr).text(MARKS)
    Output(stdout, stderr).note(MARKS)
    for stream in streams:
        assert stream.buffer.getvalue().decode(encoding) == f"{shown}\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "iso-8859-1"])
def test_json_keeps_its_values_in_any_character_set(encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    adapt(stream)
    for text in (MARKS, "lone \udcff", "plain"):
        stream.buffer.seek(0)
        stream.buffer.truncate()
        Output(stream, stream, json="short").value({"text": text})
        assert json.loads(stream.buffer.getvalue()) == {"text": text}  # type: ignore[attr-defined]


def test_a_result_that_cannot_be_written_is_an_error() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        for write in (Output(full, full).text, Output(full, full, json="short").value):
            with pytest.raises(WriteFailedError, match="No space left"):
                write("result")
        # What could not be written would be tried again when the file is closed.
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), full.fileno())


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
