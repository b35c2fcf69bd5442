"""A disk that loses power: `Disk` cut at any step, with what a real disk may then have lost.

Every primitive of the durable-write gateway is a step. `CutDisk` stops before step number `cut`
(a write stops in its middle), and `lose` then makes the disk what a power cut may leave of it:

* ``killed``: the process died, the machine did not; everything written is there.
* ``torn``: names survived, but contents that were never synced are empty.
* ``lost``: nothing survived that was not synced: names are back where they were, too.
* ``boot lost``: so on ``$BOOT`` only; the store's file system had written everything by itself.
* ``store lost``: the other way round.

A name is durable after its folder was fsynced or the file system was; content after an fsync of the
file or the file system's. ``$BOOT`` is VFAT: there a file that got a new name is empty after a cut
until its file system was synced (`bootd.boot.entries`), or, where it replaced one that is kept open
until then (`Disk.replace_kept`), it is the old one; and what is removed there has to be kept
open until that is durable (`Disk.remove_file`, `Disk.remove_empty_directory`).
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bootd.durable import TEMPORARY_PREFIX, Disk
from support.machine import Machine

Loss = Literal["killed", "torn", "lost", "boot lost", "store lost"]
LOSSES: tuple[Loss, ...] = ("killed", "torn", "lost", "boot lost", "store lost")


class PowerCut(BaseException):
    """The power went; not an `Exception`, because nothing may handle it."""


@dataclass
class _Change:
    """One change of names that is not durable yet, and how to take it back."""

    folder: Path
    undo: Callable[[], object]


class CutDisk(Disk):
    """A `Disk` that counts its steps and stops before one of them."""

    def __init__(self, limbo: Path, cut: int | None = None) -> None:
        self.cut = cut
        self.steps: list[str] = []
        self._limbo = limbo
        self._limbo.mkdir(parents=True, exist_ok=True)
        self._kept = 0
        self._changes: list[_Change] = []
        self._unsynced: set[Path] = set()
        self._keeps_old = False
        self._old: dict[Path, Path] = {}

    def lose(self, loss: Loss) -> None:
        """Make the disk what it may be after the cut."""
        for change in reversed(self._changes):
            if loss == "lost" or loss == _file_system_lost(change.folder):
                change.undo()
        if loss in ("torn", "lost", "boot lost"):
            for path, old in self._old.items():
                path.unlink(missing_ok=True)
                os.link(old, path)
        for path in filter(Path.is_file, self._unsynced):
            # Root, as the daemon is, may write to read-only files that were left; a test may not.
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(0o600)
            if loss in ("torn", "lost", _file_system_lost(path)):
                os.truncate(path, 0)
            if not path.name.startswith(TEMPORARY_PREFIX):
                path.chmod(mode)

    def _step(self, what: str, path: Path) -> None:
        if self.cut is not None and len(self.steps) >= self.cut:
            raise PowerCut(f"before {what} {path.name}")
        self.steps.append(f"{what} {path.name}")

    def _limbo_name(self) -> Path:
        self._kept += 1
        return self._limbo / str(self._kept)

    def _keep(self, path: Path) -> Path | None:
        """Keep what stands at a name, so that an undo can bring it back."""
        if not path.is_file():
            return None
        kept = self._limbo_name()
        os.link(path, kept)
        return kept

    def make_directory(self, path: Path, mode: int = 0o700) -> None:
        if path.is_dir():
            return
        self._step("mkdir", path)
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        super().make_directory(path, mode)
        for folder in reversed(missing):
            self._changes.append(_Change(folder.parent, _removing(folder)))

    def link_file(self, source: Path, target: Path) -> None:
        self._step("link", target)
        super().link_file(source, target)
        self._changes.append(_Change(target.parent, _removing(target)))

    def sync_filesystem(self, path: Path) -> None:
        self._step("syncfs", path)
        super().sync_filesystem(path)
        left = _file_system_lost(path)
        if left == "boot lost":
            self._old.clear()
        self._changes = [one for one in self._changes if _file_system_lost(one.folder) != left]
        self._unsynced = {one for one in self._unsynced if _file_system_lost(one) != left}

    def replace_kept(self, path: Path, data: bytes, mode: int = 0o600) -> None:
        self._keeps_old = True
        try:
            super().replace_kept(path, data, mode)
        finally:
            self._keeps_old = False

    def add_small_file(self, path: str, data: bytes, mode: int = 0o400) -> None:
        self.add_file(Path(path), data, mode)

    def discard_small_files(self, paths: Iterable[str]) -> None:
        for path in paths:
            self.discard_file(Path(path))

    def _write(
        self, path: Path, chunks: Iterable[bytes | memoryview], mode: int, *, sync: bool
    ) -> None:
        try:
            self._step("write", path)
        except PowerCut:
            data = b"".join(chunks)
            super()._write(path, [data[: len(data) // 2]], mode, sync=False)
            self._unsynced.add(path)
            raise
        super()._write(path, chunks, mode, sync=sync)
        self._changes.append(_Change(path.parent, _removing(path)))
        if not sync:
            self._unsynced.add(path)

    def _abandon(self, temporary: Path) -> None:
        if self.cut is None or len(self.steps) < self.cut:
            super()._abandon(temporary)

    def _rename(self, source: Path, target: Path) -> None:
        self._step("rename", target)
        kept = self._keep(target)
        super()._rename(source, target)
        on_boot = target.is_file() and _file_system_lost(target) == "boot lost"
        if on_boot and self._keeps_old and kept is not None:
            self._old[target] = kept
        elif source in self._unsynced or on_boot:
            self._unsynced.discard(source)
            self._unsynced.add(target)

        def undo() -> None:
            if target.exists() or target.is_symlink():
                target.rename(source)
            if kept is not None:
                os.link(kept, target)

        self._changes.append(_Change(target.parent, undo))

    def _exchange(self, one: Path, other: Path) -> None:
        self._step("exchange", other)
        super()._exchange(one, other)
        self._changes.append(_Change(other.parent, lambda: Disk()._exchange(one, other)))

    def _move_in(self, source: Path, folder: int, target: Path) -> None:
        self._step("move in", target)
        kept = self._keep(target)
        super()._move_in(source, folder, target)

        def undo() -> None:
            if target.exists() or target.is_symlink():
                target.rename(source)
            if kept is not None:
                os.link(kept, target)

        self._changes.append(_Change(target.parent, undo))

    def _move_out(self, folder: int, source: Path, target: Path) -> None:
        self._step("move out", source)
        super()._move_out(folder, source, target)
        self._changes.append(_Change(source.parent, lambda: target.rename(source)))

    def _sync_open(self, folder: int, path: Path) -> None:
        self._step("fsync", path)
        super()._sync_open(folder, path)
        self._changes = [change for change in self._changes if change.folder != path]

    def discard_file(self, path: Path) -> None:
        assert _file_system_lost(path) != "boot lost", f"VFAT may keep {path} without its content"
        super().discard_file(path)

    def _unlink(self, path: Path) -> None:
        self._step("unlink", path)
        kept = self._keep(path)
        super()._unlink(path)

        def undo() -> None:
            if kept is not None and not path.exists():
                os.link(kept, path)

        self._changes.append(_Change(path.parent, undo))

    def _remove_tree(self, path: Path) -> None:
        self._step("rmtree", path)
        if _file_system_lost(path) == "boot lost":
            assert not any(path.iterdir()), f"VFAT may keep what is in {path} without its content"
        kept = self._limbo_name()
        path.rename(kept)

        def undo() -> None:
            if not path.exists():
                kept.rename(path)

        self._changes.append(_Change(path.parent, undo))

    def _sync_directory(self, path: Path) -> None:
        self._step("fsync", path)
        super()._sync_directory(path)
        self._changes = [change for change in self._changes if change.folder != path]


def _file_system_lost(path: Path) -> Loss:
    return "boot lost" if "boot" in path.parts else "store lost"


def _removing(path: Path) -> Callable[[], None]:
    def undo() -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    return undo


def cut_disk(machine: Machine) -> CutDisk:
    """The disk of a machine that was copied onto one."""
    assert isinstance(machine.disk, CutDisk)
    return machine.disk
