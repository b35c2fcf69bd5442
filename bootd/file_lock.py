"""Locks on whole files and folders (flock(2)): a child that has the descriptor holds them, too."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Final

from bootd.clock import SYSTEM_CLOCK
from bootd.model.errors import BusyError

_LOCK_POLL_SECONDS: Final = 0.05


def open_lock(path: Path, *, exclusive: bool) -> int:
    """Return the open file that stands for a lock; to read, one on a read-only disk will do.

    Raises:
        OSError: it cannot be opened.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if exclusive or error.errno != errno.EROFS:
            raise
        # A rescue system may have mounted the disk read-only to look at it.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def is_exclusive_lock(descriptor: int, lock: os.stat_result) -> bool:
    """Return whether an open file is this one, and locked by flock(2) for writing."""
    try:
        if not os.path.samestat(os.fstat(descriptor), lock):
            return False
        text = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
    except OSError:
        # Another thread has closed it since.
        return False
    locks = [line.split() for line in text.splitlines() if line.startswith("lock:")]
    return any({"FLOCK", "WRITE"} <= set(words) for words in locks)


def take_lock(descriptor: int, *, exclusive: bool, deadline: float) -> None:
    """Take a lock, shared or exclusively; `deadline` is on the monotonic clock.

    Raises:
        BusyError: another process holds it until then.
    """
    operation = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
    while True:
        try:
            fcntl.flock(descriptor, operation)
        except BlockingIOError:
            if SYSTEM_CLOCK.monotonic() >= deadline:
                raise BusyError("another process is working on this machine's store") from None
            SYSTEM_CLOCK.sleep(_LOCK_POLL_SECONDS)
        else:
            return
