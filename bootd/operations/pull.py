"""Pull: the layers the store does not have, in parallel, each in one pass from socket to objects.

A layer counts when its index is in the store, and that appears last (`bootd.store.publishing`),
after a sync during which other layers are imported or the image is composed. So a pull that ends
anywhere leaves whole layers and downloads to resume, and nothing that can be reached.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Final

from bootd.model.digest import Digest
from bootd.model.registry.image import Descriptor, ResolvedImage
from bootd.model.registry.source_use import SourceUse
from bootd.operations.host import Host
from bootd.operations.layer_workers import LayerWorkers
from bootd.operations.progress import Phase, Progress
from bootd.operations.pulling.publisher import LayerPublisher
from bootd.operations.pulling.task import LayerTask, import_task
from bootd.sandbox.confinement import unconfined
from bootd.store.images.growing_tree import GrowingTree
from bootd.store.importing import importing
from bootd.store.known_contents import is_anything_known, was_verified
from bootd.store.layers import has_layer
from bootd.store.publishing import publish_layers
from bootd.trust.accept import AcceptedImage

_log = logging.getLogger(__name__)

_REPORT_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull fetched.

    Attributes:
        layers: how many layers.
        bytes: how much of them came from the source.
        tree: the image's, as far as it grew meanwhile; it can be read to its end.
        uses: which places they came from; complete when the context of `pull` is left.
    """

    layers: int
    bytes: int
    tree: GrowingTree
    uses: list[SourceUse] = field(default_factory=list)


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


@contextmanager
def pull(
    host: Host,
    resolved: AcceptedImage,
    progress: Progress,
    meanwhile: Callable[[], None] | None = None,
) -> Iterator[Pulled]:
    """Bring every layer of an image into the store, under the caller's exclusive lock.

    While layers are imported in other processes, `meanwhile` is called and the image's tree grows.
    What is composed of the tree may be published when the context is left: then all layers are.

    Raises:
        TransportError, ContentError, StorageError: a layer could not be had; the others stay.
        ProcessFailedError: a process that had a part in it was killed.
        CancelledError: no longer wanted.
    """
    uses = list(resolved.uses)
    layers = missing_layers(host, resolved)
    if not layers:
        yield Pulled(0, 0, GrowingTree(host.sysroot, resolved.config.diff_ids), uses)
        return
    missing = [diff_id for _, diff_id in layers]
    tree = GrowingTree(host.sysroot, resolved.config.diff_ids, missing)
    workers = min(host.configuration.parallel_layers, len(layers))
    tasks = _tasks(host, resolved, layers)
    total = sum(descriptor.size for descriptor, _ in layers)
    _log.debug("pulling %d layers of %d bytes, %d at a time", len(layers), total, workers)
    progress.report(Phase.PULLING, 0, total)
    if told := unconfined():
        _log.warning("%s", told)
    with importing(host.sysroot):
        if host.configuration.parallel_layers == 1:
            # Where they do not compete, the small ones come first: one of them may be unfit.
            fetched = _import_here(host, tasks[::-1], progress, total, uses)
            yield Pulled(len(tasks), fetched, tree, uses)
            return
        with LayerPublisher(host.sysroot) as publisher:
            fetched = 0
            with LayerWorkers(tasks, workers) as importers:
                if meanwhile is not None:
                    meanwhile()
                while importers.are_busy:
                    patience = 0.0 if tree.grow() else _REPORT_SECONDS
                    for imported in importers.wait(patience):
                        publisher.add(imported.written)
                        tree.arrived(imported.written)
                        fetched += imported.bytes
                        uses += imported.uses
                    publisher.look()
                    progress.report(Phase.PULLING, importers.bytes_done, total)
            yield Pulled(len(tasks), fetched, tree, uses)


def _tasks(
    host: Host, resolved: ResolvedImage, layers: list[tuple[Descriptor, Digest]]
) -> list[LayerTask]:
    by_parts = is_anything_known(host.sysroot)
    trust_tables = host.configuration.trust_layer_tables
    return [
        LayerTask(
            host.sysroot,
            host.registry,
            resolved.reference,
            descriptor,
            diff_id,
            by_parts=by_parts,
            trust_tables=trust_tables,
            number=resolved.config.diff_ids.index(diff_id) + 1,
        )
        for descriptor, diff_id in layers
    ]


def _import_here(
    host: Host, tasks: list[LayerTask], progress: Progress, total: int, uses: list[SourceUse]
) -> int:
    done = fetched = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        progress.report(Phase.PULLING, done, total)

    with closing(tasks[0].open_source()) as source:
        for task in tasks:
            imported = import_task(source, task, advance)
            publish_layers(host.sysroot, [imported.written])
            fetched += imported.bytes
            uses += imported.uses
    return fetched
