"""Processes that import layers, each on a processor of its own as far as there are some.

They end with the job that wants them, also when that is killed: one that waits for a server would
keep the store's lock.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from struct import Struct
from typing import Final, Self

from bootd.clock import SYSTEM_CLOCK
from bootd.model.errors import BootdError, InternalError, ProcessFailedError
from bootd.operations.pulling.channel import Channel
from bootd.operations.pulling.child_process import ChildProcess, wait_for
from bootd.operations.pulling.task import ImportedLayer, LayerTask, import_task
from bootd.registry.login.credential_helper import is_any_installed
from bootd.registry.sources.source import ImageSource
from bootd.sandbox.confinement import confine_writer
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

_WHO: Final = "a process that imported a layer"
_HINT: Final = "If memory was short, lower parallel_layers; the journal has its last words, if any."
_TURN: Final = Struct("H")
"""The number of a task. All of them fit into the smallest pipe, pipe(7): MAX_LAYERS of 2 bytes."""
_REPORT_SECONDS: Final = 0.1


class LayerWorkers:
    """A context manager that imports layers in processes, which end when it is left.

    Args:
        tasks: the layers, in the order in which they are begun; at least one.
        workers: how many processes.
    """

    def __init__(self, tasks: list[LayerTask], workers: int) -> None:
        self._tasks = tasks
        self._workers = workers
        self._children: list[ChildProcess] = []
        self._missing = len(tasks)
        self._bytes_done = 0

    def __enter__(self) -> Self:
        sysroot = self._tasks[0].sysroot
        turns = _turns(len(self._tasks))
        try:
            for _ in range(self._workers):
                child = ChildProcess(
                    sysroot, _WHO, _HINT, _import_layers, turns, self._tasks, files=[turns]
                )
                child.start()
                self._children.append(child)
        except BaseException:
            self._end(kill=True)
            raise
        finally:
            os.close(turns)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """See to their end.

        Raises:
            ProcessFailedError: one died, and nothing else went wrong before.
        """
        # One may be waiting for a server that says nothing; what it wrote may be cut anywhere.
        self._end(kill=kind is not None)
        if kind is None:
            self._look()

    @property
    def are_busy(self) -> bool:
        """Whether there are layers that `wait` has not returned."""
        return self._missing > 0

    @property
    def bytes_done(self) -> int:
        """How many bytes of the layers' blobs all of them have taken."""
        return self._bytes_done

    def wait(self, seconds: float) -> Iterator[ImportedLayer]:
        """Yield the layers that have been imported since, as soon as there is one.

        Raises:
            TransportError, ContentError, StorageError: one could not be had; the others came first.
            ProcessFailedError: a process died.
        """
        wait_for(self._children, seconds)
        all_have_ended = not any(child.is_alive for child in self._children)
        failures: list[BootdError] = []
        for said in [one for child in self._children for one in child.channel.received()]:
            match said:
                case ImportedLayer():
                    self._missing -= 1
                    yield said
                case BootdError():
                    failures.append(said)
                case _:
                    self._bytes_done += said
        if failures:
            raise failures[0]
        if self._missing:
            self._look()
            if all_have_ended:
                raise ProcessFailedError(f"{_WHO} ended too early", hint=_HINT)

    def _look(self) -> None:
        for child in self._children:
            child.look()

    def _end(self, *, kill: bool) -> None:
        if kill:
            for child in self._children:
                child.kill()
        for child in self._children:
            child.end()


def _turns(count: int) -> int:
    """Return an open file that gives each of the numbers below `count` to one process that reads.

    The kernel hands them out (pipe(7)), so that nobody holds a lock that could die with them.
    """
    turns, giver = os.pipe2(os.O_CLOEXEC)
    with closing(os.fdopen(giver, "wb", buffering=0)) as stream:
        stream.write(b"".join(_TURN.pack(number) for number in range(count)))
    return turns


def _import_layers(channel: Channel, turns: int, tasks: list[LayerTask]) -> None:
    """Import one layer after the other, until none is left or one cannot be had."""
    _give_up_power(tasks[0].sysroot)
    worker = _Worker(channel)
    while turn := os.read(turns, _TURN.size):
        [number] = _TURN.unpack(turn)
        try:
            layer = worker.import_layer(tasks[number])
        except BootdError as error:
            channel.send(error)
            return
        except Exception as error:  # noqa: BLE001 - it becomes the job's
            _log.exception("layer %s could not be imported", tasks[number].diff_id)
            channel.send(InternalError(f"{type(error).__name__}: {error}"))
            return
        channel.send(layer)


def _give_up_power(sysroot: Sysroot) -> None:
    """Keep what fetching, measuring and naming layers takes; what reads them has less.

    A helper that knows passwords may write wherever it likes, so where there is one this process
    can write, too; without capabilities.
    """
    if is_any_installed():
        confine_writer([Path("/")])
        return
    folders = (sysroot.objects, sysroot.layers, sysroot.contents, sysroot.partial, sysroot.run)
    confine_writer([folder for folder in folders if folder.is_dir()])


class _Worker:
    """What a process keeps from one layer to the next.

    Args:
        channel: where it tells how many bytes it took.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._source: ImageSource | None = None
        self._untold = 0
        self._told = 0.0

    def import_layer(self, task: LayerTask) -> ImportedLayer:
        """Import a layer over the connection that the one before came by, with its token."""
        if self._source is None:
            self._source = task.open_source()
        layer = import_task(self._source, task, self._count)
        self._tell()
        return layer

    def _count(self, size: int) -> None:
        self._untold += size
        if SYSTEM_CLOCK.monotonic() - self._told > _REPORT_SECONDS:
            self._tell()

    def _tell(self) -> None:
        # The job may be composing; its bytes can wait, the layer's cannot.
        if self._channel.send(self._untold, wait=False):
            self._untold = 0
        self._told = SYSTEM_CLOCK.monotonic()
