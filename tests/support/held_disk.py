"""A disk whose syncs take as long as a test wants, be it in another process."""

from __future__ import annotations

import time
from pathlib import Path

from bootd.durable import Disk
from bootd.model.errors import WriteFailedError

_SECONDS = 60


class HeldDisk(Disk):
    """Holds each sync until a test lets it end or fail.

    Args:
        folder: where test and disk leave notes for each other.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def syncs(self) -> int:
        """How many have begun."""
        return len(list(self._folder.glob("begun-*")))

    def sync_filesystem(self, path: Path) -> None:
        """Sync nothing."""
        number = self.syncs + 1
        (self._folder / f"begun-{number}").touch()
        _await(self._folder / f"told-{number}")
        if (self._folder / f"told-{number}").read_text() == "fail":
            raise WriteFailedError(f"cannot sync the file system of {path}: Input/output error")

    def await_sync(self, number: int) -> None:
        """Wait until a sync has begun; the first is 1."""
        _await(self._folder / f"begun-{number}")

    def let(self, *numbers: int, fail: bool = False) -> None:
        """Let syncs end, these already or when they come."""
        for number in numbers:
            told = self._folder / f"told-{number}"
            told.with_suffix(".new").write_text("fail" if fail else "end")
            told.with_suffix(".new").rename(told)


def _await(path: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.005)
