"""Pull: the layers the store does not have, in parallel, each in one pass from socket to objects.

A layer counts when its index is in the store, and that is written last (`bootd.store.layer`). So
a pull that ends anywhere leaves whole layers and downloads to resume, and nothing that can be
reached.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Final

from bootd.model.digest import Digest
from bootd.model.errors import ProcessFailedError
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
_Meanwhile = Callable[[], bool]


def _nothing() -> bool:
    return False


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


def pull(
    host: Host, resolved: ResolvedImage, progress: Progress, meanwhile: _Meanwhile = _nothing
) -> Pulled:
    """Bring every layer of an image into the store, under the caller's exclusive lock.

    `meanwhile` does a bit of other work where there would be a wait, and returns whether there was
    any left.

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
            _import_here(tasks, progress, total, meanwhile)
        else:
            workers = host.configuration.parallel_layers
            _import_in_processes(tasks, workers, progress, total, meanwhile)
    return Pulled(len(tasks), total)


def _import_here(tasks: list[_Task], progress: Progress, total: int, meanwhile: _Meanwhile) -> None:
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        progress.report(Phase.PULLING, done, total)

    for task in tasks:
        _import(task, advance, meanwhile)


def _import(task: _Task, advance: _Advance, meanwhile: _Meanwhile | None = None) -> None:
    source = open_source(task.reference, task.registry, task.sysroot.partial, task.sysroot.disk)

    def consume(stream: Iterable[bytes]) -> None:
        import_layer(
            task.sysroot,
            _counted(stream, advance),
            media_type=task.descriptor.media_type,
            diff_id=task.diff_id,
            meanwhile=meanwhile,
        )

    try:
        consume_blob(source, task.descriptor, consume)
    finally:
        source.close()


def _counted(chunks: Iterable[bytes], advance: _Advance) -> Iterator[bytes]:
    for chunk in chunks:
        advance(len(chunk))
        yield chunk


_done: Any = None
"""Bytes done by all worker processes; set once in each, as shared values travel with no task."""


def _start_worker(done: Any) -> None:
    global _done  # noqa: PLW0603 - a worker process has no other place to keep it
    _done = done


def _import_in_worker(task: _Task) -> None:
    _import(task, _count_done)


def _count_done(size: int) -> None:
    with _done.get_lock():
        _done.value += size


def _import_in_processes(
    tasks: list[_Task], workers: int, progress: Progress, total: int, meanwhile: _Meanwhile
) -> None:
    context = multiprocessing.get_context("spawn")
    done = context.Value("q", 0)
    with ProcessPoolExecutor(
        min(workers, len(tasks)), context, initializer=_start_worker, initargs=(done,)
    ) as pool:
        pending = {pool.submit(_import_in_worker, task) for task in tasks}
        try:
            while meanwhile():
                progress.report(Phase.PULLING, done.value, total)
            _follow(pending, done, progress, total)
        except BaseException:
            # One may be waiting for a server that says nothing; what it wrote may be cut anywhere.
            for worker in multiprocessing.active_children():
                worker.terminate()
            pool.shutdown(cancel_futures=True)
            raise


def _follow(pending: set[Future[None]], done: Any, progress: Progress, total: int) -> None:
    while pending:
        finished, pending = wait(pending, timeout=_REPORT_SECONDS, return_when=FIRST_COMPLETED)
        for future in finished:
            try:
                future.result()
            except BrokenProcessPool as error:
                raise ProcessFailedError(
                    "a process that imported a layer was killed",
                    hint="The journal says by whom; if memory was short, lower parallel_layers.",
                ) from error
        progress.report(Phase.PULLING, done.value, total)
