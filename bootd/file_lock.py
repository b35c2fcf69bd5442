"""Locks between processes: flock(2) on a file or a folder, given back by any end of its holder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bootd.clock import SYSTEM_CLOCK
from bootd.durable import storage_errors
from bootd.model.errors import BusyError

_POLL_SECONDS: Final = 0.05
_TAKEN_BACK_SECONDS: Final = 120.0
"""How long a lock that was let go of for a time is waited for; others have it for moments."""


class FileLock:
    """A lock that is held.

    Args:
        path: a folder, or a file that is there for its lock alone and is made where there is none.
        exclusive: for this process alone, or together with others that share it.
        wait_seconds: how long another process is waited for.

    Raises:
        BusyError: another process holds it and does not let go in time.
        WriteFailedError: what it is on cannot be opened.
    """

    def __init__(self, path: Path, *, exclusive: bool, wait_seconds: float) -> None:
        self._path = path
        self._exclusive = exclusive
        self._descriptor: int | None = None
        self._take(wait_seconds)

    def close(self) -> None:
        """Let go of it; a child that has it as well keeps it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @contextmanager
    def left(self) -> Iterator[None]:
        """Let others have it for a time; what was read under it before is old then.

        Raises:
            BusyError: it could not be taken back.
        """
        self.close()
        try:
            yield
        finally:
            self._take(_TAKEN_BACK_SECONDS)

    def _take(self, wait_seconds: float) -> None:
        with storage_errors("open", self._path):
            self._descriptor = _open(self._path)
        try:
            _wait_for(self._descriptor, exclusive=self._exclusive, seconds=wait_seconds)
        except BaseException:
            self.close()
            raise


@contextmanager
def locked(path: Path, *, exclusive: bool = True, wait_seconds: float) -> Iterator[FileLock]:
    """Hold a lock for as long as the context lasts; see `FileLock`."""
    lock = FileLock(path, exclusive=exclusive, wait_seconds=wait_seconds)
    try:
        yield lock
    finally:
        lock.close()


def exclusively_held(path: Path) -> int | None:
    """Return the open file by which this process holds a lock for itself alone; None: it does not.

    Source: proc(5), fdinfo.
    """
    with suppress(FileNotFoundError):
        lock = path.stat()
        for opened in Path("/proc/self/fd").iterdir():
            if _is_exclusive(int(opened.name), lock):
                return int(opened.name)
    return None


def _is_exclusive(descriptor: int, lock: os.stat_result) -> bool:
    try:
        if not os.path.samestat(os.fstat(descriptor), lock):
            return False
        text = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
    except OSError:
        # Another thread has closed it since.
        return False
    locks = [line.split() for line in text.splitlines() if line.startswith("lock:")]
    return any({"FLOCK", "WRITE"} <= set(words) for words in locks)


def _open(path: Path) -> int:
    if path.is_dir():
        # Also where nothing can be written: a rescue system may look at a disk.
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _wait_for(descriptor: int, *, exclusive: bool, seconds: float) -> None:
    deadline = SYSTEM_CLOCK.monotonic() + seconds
    operation = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
    while True:
        try:
            fcntl.flock(descriptor, operation)
        except BlockingIOError:
            if SYSTEM_CLOCK.monotonic() >= deadline:
                raise BusyError("another process is working on this machine's store") from None
            SYSTEM_CLOCK.sleep(_POLL_SECONDS)
        else:
            return
