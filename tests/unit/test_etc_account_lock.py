"""The lock of the account databases, as lckpwdf(3) of the C library takes it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from support.etc_merge import merge
from support.etc_trees import MemoryContents, folder, lay_out

from bootd.etc.disk.account_lock import account_lock
from bootd.etc.disk.descriptors import opened_folder
from bootd.etc.merge import preview_merge
from bootd.model.etc.report import EtcNote, NoteKind

CONTENTS = MemoryContents()
HOLD = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Let another process hold the lock the way lckpwdf(3) does."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        yield
        child.stdin.close()


def can_write_lock(path: Path) -> bool:
    """Tell whether another process would get lckpwdf(3)'s lock now."""
    script = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, check=False
    )
    assert done.returncode == 0 or b"BlockingIOError" in done.stderr
    return done.returncode == 0


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    tree = folder({".pwd.lock": CONTENTS.file("", 0o600), "f": CONTENTS.file("mine")})
    return lay_out(tree, tmp_path / "etc", CONTENTS)


def test_nobody_else_gets_it_meanwhile(etc: Path) -> None:
    with opened_folder(etc) as descriptor, account_lock(descriptor) as notes:
        assert notes == []
        assert not can_write_lock(etc / ".pwd.lock")
        (etc / ".pwd.lock").open().close()
        assert not can_write_lock(etc / ".pwd.lock")
    assert can_write_lock(etc / ".pwd.lock")


def test_readers_do_not_wait_for_each_other(etc: Path) -> None:
    with (
        opened_folder(etc) as descriptor,
        account_lock(descriptor, 0) as one,
        account_lock(descriptor, 0) as other,
    ):
        assert one == other == []


def test_a_lock_that_is_not_let_go_is_told_and_no_failure(etc: Path, tmp_path: Path) -> None:
    with held(etc / ".pwd.lock"):
        report = merge(folder(), etc, folder(), CONTENTS, tmp_path / "target")
    assert [(note.path, note.kind) for note in report.notes] == [
        ("/etc/.pwd.lock", NoteKind.UNLOCKED)
    ]
    assert (tmp_path / "target/f").read_text() == "mine"


def test_a_lock_that_is_let_go_in_time_is_waited_for(etc: Path) -> None:
    with held(etc / ".pwd.lock"):
        done: list[list[EtcNote]] = []

        def wait() -> None:
            with opened_folder(etc) as descriptor, account_lock(descriptor, 60) as notes:
                done.append(notes)

        waiting = Thread(target=wait)
        waiting.start()
    waiting.join()
    assert done == [[]]


def test_nothing_is_created_where_nobody_ever_locked(tmp_path: Path) -> None:
    etc = lay_out(folder(), tmp_path / "etc", CONTENTS)
    assert preview_merge(folder(), etc, folder(), CONTENTS).report.notes == []
    assert list(etc.iterdir()) == []
