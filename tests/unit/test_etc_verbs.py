"""Verbs that change /etc, as far as they go without a daemon."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

import pytest

from bootd import process
from bootd.cli.etc_paths import absolute
from bootd.cli.verbs import etc_resolve
from bootd.model.errors import InvalidArgumentError, ProcessFailedError

MARKED = "PDw8PDw8PCBhCm1pbmUKPT09PT09PQp0aGVpcnMKPj4+Pj4+PiBiCg=="


def editor(folder: Path, script: str) -> str:
    path = folder / "my editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"'{path}' --flag"


def test_an_editor_changes_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", editor(tmp_path, 'basename "$2" >>"$2"'))
    assert process.edit(b"text\n", "motd") == b"text\nmotd\n"


@pytest.mark.parametrize("command", ["/no/such/editor", "false", " "])
def test_an_editor_that_fails_is_named(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", command)
    with pytest.raises(ProcessFailedError):
        process.edit(b"text\n", "motd")


def test_marks_that_are_left_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etc_resolve, "look", lambda *_: {"marked": MARKED})
    monkeypatch.setenv("VISUAL", "true")
    with pytest.raises(InvalidArgumentError, match="marks"):
        etc_resolve._edited(Namespace(), "/etc/motd")
    monkeypatch.setenv("VISUAL", editor(tmp_path, "sed -i -e '/^[<=>]/d' \"$2\""))
    assert etc_resolve._edited(Namespace(), "/etc/motd") == b"mine\ntheirs\n"


def test_paths_are_those_of_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("/etc/ssh/../motd") == "/etc/motd"
    assert absolute("motd") == f"{tmp_path}/motd"
    assert absolute(os.fsdecode(b"/etc/\xff")) == "/etc/\\xff"
    assert absolute("/etc/\\xff") == "/etc/\\xff"
