"""A timer on the clock on the wall: it keeps its time asleep and awake, and hears the clock set.

Source: timerfd_create(2), ``TFD_TIMER_CANCEL_ON_SET``. Python has it from 3.13 on.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
from collections.abc import Callable
from datetime import datetime
from typing import Final

from bootd.daemon.event_loop import asyncio

_log = logging.getLogger(__name__)

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_REALTIME: Final = 0
"""``CLOCK_REALTIME``."""
_ABSOLUTE: Final = 0x1
"""``TFD_TIMER_ABSTIME``."""
_CANCEL_ON_SET: Final = 0x2
_FARTHEST: Final = 2**31 - 1
"""So that it fits everywhere; a timer without a time hears the clock set."""


class _Setting(ctypes.Structure):
    """``struct itimerspec``."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


class WakeTimer:
    """One timer; it belongs to the running loop.

    Args:
        woken: called when its time has come (False), or the clock was set (True); the timer then
            stands still until it is set anew.
    """

    def __init__(self, woken: Callable[[bool], None]) -> None:
        self._woken = woken
        self._descriptor = _LIBC.timerfd_create(_REALTIME, os.O_CLOEXEC | os.O_NONBLOCK)
        if self._descriptor < 0:
            _log.warning("nothing runs by itself: %s", os.strerror(ctypes.get_errno()))
            return
        asyncio.get_running_loop().add_reader(self._descriptor, self._heard)

    def set(self, when: datetime | None) -> None:
        """Wait until then; a time that has passed comes at once, None never."""
        if self._descriptor < 0:
            return
        # A value of zero would stop the timer.
        seconds = _FARTHEST if when is None else min(max(1, int(when.timestamp())), _FARTHEST)
        setting = _Setting(0, 0, seconds, 0)
        flags = _ABSOLUTE | _CANCEL_ON_SET
        _LIBC.timerfd_settime(self._descriptor, flags, ctypes.byref(setting), None)

    def close(self) -> None:
        """Let go of it."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _heard(self) -> None:
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return
        except OSError as error:
            self._woken(error.errno == errno.ECANCELED)
        else:
            self._woken(False)
