"""Processes that a job starts to write to the store with it; nothing else starts such.

Invariants:

* A child holds the store's lock together with the job: whatever becomes of the job, nobody else
  changes the store before the child has ended. Without the lock none is started, and none works.
* The job is told of a child's death by the kernel and looks whether one was stopped, so that it
  never waits for words alone. What a child says comes as a whole, or not at all.
* Children share no lock but the store's: one that dies keeps neither another nor the job waiting.
* The kernel tells a child that the job died.
"""

from __future__ import annotations

import ctypes
import logging
import math
import multiprocessing
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, reduction
from typing import Any, Final

from bootd import journal
from bootd.clock import SYSTEM_CLOCK
from bootd.model.errors import CancelledError, ProcessFailedError
from bootd.operations.pulling.channel import Channel
from bootd.process import how_it_ended
from bootd.startup import collect_garbage
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG: Final = 1
"""Of linux/prctl.h."""
_PUT_OFF: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGIO)
_LOOK_SECONDS: Final = 1.0
"""How long the job waits without a look at the child."""
_STOPPED_SECONDS: Final = 30.0
"""How long a child may be stopped, by SIGSTOP or a debugger, before it is given up."""
_LEAVE_SECONDS: Final = 5.0
"""How long a child that has nothing left to do may take to end."""
_DEATH_SECONDS: Final = 10.0
"""How long a child may take to die of SIGKILL, for which the kernel may have to wait for a disk."""

_channels: Final[set[Channel]] = set()
"""The job's ends of all channels. A fork gets them, too, and must not keep them open."""


class ChildProcess:
    """A process that does a part of a job's work; the caller holds the store's lock.

    Args:
        sysroot: the store.
        who: what errors call it.
        hint: what to do when it died.
        work: what it does; it gets its `Channel` to the job, and the arguments.
        arguments: what `work` gets besides.
        orphaned: the signal it gets when the job died. SIGCONT lets it finish what it was given,
            even if it was stopped; its channel says that no more comes.
    """

    def __init__(
        self,
        sysroot: Sysroot,
        who: str,
        hint: str,
        work: Callable[..., None],
        *arguments: object,
        orphaned: signal.Signals = signal.SIGKILL,
    ) -> None:
        self._sysroot = sysroot
        self._who = who
        self._hint = hint
        self._work = (who, work, arguments)
        self._orphaned = orphaned
        self._stopped_since = math.inf
        self._was_given_up = False
        self._status: int | None = None

    def start(self) -> None:
        """Start it.

        Raises:
            InternalError: the caller does not hold the lock.
            ProcessFailedError: the machine has no room for another process.
        """
        lock = _Inherited(self._sysroot.exclusive_lock())
        # A fork has all modules at once, but only the thread that asked for it: others might hold
        # locks that nobody would let go of.
        method = "fork" if threading.active_count() == 1 else "spawn"
        context: Any = multiprocessing.get_context(method)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel = Channel(ours)
        _channels.add(self.channel)
        job = journal.logged_job()
        begin = _Begin(self._sysroot, lock, os.getpid(), self._orphaned, theirs, job)
        self._process = context.Process(target=_run, args=(begin, *self._work))
        try:
            with _undisturbed():
                self._process.start()
        except CancelledError:
            self.kill()
            self.end()
            raise
        except OSError as error:
            self._let_go()
            raise ProcessFailedError(
                f"{self._who} could not be started: {error.strerror}",
                hint="Try again when less goes on; a lower parallel_layers takes fewer processes.",
            ) from error
        finally:
            theirs.close()

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        if self._status is None:
            self._status = self._process.exitcode
        return self._status is None

    @property
    def waitables(self) -> list[Any]:
        """What is ready when it said something or ended."""
        return [self.channel, self._process.sentinel] if self.is_alive else []

    def send(self, message: object) -> None:
        """Send it a message, as soon as it has room for one.

        Raises:
            ProcessFailedError: it died, or was stopped for too long.
        """
        try:
            while not self.channel.send(message, wait=False):
                select.select([self._process.sentinel], [self.channel], [], _LOOK_SECONDS)
                self.look()
        except (BrokenPipeError, ConnectionResetError) as error:
            self._process.join(_DEATH_SECONDS)
            self.look()
            raise ProcessFailedError(f"{self._who} ended too early", hint=self._hint) from error

    def look(self) -> None:
        """See how it fares.

        Raises:
            ProcessFailedError: it died, or was stopped for too long, and then it is killed.
        """
        now = SYSTEM_CLOCK.monotonic()
        self._stopped_since = min(self._stopped_since, now) if self._is_stopped() else math.inf
        if now - self._stopped_since > _STOPPED_SECONDS:
            self.kill()
            raise ProcessFailedError(
                f"{self._who} was stopped for {_STOPPED_SECONDS:.0f} s and was given up",
                hint=self._hint,
            )
        if not self.is_alive and self._status and not self._was_given_up:
            raise ProcessFailedError(f"{self._who} {how_it_ended(self._status)}", hint=self._hint)

    def await_end(self) -> None:
        """Wait until it has ended of itself.

        Raises:
            ProcessFailedError: it died, or was stopped for too long.
        """
        while self.is_alive:
            connection.wait([self._process.sentinel], _LOOK_SECONDS)
            self.look()
        self.look()

    def kill(self) -> None:
        """End it, whatever it does and even if it is stopped; that counts as no failure."""
        if self.is_alive:
            self._was_given_up = True
            self._process.kill()

    def end(self) -> None:
        """See to its end: it has nothing left to do, or was killed. One that does not go is."""
        if not self._was_given_up:
            self._process.join(_LEAVE_SECONDS)
        if self.is_alive:
            if not self._was_given_up:
                _log.warning("%s does not end and is killed", self._who)
            self.kill()
            self._process.join(_DEATH_SECONDS)
        self._let_go()

    def leave(self) -> None:
        """See to its end for a while, then let it finish alone; it keeps the store locked."""
        deadline = SYSTEM_CLOCK.monotonic() + _LEAVE_SECONDS
        while self.is_alive and SYSTEM_CLOCK.monotonic() < deadline:
            if self._is_stopped():
                self.kill()
            self._process.join(_LOOK_SECONDS)
        self._let_go()

    def _let_go(self) -> None:
        if self.channel not in _channels:
            return
        _channels.remove(self.channel)
        self.channel.close()
        if self._process.pid is None:
            return
        if self.is_alive:
            _log.warning("%s has not ended and keeps the store locked", self._who)
            return
        self._process.join()
        self._process.close()

    def _is_stopped(self) -> bool:
        if self.is_alive:
            how = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
            with suppress(ChildProcessError):  # it has just ended
                return os.waitid(os.P_PID, self._process.pid, how) is not None
        return False


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put signals off; what their handlers raise in the middle of a fork would be lost."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PUT_OFF)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def wait_for(children: Iterable[ChildProcess], seconds: float) -> None:
    """Wait until one of them said something or ended, or the time is over."""
    waitables = [one for child in children for one in child.waitables]
    connection.wait(waitables, seconds)


