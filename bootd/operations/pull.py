"""Pull: the layers the store does not have, in parallel, each in one pass from socket to objects.

A layer counts when its index is in the store, and that is written last (`bootd.store.layer`). So
a pull that ends anywhere leaves whole layers and downloads to resume, and nothing that can be
reached.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Final

from bootd.model.digest import Digest
from bootd.model.errors import CancelledError
from bootd.model.image import Descriptor, ResolvedImage
from bootd.operations.host import Host
from bootd.operations.progress import Phase, Progress
from bootd.registry.settings import RegistrySettings
from bootd.registry.source import consume_blob, open_source
from bootd.store.importing import importing
from bootd.store.layer import import_layer
from bootd.store.layer_index import has_layer
from bootd.sysroot import Sysroot

_REPORT_SECONDS: Final = 0.2

_Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull fetched."""

    layers: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Task:
    """One layer to import, as it is sent to a worker process."""

    sysroot: Sysroot
    registry: RegistrySettings
    reference: str
    descriptor: Descriptor
    diff_id: Digest


def missing_layers(host: Host, resolved: ResolvedImage) -> list[tuple[Descriptor, Digest]]:
    """Return the layers to fetch, each once, the biggest first."""
    wanted = {
        diff_id: descriptor
        for descriptor, diff_id in resolved.layers
        if not has_layer(host.sysroot, diff_id)
    }
    return sorted(
        ((descriptor, diff_id) for diff_id, descriptor in wanted.items()),
        key=lambda layer: layer[0].size,
        reverse=True,
    )


def pull(host: Host, resolved: ResolvedImage, progress: Progress) -> Pulled:
    """Bring every layer of an image into the store, under the caller's exclusive lock.

    Raises:
        TransportError, ContentError, StorageError: a layer could not be had; the others stay.
        CancelledError: no longer wanted.
    """
    layers = missing_layers(host, resolved)
    total = sum(descriptor.size for descriptor, _ in layers)
    progress.report(Phase.PULLING, 0, total)
    tasks = [
        _Task(host.sysroot, host.registry, resolved.reference, descriptor, diff_id)
        for descriptor, diff_id in layers
    ]
    if not tasks:
        return Pulled(0, 0)
    with importing(host.sysroot):
        if host.configuration.parallel_layers == 1 or len(tasks) == 1:
            _import_here(tasks, progress, total)
        else:
            _import_in_processes(tasks, host.configuration.parallel_layers, progress, total)
    return Pulled(len(tasks), total)


def _import_here(tasks: list[_Task], progress: Progress, total: int) -> None:
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        progress.report(Phase.PULLING, done, total)

    for task in tasks:
        _import(task, advance)


def _import(task: _Task, advance: _Advance) -> None:
    source = open_source(task.reference, task.registry, task.sysroot.partial, task.sysroot.disk)

    def consume(stream: Iterable[bytes]) -> None:
        import_layer(
            task.sysroot,
            _counted(stream, advance),
            media_type=task.descriptor.media_type,
            diff_id=task.diff_id,
        )

    try:
        consume_blob(source, task.descriptor, consume)
    finally:
        source.close()


def _counted(chunks: Iterable[bytes], advance: _Advance) -> Iterator[bytes]:
    for chunk in chunks:
        advance(len(chunk))
        yield chunk


class _Shared:
    """What the worker processes and this one share: bytes done, and the wish to stop."""

    def __init__(self, context: Any) -> None:
        self.done = context.Value("q", 0)
        self.stop = context.Event()

    def advance(self, size: int) -> None:
        """Count bytes in a worker; end it when it is no longer wanted."""
        if self.stop.is_set():
            raise CancelledError("the pull was cancelled")
        with self.done.get_lock():
            self.done.value += size


_shared: _Shared | None = None
"""Set once in each worker process by `_start_worker`; shared values cannot travel with a task."""


def _start_worker(shared: _Shared) -> None:
    global _shared  # noqa: PLW0603 - a worker process has no other place to keep it
    _shared = shared


def _import_in_worker(task: _Task) -> None:
    assert _shared is not None
    _import(task, _shared.advance)


def _import_in_processes(tasks: list[_Task], workers: int, progress: Progress, total: int) -> None:
    context = multiprocessing.get_context("spawn")
    shared = _Shared(context)
    with ProcessPoolExecutor(
        min(workers, len(tasks)), context, initializer=_start_worker, initargs=(shared,)
    ) as pool:
        pending = {pool.submit(_import_in_worker, task) for task in tasks}
        try:
            _follow(pending, shared, progress, total)
        except BaseException:
            shared.stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _follow(pending: set[Future[None]], shared: _Shared, progress: Progress, total: int) -> None:
    while pending:
        finished, pending = wait(pending, timeout=_REPORT_SECONDS, return_when=FIRST_COMPLETED)
        for future in finished:
            future.result()
        progress.report(Phase.PULLING, shared.done.value, total)
