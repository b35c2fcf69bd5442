"""The status as a file: only while its writer lives, whole, and without a bus or a model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.documents import SAMPLES

from bootd import __version__
from bootd.cli.render.status import render_plainly, render_status
from bootd.cli.style import Style
from bootd.daemon.events.status_file import FOLDER, LOCK, STATUS, StatusFile, read_status
from bootd.durable import Disk
from bootd.model.documents import StatusDocument

DOCUMENT = {"kind": "Status", "bootd": __version__, "image": "registry.example/os:1"}


def test_it_counts_while_its_writer_lives(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    file = StatusFile(tmp_path, Disk())
    assert read_status(tmp_path) is None
    file.write(json.dumps(DOCUMENT))
    assert read_status(tmp_path) == DOCUMENT
    file.close()
    assert (tmp_path / FOLDER / STATUS).exists()
    assert read_status(tmp_path) is None


def test_what_a_daemon_before_left_never_counts(tmp_path: Path) -> None:
    before = StatusFile(tmp_path, Disk())
    before.write(json.dumps(DOCUMENT))
    before.close()
    file = StatusFile(tmp_path, Disk())
    assert read_status(tmp_path) is None
    file.close()


def test_a_killed_writer_lets_go(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys\n"
        "from bootd.daemon.events.status_file import StatusFile\n"
        "from bootd.durable import Disk\n"
        "StatusFile(pathlib.Path(sys.argv[1]), Disk()).write(sys.argv[2])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), json.dumps(DOCUMENT)]
    assert subprocess.run(command, check=False).returncode == -9
    assert json.loads((tmp_path / FOLDER / STATUS).read_text()) == DOCUMENT
    assert read_status(tmp_path) is None


def test_a_second_writer_writes_nothing(tmp_path: Path) -> None:
    first, second = StatusFile(tmp_path, Disk()), StatusFile(tmp_path, Disk())
    second.write(json.dumps({**DOCUMENT, "image": "another"}))
    assert read_status(tmp_path) is None
    first.write(json.dumps(DOCUMENT))
    assert read_status(tmp_path) == DOCUMENT
    first.close()


def test_anybody_may_read_and_only_the_owner_write(tmp_path: Path) -> None:
    file = StatusFile(tmp_path, Disk())
    file.write(json.dumps(DOCUMENT))
    modes = {name: (tmp_path / FOLDER / name).stat().st_mode & 0o777 for name in (STATUS, LOCK)}
    assert modes == {STATUS: 0o644, LOCK: 0o644}
    assert (tmp_path / FOLDER).stat().st_mode & 0o777 == 0o755
    file.close()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", json.dumps({**DOCUMENT, "bootd": "0"}), json.dumps({"kind": "Stage"})]
)
def test_what_is_no_status_of_this_version_is_left_to_the_bus(tmp_path: Path, text: str) -> None:
    file = StatusFile(tmp_path, Disk())
    file.write(json.dumps(DOCUMENT))
    (tmp_path / FOLDER / STATUS).write_text(text)
    assert read_status(tmp_path) is None
    file.close()


def test_the_same_status_is_written_once(tmp_path: Path) -> None:
    file = StatusFile(tmp_path, Disk())
    file.write(json.dumps(DOCUMENT))
    (tmp_path / FOLDER / STATUS).unlink()
    file.write(json.dumps(DOCUMENT))
    assert not (tmp_path / FOLDER / STATUS).exists()
    file.close()


@pytest.mark.parametrize(
    "document", [one for one in SAMPLES.values() if isinstance(one, StatusDocument)]
)
def test_the_page_is_the_same_without_a_model(document: StatusDocument) -> None:
    for style in (Style(), Style(colour=True)):
        plain = render_plainly(document.model_dump(mode="json"), style)
        assert plain == render_status(document, style)
