"""Hears of changes in folders from the kernel, so that an idle daemon sleeps.

Source: inotify(7). What changed is not told, only that something did; a folder that does not exist
yet, and what happens on file systems that other hosts write to, is not heard of.
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Final

from bootd.daemon.event_loop import asyncio

_log = logging.getLogger(__name__)

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_EVENTS: Final = 0x00000040 | 0x00000080 | 0x00000100 | 0x00000200 | 0x00000400
"""``IN_MOVED_FROM``, ``IN_MOVED_TO``, ``IN_CREATE``, ``IN_DELETE``, ``IN_DELETE_SELF``."""
_ONLY_FOLDERS: Final = 0x01000000
"""``IN_ONLYDIR``."""
_IGNORED: Final = 0x00008000
"""``IN_IGNORED``."""
_EVENT: Final = Struct("=4xI4xI")
"""Event mask, and the length of the name that follows."""
_READ_SIZE: Final = 64 << 10


class FolderWatch:
    """Watches folders; it belongs to the running loop.

    Where the kernel has no more watches to give, nothing is heard, and a regular look has to do.
    """

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._watched: dict[Path, int] = {}
        self._descriptor = _LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._descriptor < 0:
            _log.warning("changes on disk are seen late: %s", os.strerror(ctypes.get_errno()))
            return
        asyncio.get_running_loop().add_reader(self._descriptor, self._heard)

    def watch(self, folders: Iterable[Path]) -> None:
        """Watch these folders, those that exist, and no others."""
        if self._descriptor < 0:
            return
        wanted = set(folders)
        for gone in self._watched.keys() - wanted:
            _LIBC.inotify_rm_watch(self._descriptor, self._watched.pop(gone))
        for folder in wanted:
            # Once more for those that are watched: the name may stand for another folder now.
            number = _LIBC.inotify_add_watch(
                self._descriptor, os.fsencode(folder), _EVENTS | _ONLY_FOLDERS
            )
            if number >= 0:
                self._watched[folder] = number
            else:
                self._watched.pop(folder, None)

    async def wait(self, seconds: float) -> None:
        """Return when something changed since the last call, at the latest after so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        self._changed.clear()

    def close(self) -> None:
        """Let go of all watches."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _heard(self) -> None:
        with suppress(BlockingIOError):
            while events := os.read(self._descriptor, _READ_SIZE):
                at = 0
                while at < len(events):
                    mask, name_size = _EVENT.unpack_from(events, at)
                    at += _EVENT.size + name_size
                    # The end of a watch that was taken back is no change.
                    if not mask & _IGNORED:
                        self._changed.set()
