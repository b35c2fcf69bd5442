"""Pull: the layers the store does not have, in parallel, each in one pass from socket to objects.

A layer counts when its index is in the store, and that is written last (`bootd.store.layer`). So
a pull that ends anywhere leaves whole layers and downloads to resume, and nothing that can be
reached. Of a layer that brings a table of contents only what the store does not have is fetched; if
anything about that is odd, the layer is fetched whole, as if there were no table.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bootd.model.digest import Digest
from bootd.model.errors import ContentError, ProcessFailedError, TransportError
from bootd.model.image import Descriptor, ResolvedImage
from bootd.operations.host import Host
from bootd.operations.progress import Phase, Progress
from bootd.registry.settings import RegistrySettings
from bootd.registry.source import ImageSource, consume_blob, open_source
from bootd.store.growing_tree import GrowingTree
from bootd.store.importing import importing
from bootd.store.known_contents import is_anything_known, was_verified
from bootd.store.layer import import_layer
from bootd.store.layers import has_layer, layer_path
from bootd.store.partial_layer import import_partial_layer
from bootd.store.table.annotations import Span, has_table
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

_REPORT_SECONDS: Final = 0.2
_SWITCH_SECONDS: Final = 0.0005
"""How long a thread may keep another waiting that has unpacked something: with the ten times that
Python gives it, a layer that is imported by two threads takes a tenth longer."""

_Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull fetched: how many layers, and the bytes of them that came from the source."""

    layers: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Task:
    """One layer to import, as it is sent to a worker process.

    `by_parts`: the store holds what an image with tables may share with this one. `alone`: no other
    is imported at the same time.
    """

    sysroot: Sysroot
    registry: RegistrySettings
    reference: str
    descriptor: Descriptor
    diff_id: Digest
    by_parts: bool
    trust_tables: bool
    alone: bool


def missing_layers(host: Host, resolved: ResolvedImage) -> list[tuple[Descriptor, Digest]]:
    """Return the layers to fetch, each once, the biggest first.

    One whose table was trusted counts only as long as tables are.
    """
    trust = host.configuration.trust_layer_tables
    wanted = {
        diff_id: descriptor
        for descriptor, diff_id in resolved.layers
        if not has_layer(host.sysroot, diff_id)
        or not (trust or was_verified(host.sysroot, diff_id))
    }
    return sorted(
        ((descriptor, diff_id) for diff_id, descriptor in wanted.items()),
        key=lambda layer: layer[0].size,
        reverse=True,
    )


