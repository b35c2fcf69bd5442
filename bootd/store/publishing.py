"""Publishing: layers that are written become durable, and then are found.

Order (design section 5): one syncfs for what all of them wrote, then the name of each index. The
sync of a large layer takes seconds in which both the disk and the processors have other things to
do, so it has a thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from bootd.store.layer_index import WrittenLayer
from bootd.store.layers import layer_path
from bootd.sysroot import Sysroot


def publish_layers(sysroot: Sysroot, layers: Iterable[WrittenLayer]) -> None:
    """Make layers durable, then give their indexes the names by which they are found.

    Raises:
        NoSpaceError, WriteFailedError: that failed; layers without a name are not in the store.
    """
    sysroot.disk.sync_filesystem(sysroot.layers)
    for layer in layers:
        sysroot.disk.rename_file(layer.index, layer_path(sysroot, layer.diff_id))


class LayerPublisher:
    """Publishes layers in a thread of its own; a context manager that ends when all are published.

    What is added during a sync is published together after the next one. Once a sync has failed,
    nothing is published any more: the kernel tells of a lost write only once, and another layer may
    count on what was lost.
    """

    def __init__(self, sysroot: Sysroot) -> None:
        self._sysroot = sysroot
        self._waiting: deque[WrittenLayer] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._rounds: list[Future[None]] = []
        self._is_sound = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait until all are published.

        Raises:
            NoSpaceError, WriteFailedError: that failed, and nothing else did before.
        """
        self._thread.shutdown()
        if kind is None:
            for each in self._rounds:
                each.result()

    def add(self, layer: WrittenLayer) -> None:
        """Publish a layer soon."""
        self._waiting.append(layer)
        self._rounds.append(self._thread.submit(self._publish))

    def _publish(self) -> None:
        layers = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if layers and self._is_sound:
            self._is_sound = False
            publish_layers(self._sysroot, layers)
            self._is_sound = True
