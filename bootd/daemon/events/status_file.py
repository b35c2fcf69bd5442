"""The status as a file that needs no bus to read: ``/run/bootd/status/status.json``.

It is what ``GetStatus`` answers any user but root, so any user may read it. Invariants: it is
replaced as a whole; it counts only while the daemon that wrote it holds the lock beside it, and the
kernel lets go of that whichever way the daemon ends. The folder is one of its own, so that writing
there does not look like a change of the machine.

This module is read by ``bootctl-py status`` and imports little for that.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bootd import __version__

if TYPE_CHECKING:
    from bootd.durable import Disk

FOLDER: Final = "status"
"""In bootd's folder for this boot."""
STATUS: Final = "status.json"
LOCK: Final = "lock"
_MAX_BYTES: Final = 4 << 20


class StatusFile:
    """What the daemon writes.

    Where another process holds the lock nothing is written, and readers ask over the bus.
    """

    def __init__(self, run: Path, disk: Disk) -> None:
        self._folder = run / FOLDER
        self._disk = disk
        self._written = ""
        disk.make_directory(self._folder, 0o755)
        # Before the lock: what a daemon before this one left must not count under it.
        disk.discard_file(self._folder / STATUS)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._lock: int | None = os.open(self._folder / LOCK, flags, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()

    def write(self, document: str) -> None:
        """Put a new status in place, if it is new.

        Raises:
            WriteFailedError, NoSpaceError: that failed.
        """
        if self._lock is not None and document != self._written:
            self._disk.replace_file(self._folder / STATUS, document.encode(), 0o644)
            self._written = document

    def close(self) -> None:
        """Let go of the lock: what is written counts no longer."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def read_status(run: Path) -> dict[str, Any] | None:
    """Return the status that a running daemon of this version wrote; None: ask over the bus.

    Args:
        run: bootd's folder for this boot.
    """
    folder = run / FOLDER
    try:
        with (folder / LOCK).open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                with (folder / STATUS).open("rb") as stream:
                    value = json.loads(stream.read(_MAX_BYTES))
            else:
                return None
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or value.get("kind") != "Status":
        return None
    return value if value.get("bootd") == __version__ else None
