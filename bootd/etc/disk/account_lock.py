"""The lock that programs take while they change the account databases: lckpwdf(3).

That is a write lock on the whole of ``/etc/.pwd.lock`` (fcntl(2)). A reader takes a shared one, for
which it neither creates nor opens the file for writing: ``/etc`` is only read, and where the file
is missing nobody ever took the lock. It belongs to the open file description, since a lock of the
process would go when the merge copies that file and closes it again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bootd.clock import SYSTEM_CLOCK
from bootd.etc.disk.descriptors import closing, open_file
from bootd.model.etc.report import EtcNote, NoteKind, etc_path

LOCK_FILE: Final = b".pwd.lock"
LOCK_WAIT_SECONDS: Final = 5.0
"""useradd(8) and its kin hold it for a moment; they themselves wait 15 s for it."""
_POLL_SECONDS: Final = 0.05
_WHOLE_FILE: Final = struct.pack("hhqqi0q", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
_HELD: Final = frozenset({errno.EAGAIN, errno.EACCES})


@contextmanager
def account_lock(etc: int, wait_seconds: float = LOCK_WAIT_SECONDS) -> Iterator[list[EtcNote]]:
    """Keep others from changing the account databases; give what there is to say about it.

    A lock that cannot be had in time, or not at all, is no failure: it is noted, and what is read
    without it is read again if it changes meanwhile.

    Args:
        etc: a descriptor of ``/etc``.
        wait_seconds: how long to wait for it.
    """
    with closing(open_file(LOCK_FILE, etc)) as descriptor:
        problem = None if descriptor is None else _lock(descriptor, wait_seconds)
        path = etc_path(LOCK_FILE)
        yield [EtcNote(path=path, kind=NoteKind.UNLOCKED, detail=problem)] if problem else []


def _lock(descriptor: int, wait_seconds: float) -> str | None:
    """Take the lock; return why not, or None."""
    deadline = SYSTEM_CLOCK.monotonic() + wait_seconds
    while True:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WHOLE_FILE)
        except OSError as error:
            if error.errno not in _HELD:
                return os.strerror(error.errno or 0)
            if SYSTEM_CLOCK.monotonic() >= deadline:
                return f"another program held it for {wait_seconds:g} s"
            SYSTEM_CLOCK.sleep(_POLL_SECONDS)
        else:
            return None
