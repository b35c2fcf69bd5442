"""What the daemon hears of changes on disk, and that it hears nothing of none."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bootd.daemon.folder_watch import FolderWatch

LONG = 30.0
SHORT = 0.1


@pytest.fixture
async def watch() -> AsyncIterator[FolderWatch]:
    made = FolderWatch()
    yield made
    made.close()


async def heard(watch: FolderWatch, seconds: float = LONG) -> bool:
    waited = asyncio.ensure_future(watch.wait(seconds))
    loop = asyncio.get_running_loop()
    start = loop.time()
    await waited
    return loop.time() - start < seconds


async def test_replaced_and_removed_files_are_heard_of(watch: FolderWatch, tmp_path: Path) -> None:
    watch.watch([tmp_path, tmp_path / "missing"])
    assert not await heard(watch, SHORT)
    (tmp_path / "new").write_text("1")
    assert await heard(watch)
    (tmp_path / "new").rename(tmp_path / "record")
    assert await heard(watch)
    (tmp_path / "record").unlink()
    assert await heard(watch)


async def test_reading_and_other_folders_are_not_heard_of(
    watch: FolderWatch, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in/record").write_text("1")
    watch.watch([tmp_path / "in", tmp_path / "out"])
    watch.watch([tmp_path / "in"])
    (tmp_path / "in/record").read_text()
    (tmp_path / "out/record").write_text("1")
    assert not await heard(watch, SHORT)


async def test_a_folder_made_anew_is_heard_of_again(watch: FolderWatch, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    watch.watch([folder])
    shutil.rmtree(folder)
    assert await heard(watch)
    folder.mkdir()
    watch.watch([folder])
    await heard(watch, SHORT)
    (folder / "record").write_text("1")
    assert await heard(watch)


async def test_a_closed_watch_waits_its_time(tmp_path: Path) -> None:
    made = FolderWatch()
    made.close()
    made.close()
    made.watch([tmp_path])
    (tmp_path / "record").write_text("1")
    assert not await heard(made, SHORT)