def pull(
    host: Host,
    resolved: ResolvedImage,
    progress: Progress,
    tree: GrowingTree | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> Pulled:
    """Bring every layer of an image into the store, under the caller's exclusive lock.

    While layers are imported in other processes, `meanwhile` is called and the image's `tree`
    grows.

    Raises:
        TransportError, ContentError, StorageError: a layer could not be had; the others stay.
        CancelledError: no longer wanted.
    """
    layers = missing_layers(host, resolved)
    if not layers:
        return Pulled(0, 0)
    total = sum(descriptor.size for descriptor, _ in layers)
    progress.report(Phase.PULLING, 0, total)
    by_parts = is_anything_known(host.sysroot)
    workers = min(host.configuration.parallel_layers, len(layers))
    tasks = [
        _Task(
            host.sysroot,
            host.registry,
            resolved.reference,
            descriptor,
            diff_id,
            by_parts,
            trust_tables=host.configuration.trust_layer_tables,
            alone=workers == 1,
        )
        for descriptor, diff_id in layers
    ]
    with importing(host.sysroot):
        if host.configuration.parallel_layers == 1:
            fetched = _import_here(tasks, progress, total)
        else:
            report = partial(progress.report, Phase.PULLING, total=total)
            fetched = _import_in_processes(tasks, workers, report, tree, meanwhile)
    return Pulled(len(tasks), fetched)


def _import_here(tasks: list[_Task], progress: Progress, total: int) -> int:
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        progress.report(Phase.PULLING, done, total)

    return sum(_import(task, advance) for task in tasks)


def _import(task: _Task, advance: _Advance) -> int:
    """Bring a layer into the store; return how many bytes of it were fetched."""
    if has_layer(task.sysroot, task.diff_id):
        # What is noted of its contents must not say "verified" beside the index that was not.
        task.sysroot.disk.remove_file(layer_path(task.sysroot, task.diff_id))
    source = open_source(task.reference, task.registry, task.sysroot.partial, task.sysroot.disk)
    with closing(source):
        fetched = _import_parts(source, task) if task.by_parts else None
        if fetched is not None:
            advance(task.descriptor.size)
            return fetched
        _import_whole(source, task, advance)
        return task.descriptor.size


def _import_whole(source: ImageSource, task: _Task, advance: _Advance) -> None:
    def consume(stream: Iterable[bytes]) -> None:
        import_layer(
            task.sysroot,
            _counted(stream, advance),
            media_type=task.descriptor.media_type,
            diff_id=task.diff_id,
            note_contents=has_table(task.descriptor),
            second_thread=task.alone,
        )

    consume_blob(source, task.descriptor, consume)


def _import_parts(source: ImageSource, task: _Task) -> int | None:
    """Bring a layer into the store by its table; None where that did not do."""
    fetched = 0

    def fetch(span: Span) -> Generator[bytes, None, None]:
        nonlocal fetched
        with closing(source.part(task.descriptor, span.start, span.end)) as chunks:
            for chunk in chunks:
                fetched += len(chunk)
                yield chunk

    try:
        found = import_partial_layer(
            task.sysroot,
            task.descriptor,
            task.diff_id,
            fetch,
            trust_tables=task.trust_tables,
        )
    except (ContentError, TransportError) as error:
        # The whole blob says whether it was the table that was wrong.
        _log.warning("layer %s is fetched whole: %s", task.descriptor.digest, error.message)
        return None
    return None if found is None else fetched


def _counted(chunks: Iterable[bytes], advance: _Advance) -> Iterator[bytes]:
    for chunk in chunks:
        advance(len(chunk))
        yield chunk


_done: Any = None
"""Bytes done by all worker processes; set once in each, as shared values travel with no task."""


def _start_worker(done: Any) -> None:
    global _done  # noqa: PLW0603 - a worker process has no other place to keep it
    _done = done
    # What a forked process took over from the job is the job's.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.enable()
    threading.Thread(target=_end_with_the_job, daemon=True).start()


def _end_with_the_job() -> None:
    """Let no import go on when the process that holds the store's lock was killed."""
    job = multiprocessing.parent_process()
    assert job is not None
    job.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _import_in_worker(task: _Task) -> int:
    return _import(task, _count_done)


def _count_done(size: int) -> None:
    with _done.get_lock():
        _done.value += size


def _import_in_processes(
    tasks: list[_Task],
    workers: int,
    report: _Advance,
    tree: GrowingTree | None,
    meanwhile: Callable[[], None] | None,
) -> int:
    # A fork has all modules at once, but only the thread that asked for it: others might hold
    # locks that nobody would let go of.
    context = multiprocessing.get_context("fork" if threading.active_count() == 1 else "spawn")
    done = context.Value("q", 0)
    with ProcessPoolExecutor(workers, context, _start_worker, (done,)) as pool:
        pending = {pool.submit(_import_in_worker, task): task.diff_id for task in tasks}
        try:
            if meanwhile is not None:
                meanwhile()
            return _follow(pending, lambda: report(done.value), tree)
        except BaseException:
            # One may be waiting for a server that says nothing; what it wrote may be cut anywhere.
            for worker in multiprocessing.active_children():
                worker.terminate()
            pool.shutdown(cancel_futures=True)
            raise


def _follow(
    pending: dict[Future[int], Digest], report: Callable[[], None], tree: GrowingTree | None
) -> int:
    """Let the tree grow until all layers have arrived; return how many bytes were fetched."""
    fetched = 0
    while pending:
        patience = 0.0 if tree is not None and tree.grow() else _REPORT_SECONDS
        for future in wait(pending, patience, FIRST_COMPLETED).done:
            diff_id = pending.pop(future)
            try:
                fetched += future.result()
            except BrokenProcessPool as error:
                raise ProcessFailedError(
                    "a process that imported a layer was killed",
                    hint="The journal says by whom; if memory was short, lower parallel_layers.",
                ) from error
            if tree is not None:
                tree.arrived(diff_id)
        report()
    return fetched