class _Inherited:
    """An open file on its way into a child, which has it for as long as it lives."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        return _inherited, (reduction.DupFd(self._descriptor),)


def _inherited(handle: Any) -> _Inherited:
    return _Inherited(handle.detach())


@dataclass(frozen=True, slots=True)
class _Begin:
    """What a child begins with; see `ChildProcess`."""

    sysroot: Sysroot
    lock: _Inherited
    parent: int
    orphaned: signal.Signals
    end: socket.socket
    logged_job: str


def _run(begin: _Begin, who: str, work: Callable[..., None], arguments: tuple[object, ...]) -> None:
    """Do what a child is for."""
    _become_a_child(begin)
    try:
        begin.sysroot.exclusive_lock()
        work(Channel(begin.end), *arguments)
    except (BrokenPipeError, ConnectionResetError):
        _log.debug("%s has nobody to speak to", who)
    except Exception:  # noqa: BLE001 - the last frame of a process: report, do not hide
        _log.exception("%s failed", who)
        sys.exit(1)


def _become_a_child(begin: _Begin) -> None:
    """Take nothing over from the job that is the job's, and be told when it dies."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # The kernel sends SIGHUP where a job left children that were stopped, setpgid(2).
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGIO):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PUT_OFF)
    for channel in _channels:
        channel.close()
    # Whoever reads what the job writes must see its end, whatever becomes of its children.
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nothing, stream)
    _LIBC.prctl(_PR_SET_PDEATHSIG, begin.orphaned)
    if os.getppid() != begin.parent:
        sys.exit(1)
    collect_garbage(on=True)
    if not journal.is_set_up():
        journal.set_up()
    journal.log_as_job(begin.logged_job)
