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

import logging
import os
import pickle
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from bootd import journal
from bootd.child import DEATH_SECONDS, LOOK_SECONDS, Child
from bootd.operations.pulling.channel import Channel
from bootd.startup import collect_garbage
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

_BEGIN_ANEW: Final = (
    "import os, pickle, sys; begin = os.fdopen(int(sys.argv[1]), 'rb'); "
    "sys.path[:] = pickle.load(begin); task = pickle.load(begin); sys.exit(task.run())"
)

_channels: Final[set[Channel]] = set()
"""The job's ends of all channels. A fork gets them, too, and must not keep them open."""


class ChildProcess(Child):
    """A process that does a part of a job's work; the caller holds the store's lock.

    Args:
        sysroot: the store.
        who: what errors call it.
        hint: what to do when it died.
        work: what it does; it gets its `Channel` to the job, and the arguments.
        arguments: what `work` gets besides.
        files: open files that it has under their numbers.
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
        files: Sequence[int] = (),
        orphaned: signal.Signals = signal.SIGKILL,
    ) -> None:
        super().__init__(who, hint)
        self._sysroot = sysroot
        self._task = (who, work, arguments)
        self._files = files
        self._orphaned = orphaned

    def start(self) -> None:
        """Start it.

        Raises:
            InternalError: the caller does not hold the lock.
            ProcessFailedError: the machine has no room for another process.
        """
        lock = self._sysroot.exclusive_lock()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel = Channel(ours)
        _channels.add(self.channel)
        task = _Task(self._sysroot, theirs.fileno(), journal.logged_job(), *self._task)
        # A fork has all modules at once, but only the thread that asked for it: others might hold
        # locks that nobody would let go of. So where there are others, Python starts anew in it.
        is_alone = threading.active_count() == 1
        files = (lock, theirs.fileno(), *self._files)
        try:
            self.fork(task.run if is_alone else lambda: task.run_anew(files), self._orphaned)
        except BaseException:
            # A signal that was put off tells now that the job is no longer wanted.
            self.end(kill=True)
            raise
        finally:
            theirs.close()

    def send(self, message: object) -> None:
        """Send it a message, as soon as it has room for one.

        Raises:
            ProcessFailedError: it died, or was stopped for too long.
        """
        try:
            while not self.channel.send(message, wait=False):
                poll = select.poll()
                poll.register(self, select.POLLIN)
                poll.register(self.channel, select.POLLOUT)
                poll.poll(LOOK_SECONDS * 1000)
                self.look()
        except (BrokenPipeError, ConnectionResetError) as error:
            self.wait(DEATH_SECONDS)
            self.look()
            raise self.failed("ended too early") from error

    def _let_go(self) -> None:
        if self.channel in _channels:
            _channels.remove(self.channel)
            self.channel.close()
        super()._let_go()


def wait_for(children: Iterable[ChildProcess], seconds: float) -> None:
    """Wait until one of them said something or ended, or the time is over."""
    poll = select.poll()
    for child in children:
        if child.is_alive:
            poll.register(child.channel, select.POLLIN)
            poll.register(child, select.POLLIN)
    poll.poll(seconds * 1000)


@dataclass(frozen=True, slots=True)
class _Task:
    """What a child does, and what it begins with; see `ChildProcess`."""

    sysroot: Sysroot
    end: int
    logged_job: str
    who: str
    work: Callable[..., None]
    arguments: tuple[Any, ...] = field(default=())

    def run(self) -> int:
        """Do it, with the lock that was inherited; return the exit status."""
        _give_up_what_is_the_jobs()
        if not journal.is_set_up():
            journal.set_up()
        journal.log_as_job(self.logged_job)
        try:
            self.sysroot.exclusive_lock()
            self.work(Channel(socket.socket(fileno=self.end)), *self.arguments)
        except (BrokenPipeError, ConnectionResetError):
            _log.debug("%s has nobody to speak to", self.who)
        except Exception:  # noqa: BLE001 - the last frame of a process: report, do not hide
            _log.exception("%s failed", self.who)
            return 1
        return 0

    def run_anew(self, files: Iterable[int]) -> NoReturn:
        """Do it in this process with another Python, which has these open files."""
        begin = os.memfd_create("bootd-task", 0)
        for part in (sys.path, self):
            os.write(begin, pickle.dumps(part))
        os.lseek(begin, 0, os.SEEK_SET)
        for descriptor in files:
            os.set_inheritable(descriptor, True)
        python = sys.executable
        os.execv(python, [python, "-P", "-c", _BEGIN_ANEW, str(begin)])  # noqa: S606 - it is Python


def _give_up_what_is_the_jobs() -> None:
    """Undo what the fork copied: the job's ends of channels, its output, its collector's rest."""
    for channel in _channels:
        channel.close()
    # Whoever reads what the job writes must see its end, whatever becomes of its children.
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nothing, stream)
    collect_garbage(on=True)
