"""Somebody changes folders to links while a merge reads and writes: nothing leaves its folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from support.effort import FULL
from support.etc_merge import merge
from support.etc_trees import MemoryContents, folder, lay_out

from bootd.model.errors import WriteFailedError

CONTENTS = MemoryContents()
ROUNDS = 200 if FULL else 10
SECRET = "what is outside must not come in\n" * 40


@contextmanager
def racing(step: Callable[[], None]) -> Iterator[None]:
    """Do something again and again in another thread."""
    stop = Event()

    def run() -> None:
        while not stop.is_set():
            step()

    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def swapping(place: Path, outside: Path) -> Callable[[], None]:
    """Let a folder and a link to another one change places."""
    other = place.with_name("other")

    def step() -> None:
        try:
            place.rename(other)
            place.symlink_to(outside)
            place.unlink()
            other.rename(place)
        except OSError:
            # It is not there yet, or gone again.
            if not place.exists() and other.exists():
                other.rename(place)

    return step


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    found = tmp_path / "outside"
    found.mkdir()
    (found / "f").write_text(SECRET)
    return found


def state(place: Path) -> list[tuple[str, int, bytes]]:
    return [(path.name, path.stat().st_mtime_ns, path.read_bytes()) for path in place.iterdir()]


def test_what_a_link_in_mine_leads_to_is_not_read(tmp_path: Path, outside: Path) -> None:
    files = {f"f{number}": CONTENTS.file("mine " * 50) for number in range(20)}
    mine = lay_out(
        folder({"d": folder({**files, "f": CONTENTS.file("mine")})}), tmp_path / "mine", CONTENTS
    )
    before = state(outside)
    with racing(swapping(mine / "d", outside)):
        for number in range(ROUNDS):
            target = tmp_path / f"target{number}"
            merge(folder(), mine, folder(), CONTENTS, target)
            for path in target.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    parents = [parent.is_symlink() for parent in path.relative_to(target).parents]
                    assert any(parents) or path.read_text() != SECRET
    assert state(outside) == before


def test_nothing_is_written_where_a_link_in_the_target_leads(tmp_path: Path, outside: Path) -> None:
    files = {f"f{number}": CONTENTS.file("theirs " * 50) for number in range(40)}
    mine = lay_out(folder(), tmp_path / "mine", CONTENTS)
    theirs = folder({"d": folder(files)})
    before = state(outside)
    for number in range(ROUNDS):
        target = tmp_path / f"target{number}"
        with racing(swapping(target / "d", outside)):
            try:
                merge(folder(), mine, theirs, CONTENTS, target)
            except WriteFailedError:
                continue  # It noticed; what it made is thrown away.
    assert state(outside) == before
    assert os.listdir(outside) == ["f"]  # noqa: PTH208 - names
