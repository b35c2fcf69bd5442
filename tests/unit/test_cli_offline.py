"""What is staged without a daemon is finalized at the shutdown all the same."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

import pytest

from bootd.cli.offline import arm_finalization


def systemctl(folder: Path, status: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a ``systemctl`` first that notes what it is asked and ends so; return its notes."""
    notes = folder / "asked"
    program = folder / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >>{notes}\necho no bus >&2\nexit {status}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return notes


def test_the_unit_that_finalizes_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = systemctl(tmp_path, 0, monkeypatch)
    arm_finalization(Namespace(sysroot=None))
    assert asked.read_text() == "start bootd-finalize.service\n"
    assert caplog.records == []


def test_who_cannot_start_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    systemctl(tmp_path, 1, monkeypatch)
    arm_finalization(Namespace(sysroot=None))
    [said] = [record.getMessage() for record in caplog.records]
    assert "no bus" in said
    assert "Run 'bootctl-py finalize' before the restart." in said


def test_a_folder_has_no_shutdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = systemctl(tmp_path, 0, monkeypatch)
    arm_finalization(Namespace(sysroot=str(tmp_path)))
    assert not asked.exists()
