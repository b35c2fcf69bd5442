"""A process that publishes layers while others are imported and the image is composed.

The sync of a large layer takes seconds in which both disk and processors have other things to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Self

from bootd.model.errors import ProcessFailedError, StorageError
from bootd.operations.child_process import begin_child, child_context
from bootd.store.layer_index import WrittenLayer
from bootd.store.publishing import publish_layers
from bootd.sysroot import Sysroot


class LayerPublisher:
    """A context manager; when it is left, all layers that were added are published.

    What is added during a sync is published together after the next one. Once a sync has failed,
    nothing is published any more: the kernel tells of a lost write only once, and another layer may
    count on what was lost.
    """

    def __init__(self, sysroot: Sysroot) -> None:
        context: Any = child_context()
        self._pipe, self._childs_end = context.Pipe()
        ends = (self._childs_end, self._pipe)
        self._process = context.Process(target=_publish, args=(sysroot, *ends))

    def __enter__(self) -> Self:
        self._process.start()
        self._childs_end.close()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait until all are published.

        Raises:
            NoSpaceError, WriteFailedError: that failed, and nothing else did before.
            ProcessFailedError: the process was killed, and nothing else went wrong before.
        """
        failure: StorageError | ProcessFailedError | None
        try:
            with _alive():
                self._pipe.send(None)
                failure = self._pipe.recv()
        except ProcessFailedError as error:
            failure = error
        finally:
            self._pipe.close()
        self._process.join()
        if kind is None and failure is not None:
            raise failure

    def add(self, layer: WrittenLayer) -> None:
        """Publish a layer soon.

        Raises:
            ProcessFailedError: the process was killed.
        """
        with _alive():
            self._pipe.send(layer)


@contextmanager
def _alive() -> Iterator[None]:
    try:
        yield
    except (EOFError, BrokenPipeError, ConnectionResetError) as error:
        raise ProcessFailedError(
            "the process that made layers durable was killed",
            hint="The journal says by whom; then try again, layers that were finished are kept.",
        ) from error


def _publish(sysroot: Sysroot, pipe: Connection, jobs_end: Connection) -> None:
    """Publish what comes until None does; then tell what went wrong."""
    begin_child()
    # It would keep this process from seeing that the job was killed.
    jobs_end.close()
    failure: StorageError | None = None
    has_ended = False
    try:
        while not has_ended:
            came = [pipe.recv()]
            while pipe.poll():
                came.append(pipe.recv())
            layers = [one for one in came if one is not None]
            has_ended = len(layers) < len(came)
            if layers and failure is None:
                try:
                    publish_layers(sysroot, layers)
                except StorageError as error:
                    failure = error
        pipe.send(failure)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # The job was killed.
        return
