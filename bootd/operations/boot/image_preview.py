"""What an image will bring to ``$BOOT``, as far as that can be known before it is fetched.

An image's manifest and configuration do not say what files it has. Layers in a local folder or
archive are read for that, once more than they are read anyway. Of a registry's layers the tables
are fetched, where each has one (zstd:chunked). Of other images nothing is known until
their layers are there.
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from bootd.boot.kernels.image_kernel import find_kernel
from bootd.boot.loader.install import find_loader
from bootd.model.errors import ContentError, InvalidLayerError, TransportError
from bootd.model.registry.image import Descriptor, ResolvedImage
from bootd.model.tree import (
    INLINE_LIMIT,
    Directory,
    Metadata,
    Node,
    RegularFile,
    SpecialFile,
    Symlink,
)
from bootd.registry.reference import RegistryReference, parse_reference
from bootd.registry.sources.source import ImageSource
from bootd.store.compose import apply_layer
from bootd.store.images.dumpfile import DumpEntry
from bootd.store.layer_entry import tree_path
from bootd.store.layer_index import ENTRIES_LIMIT
from bootd.store.layer_reader import LayerReader, unpacked
from bootd.store.layers import in_layer
from bootd.store.table.annotations import Span, ZstdChunked, find_table
from bootd.store.table.metadata import CHUNK, tar_entry
from bootd.store.table.reading import LayerTable
from bootd.store.tar.decompress import UNPACKED_LIMIT
from bootd.store.tar.header import HARD_LINK, TarEntry, shown

_log = logging.getLogger(__name__)

_ANY_OBJECT: Final = bytes(32)
"""Stands for contents that nobody reads here."""


@dataclass(frozen=True, slots=True)
class BootFiles:
    """The sizes of what comes to ``$BOOT``, in bytes: kernel with initramfs, and boot loader."""

    kernel: int
    loader: int

    @property
    def together(self) -> int:
        """What all of it needs; the loader is there under two names."""
        return self.kernel + 2 * self.loader


def preview(source: ImageSource, resolved: ResolvedImage, architecture: str) -> BootFiles | None:
    """Return what an image brings to ``$BOOT``; None: that is not known before it is fetched.

    Args:
        source: the image.
        resolved: what its reference names.
        architecture: the machine's, as uname(2) calls it.

    Raises:
        NoBootLoaderError: the image has no boot loader for the architecture.
        NoKernelError, SeveralKernelsError, NoInitramfsError, InvalidTreeError: see `find_kernel`.
        ContentError: a layer of a local image is damaged.
        ProcessFailedError: a process that read such a layer died.
    """
    is_local = not isinstance(parse_reference(resolved.reference), RegistryReference)
    tree = _local_tree(source, resolved) if is_local else promised_tree(source, resolved)
    if tree is None:
        return None
    kernel = find_kernel(tree)
    loader = find_loader(tree, architecture)
    return BootFiles(kernel.kernel.size + kernel.initramfs.size, loader.size)


def _local_tree(source: ImageSource, resolved: ResolvedImage) -> Directory:
    root = Directory(Metadata())
    for number, (descriptor, _) in enumerate(resolved.layers, 1):
        blob = source.blob(descriptor)
        with (
            in_layer(number),
            closing(unpacked(blob, descriptor.media_type, UNPACKED_LIMIT)) as stream,
            LayerReader(stream) as reader,
        ):
            apply_layer(root, _bounded(reader.entries()))
    return root


def promised_tree(source: ImageSource, resolved: ResolvedImage) -> Directory | None:
    """Return what the tables of a registry's layers say that an image has, without contents.

    None: not every layer has a table, or one cannot be had.
    """
    root = Directory(Metadata())
    try:
        places = [(layer, find_table(layer)) for layer, _ in resolved.layers]
        for layer, place in places:
            if place is None:
                return None
            apply_layer(root, _bounded(map(_without_content, _promised(source, layer, place))))
    except (ContentError, TransportError) as error:
        # It is asked for in another way when the image is fetched, and that may work.
        _log.debug("nothing is known of the image yet: %s", error.message)
        return None
    return root


def _promised(source: ImageSource, layer: Descriptor, place: ZstdChunked) -> Iterator[TarEntry]:
    def fetch(span: Span) -> Generator[bytes, None, None]:
        return source.part(layer, span.start, span.end)

    table = LayerTable(place, fetch, UNPACKED_LIMIT)
    return (tar_entry(entry) for entry in table.entries() if entry.get("type") != CHUNK)


def _bounded(entries: Iterator[DumpEntry]) -> list[DumpEntry]:
    found: list[DumpEntry] = []
    for entry in entries:
        if len(found) == ENTRIES_LIMIT:
            raise InvalidLayerError(f"a layer has more than {ENTRIES_LIMIT} entries")
        found.append(entry)
    return found


def _without_content(tar: TarEntry) -> DumpEntry:
    path = tree_path(tar.name)
    if tar.file_type == HARD_LINK:
        return DumpEntry(path, None, tree_path(tar.link, tar.name))
    if path == b"/" and tar.file_type != stat.S_IFDIR:
        raise InvalidLayerError(f"entry {shown(tar.name)}: a layer's root is not a folder")
    return DumpEntry(path, _node(tar))


def _node(tar: TarEntry) -> Node:
    match tar.file_type:
        case stat.S_IFREG if tar.size <= INLINE_LIMIT:
            return RegularFile(Metadata(), tar.size, content=b"")
        case stat.S_IFREG:
            return RegularFile(Metadata(), tar.size, verity=_ANY_OBJECT)
        case stat.S_IFDIR:
            return Directory(Metadata())
        case stat.S_IFLNK:
            return Symlink(Metadata(), tar.link)
        case kind:
            return SpecialFile(Metadata(), kind)
