"""Processes that import layers, each on a processor of its own as far as there are some.

They end with the job that wants them, also when that is killed: one that waits for a server would
keep the store's lock.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final, Self

from bootd.model.errors import ProcessFailedError
from bootd.operations.child_process import begin_child, child_context
from bootd.operations.layer_task import ImportedLayer, LayerTask, import_task
from bootd.registry.source import ImageSource

_SWITCH_SECONDS: Final = 0.0005
"""How long a thread may keep another waiting that has unpacked something: with the ten times that
Python gives it, a layer that is imported by two threads takes a tenth longer."""


class LayerWorkers:
    """A context manager that imports layers in processes, which end when it is left.

    Args:
        tasks: the layers, in the order in which they are begun.
        workers: how many processes.
    """

    def __init__(self, tasks: list[LayerTask], workers: int) -> None:
        context: Any = child_context()
        self._done = context.Value("q", 0)
        self._pool = ProcessPoolExecutor(workers, context, _start_worker, (self._done,))
        self._tasks = tasks
        self._imports: set[Future[ImportedLayer]] = set()
        self._others = multiprocessing.active_children()

    def __enter__(self) -> Self:
        self._imports = {self._pool.submit(_import_in_worker, task) for task in self._tasks}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            # One may be waiting for a server that says nothing; what it wrote may be cut anywhere.
            for child in multiprocessing.active_children():
                if child not in self._others:
                    child.terminate()
        self._pool.shutdown(cancel_futures=True)

    @property
    def are_busy(self) -> bool:
        """Whether there are layers that `wait` has not returned."""
        return bool(self._imports)

    @property
    def bytes_done(self) -> int:
        """How many bytes of the layers' blobs all of them have taken."""
        done: int = self._done.value
        return done

    def wait(self, seconds: float) -> Iterator[ImportedLayer]:
        """Yield the layers that have been imported since, as soon as there is one.

        Raises:
            TransportError, ContentError, StorageError: one could not be had; the others came first.
            ProcessFailedError: a process was killed.
        """
        done, self._imports = wait(self._imports, seconds, FIRST_COMPLETED)
        try:
            for future in sorted(done, key=lambda one: one.exception() is not None):
                yield future.result()
        except BrokenProcessPool as error:
            raise ProcessFailedError(
                "a process that imported a layer was killed",
                hint="The journal says by whom; if memory was short, lower parallel_layers.",
            ) from error


class _Worker:
    """What a worker process keeps from one layer to the next.

    Args:
        done: bytes done by all of them.
    """

    def __init__(self, done: Any) -> None:
        self._done = done
        self._source: ImageSource | None = None

    def import_layer(self, task: LayerTask) -> ImportedLayer:
        """Import a layer over the connection that the one before came by, with its token."""
        if self._source is None:
            self._source = task.open_source()
        return import_task(self._source, task, self._count)

    def _count(self, size: int) -> None:
        with self._done.get_lock():
            self._done.value += size


_worker: _Worker | None = None
"""Set once in each worker process: neither shared values nor connections travel with a task."""


def _start_worker(done: Any) -> None:
    global _worker  # noqa: PLW0603 - a worker process has no other place to keep it
    _worker = _Worker(done)
    begin_child()
    sys.setswitchinterval(_SWITCH_SECONDS)
    threading.Thread(target=_end_with_the_job, daemon=True).start()


def _end_with_the_job() -> None:
    """Let no import go on when the job was killed."""
    job = multiprocessing.parent_process()
    assert job is not None
    job.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _import_in_worker(task: LayerTask) -> ImportedLayer:
    assert _worker is not None
    return _worker.import_layer(task)
