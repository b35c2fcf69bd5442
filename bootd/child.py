"""The one place that forks: children that do a part of this process's work, and their end.

A child runs a function and ends with its status; it takes over no signal handler of its parent, and
the kernel tells it when that died. Who runs which children is on ``docs/processes.md``. Other
programs are run by `bootd.process`.
"""

from __future__ import annotations

import ctypes
import logging
import math
import os
import select
import signal
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from bootd.clock import SYSTEM_CLOCK
from bootd.model.errors import ProcessFailedError
from bootd.process import how_it_ended
from bootd.startup import end_at_once

_log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""How long who waits for a child's words waits without a look at the child."""
STOPPED_SECONDS: Final = 30.0
"""How long a child may be stopped, by SIGSTOP or a debugger, before it is given up."""
LEAVE_SECONDS: Final = 5.0
"""How long a child that has nothing left to do may take to end."""
DEATH_SECONDS: Final = 10.0
"""How long a child may take to die of SIGKILL, for which the kernel may have to wait for a disk."""
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG: Final = 1
"""Of linux/prctl.h."""
_PUT_OFF: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGIO)


class Child:
    """A child of this process.

    Args:
        who: what errors call it.
        hint: what to do when it died.
    """

    def __init__(self, who: str, hint: str) -> None:
        self._who = who
        self._hint = hint
        self._pid = 0
        self._ended = -1
        self._status: int | None = None
        self._stopped_since = math.inf
        self._was_given_up = False

    def fork(self, be: Callable[[], int], orphaned: signal.Signals = signal.SIGKILL) -> None:
        """Start it.

        Args:
            be: what the child does; it returns the exit status.
            orphaned: the signal it gets when this process died.

        Raises:
            ProcessFailedError: the machine has no room for another process.
        """
        parent = os.getpid()
        # What a signal's handler raises in the middle of a fork would be lost.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _PUT_OFF)
        try:
            pid = _fork()
            if pid == 0:
                _be_a_child(parent, be, orphaned)
            self._pid = pid
            self._ended = os.pidfd_open(pid)
        except OSError as error:
            if self._pid:  # it runs, but there is no room for another open file here
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                self._pid = 0
            raise ProcessFailedError(
                f"{self._who} could not be started: {error.strerror}",
                hint="Try again when less goes on; a lower parallel_layers takes fewer processes.",
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def fileno(self) -> int:
        """Return the open file that is ready to be read when it has ended, pidfd_open(2)."""
        return self._ended

    @property
    def is_alive(self) -> bool:
        """Whether it was started and has not ended."""
        self._reap(os.WNOHANG)
        return self._pid > 0 and self._status is None

    @property
    def is_stopped(self) -> bool:
        """Whether it is stopped, by SIGSTOP or a debugger."""
        if self.is_alive:
            how = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
            with suppress(ChildProcessError):  # it has just ended
                return os.waitid(os.P_PID, self._pid, how) is not None
        return False

    def look(self) -> None:
        """See how it fares.

        Raises:
            ProcessFailedError: it died, or was stopped for too long, and then it is killed.
        """
        now = SYSTEM_CLOCK.monotonic()
        self._stopped_since = min(self._stopped_since, now) if self.is_stopped else math.inf
        if now - self._stopped_since > STOPPED_SECONDS:
            self.kill()
            raise self.failed(f"was stopped for {STOPPED_SECONDS:.0f} s and was given up")
        if not self.is_alive and self._status and not self._was_given_up:
            raise self.failed(how_it_ended(self._status))

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; return whether it has."""
        if self.is_alive:
            poll = select.poll()
            poll.register(self._ended, select.POLLIN)
            if poll.poll(seconds * 1000):
                # It has ended. A debugger learns of that before its parent does, ptrace(2).
                self._reap(0)
        return not self.is_alive

    def await_end(self) -> None:
        """Wait until it has ended of itself, for as long as it takes.

        Raises:
            ProcessFailedError: it died, or was stopped for too long.
        """
        while not self.wait(LOOK_SECONDS):
            self.look()
        self.look()

    def kill(self) -> None:
        """End it, whatever it does and even if it is stopped; that counts as no failure."""
        if self.is_alive:
            self._was_given_up = True
            os.kill(self._pid, signal.SIGKILL)

    def end(self, *, kill: bool = False) -> None:
        """See to its end: it has nothing left to do, or is killed. One that does not go is, too."""
        if not kill and not self._was_given_up and not self.wait(LEAVE_SECONDS):
            _log.warning("%s does not end and is killed", self._who)
        self.kill()
        self.wait(DEATH_SECONDS)
        self._let_go()

    def leave(self) -> None:
        """See to its end for a while, then let it finish alone; one that is stopped is killed."""
        deadline = SYSTEM_CLOCK.monotonic() + LEAVE_SECONDS
        while not self.wait(LOOK_SECONDS) and SYSTEM_CLOCK.monotonic() < deadline:
            if self.is_stopped:
                self.kill()
        self._let_go()

    def failed(self, how: str) -> ProcessFailedError:
        """Return the error that says what became of it."""
        return ProcessFailedError(f"{self._who} {how}", hint=self._hint)

    def _reap(self, how: int) -> None:
        if self._pid and self._status is None:
            pid, status = os.waitpid(self._pid, how)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)

    def _let_go(self) -> None:
        """Hold nothing of it open any more; again is fine."""
        if self._ended < 0:
            return
        if self.is_alive:
            _log.warning("%s has not ended, and keeps what it has open", self._who)
        os.close(self._ended)
        self._ended = -1


def _fork() -> int:
    with warnings.catch_warnings():
        if threading.active_count() > 1:
            # Those who start a child with threads beside them know what it must not touch.
            warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _be_a_child(parent: int, be: Callable[[], int], orphaned: signal.Signals) -> NoReturn:
    """Take over nothing that is the parent's, be told when it dies, do the work."""
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # The kernel sends SIGHUP where a job left children that were stopped, setpgid(2).
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGIO):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PUT_OFF)
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(orphaned), 0, 0, 0)
        if os.getppid() == parent:
            status = be()
    except BaseException:  # noqa: BLE001 - the last frame of a process: report, do not hide
        _log.exception("a child failed")
    finally:
        end_at_once(status)
