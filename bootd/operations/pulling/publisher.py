"""A process that publishes layers while others are imported and the image is composed.

The sync of a large layer takes seconds in which both disk and processors have other things to do.
"""

from __future__ import annotations

import signal
from typing import Self

from bootd.model.errors import CancelledError, ProcessFailedError, StorageError
from bootd.operations.pulling.channel import Channel
from bootd.operations.pulling.child_process import ChildProcess
from bootd.store.layer_index import WrittenLayer
from bootd.store.publishing import publish_layers
from bootd.sysroot import Sysroot


class LayerPublisher:
    """A context manager; when it is left, all layers that were added are published.

    What is added during a sync is published together after the next one. Once a sync has failed,
    nothing is published any more: the kernel tells of a lost write only once, and another layer may
    count on what was lost. A job that is cancelled or killed waits for no sync: what was added is
    published nevertheless, under the lock that this process keeps.
    """

    def __init__(self, sysroot: Sysroot) -> None:
        self._child = ChildProcess(
            sysroot,
            "the process that made layers durable",
            "Try again, finished layers are kept; the journal has its last words, if any.",
            _publish,
            sysroot,
            orphaned=signal.SIGCONT,
        )

    def __enter__(self) -> Self:
        self._child.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait until all are published.

        Raises:
            NoSpaceError, WriteFailedError: that failed, and nothing else did before.
            ProcessFailedError: the process died, and nothing else went wrong before.
        """
        if kind is not None and not issubclass(kind, Exception):
            # Somebody pressed Ctrl-C, and what is written to may be unmounted next.
            self._child.kill()
            self._child.end()
            return
        self._child.channel.finish()
        failure: StorageError | ProcessFailedError | None = None
        try:
            if kind is None or not issubclass(kind, CancelledError):
                self._child.await_end()
            failure = next(iter(self._child.channel.received()), None)
        except ProcessFailedError as error:
            failure = error
        finally:
            self._child.leave()
        if kind is None and failure is not None:
            raise failure

    def add(self, layer: WrittenLayer) -> None:
        """Publish a layer soon.

        Raises:
            ProcessFailedError: the process died.
        """
        self._child.send(layer)

    def look(self) -> None:
        """See how the process fares.

        Raises:
            ProcessFailedError: it died.
        """
        self._child.look()


def _publish(channel: Channel, sysroot: Sysroot) -> None:
    """Publish what comes until no more does; then tell what went wrong."""
    failure: StorageError | None = None
    while layers := channel.receive():
        if failure is None:
            try:
                publish_layers(sysroot, layers)
            except StorageError as error:
                failure = error
    if failure is not None:
        channel.send(failure)
