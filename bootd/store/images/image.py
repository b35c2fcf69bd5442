"""Images: what a manifest's layers come to, composed once.

``images/<manifest digest>/`` holds the manifest and the configuration as they were served, the
EROFS image of the host's root, and a record with the EROFS image's fs-verity digest. Invariant: the
folder appears whole and durable, after every object it needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from bootd.durable import TEMPORARY_PREFIX, storage_errors, temporary_name
from bootd.model.digest import Digest
from bootd.model.errors import (
    DamagedImageError,
    DamagedRecordError,
    InvalidDigestError,
    StorageError,
    UnknownFormatError,
)
from bootd.model.hash_algorithm import VERITY_HEX
from bootd.model.registry.image import ResolvedImage
from bootd.model.tree import Directory, Metadata, Node
from bootd.records import encoded, read_record
from bootd.startup import without_garbage_collection
from bootd.store.contents import StoreContents
from bootd.store.erofs import ErofsImage, encode_erofs
from bootd.store.images.growing_tree import GrowingTree
from bootd.store.images.host_layout import HostLayout, os_release_file, to_host_layout
from bootd.store.objects.measuring import measure
from bootd.store.objects.verity import VerityHash, enable_verity
from bootd.store.selinux.image_labels import label_layout
from bootd.store.tar.ostree_xattrs import apply_split_xattrs
from bootd.sysroot import Sysroot

EROFS_NAME: Final = "root.erofs"
"""How the EROFS image is called, in an image's folder and in a deployment's."""
MANIFEST_NAME: Final = "manifest.json"
CONFIG_NAME: Final = "config.json"
RECORD_NAME: Final = "image.json"

_CONFIG_LIMIT: Final = 16 << 20
_DIFF_IDS_LIMIT: Final = 10_000


class ImageRecord(BaseModel):
    """``image.json``."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    format: Literal[1] = 1
    digest: Digest
    erofs: str = Field(pattern=VERITY_HEX)
    """fs-verity digest of ``root.erofs``."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image in the store.

    Attributes:
        digest: the manifest's.
        folder: where it is.
        erofs_verity: fs-verity digest of its EROFS image, in hex.
        contents: reads what its files hold.
    """

    digest: Digest
    folder: Path
    erofs_verity: str
    contents: StoreContents

    @property
    def erofs(self) -> Path:
        """The EROFS image of the host's root."""
        return self.folder / EROFS_NAME

    def manifest_bytes(self) -> bytes:
        """Return the manifest as it was served.

        Raises:
            DamagedRecordError: it is missing or has another digest.
        """
        data = _read(self.folder / MANIFEST_NAME, _CONFIG_LIMIT)
        running = self.digest.new_hash()
        running.update(data)
        if running.hexdigest() != self.digest.hex:
            raise DamagedRecordError(f"{self.folder / MANIFEST_NAME} is not {self.digest}")
        return data

    def diff_ids(self) -> list[Digest]:
        """Return the diff IDs of its layers, the lowest first.

        Raises:
            DamagedRecordError: manifest or configuration is damaged.
        """
        path = self.folder / CONFIG_NAME
        data = _read(path, _CONFIG_LIMIT)
        try:
            promised = Digest(json.loads(self.manifest_bytes())["config"]["digest"])
            running = promised.new_hash()
            running.update(data)
            if running.hexdigest() != promised.hex:
                raise DamagedRecordError(f"{path} is not {promised}")
            listed = json.loads(data)["rootfs"]["diff_ids"]
            return [Digest(text) for text in listed[:_DIFF_IDS_LIMIT]]
        except (ValueError, LookupError, TypeError, RecursionError, InvalidDigestError) as error:
            raise DamagedRecordError(f"{path} lists no layers: {error!r}") from error

    def tree(self, *paths: bytes, levels: int | None = None) -> Directory:
        """Return the host's root with nothing in it but what is at and below some paths.

        An image has a hundred thousand files, and thousands of kernel modules; who needs the
        kernel reads only the kernel. `levels` is as for `ErofsImage.lookup`.

        Raises:
            DamagedImageError: the EROFS image is damaged.
        """
        root = Directory(Metadata())
        with ErofsImage.open(self.erofs) as image:
            for path in paths:
                node = image.lookup(path, levels)
                if node is not None:
                    _put(root, path, node)
        return root


@dataclass(frozen=True, slots=True)
class ComposedImage:
    """An image that is written to the store, and found by nobody yet unless it was there before.

    Attributes:
        sysroot: the machine.
        stored: what it is once it is published.
        building: its folder until then; None where it was there.
        layout: the tree that it was composed of; None where it was there.
    """

    sysroot: Sysroot
    stored: StoredImage
    building: Path | None = None
    layout: HostLayout | None = None

    def publish(self) -> StoredImage:
        """Make the image durable, then give it the name by which it is found.

        All layers that it was composed of have been published.

        Raises:
            NoSpaceError, WriteFailedError: the disk is in the way; no image appears.
        """
        if self.building is not None:
            self.sysroot.disk.publish_directory(self.building, self.stored.folder)
        return self.stored


def _put(root: Directory, path: bytes, node: Node) -> None:
    *folders, name = path.split(b"/")
    for folder in folders:
        below = root.entries.setdefault(folder, Directory(Metadata()))
        assert isinstance(below, Directory)
        root = below
    root.entries[name] = node


def image_path(sysroot: Sysroot, digest: Digest) -> Path:
    """Return where the image of a manifest is, whether it exists or not."""
    return sysroot.images / digest


def all_images(sysroot: Sysroot) -> list[Digest]:
    """Return the manifest digests of the images in the store, sorted.

    Raises:
        DamagedRecordError: something else lies between them.
    """
    if not sysroot.images.is_dir():
        return []
    with storage_errors("list", sysroot.images):
        names = sorted(path.name for path in sysroot.images.iterdir())
    try:
        return [Digest(name) for name in names if not name.startswith(TEMPORARY_PREFIX)]
    except InvalidDigestError as error:
        raise DamagedRecordError(f"{sysroot.images} holds what is no image") from error


def has_image(sysroot: Sysroot, digest: Digest) -> bool:
    """Return whether an image is in the store, whole and durable."""
    return image_path(sysroot, digest).is_dir()


def diff_ids_of(sysroot: Sysroot, digest: Digest) -> list[Digest]:
    """Return the diff IDs of an image's layers, its EROFS image left unmeasured.

    Raises:
        DamagedRecordError: manifest or configuration is missing or damaged.
    """
    folder = image_path(sysroot, digest)
    return StoredImage(digest, folder, "", StoreContents(sysroot)).diff_ids()


def open_image(sysroot: Sysroot, digest: Digest) -> StoredImage:
    """Return an image of the store.

    Raises:
        DamagedRecordError: it is missing, or its record cannot be used.
        UnknownFormatError: a newer bootd wrote it.
        DamagedImageError: its EROFS image is missing or not the one that was composed.
        WriteFailedError: that cannot be read.
    """
    folder = image_path(sysroot, digest)
    record = read_record(folder / RECORD_NAME, ImageRecord)
    if record is None:
        raise DamagedRecordError(f"{folder / RECORD_NAME} is missing")
    if record.digest != digest:
        raise DamagedRecordError(f"{folder / RECORD_NAME} is the record of {record.digest}")
    image = StoredImage(digest, folder, record.erofs, StoreContents(sysroot))
    if not image.erofs.is_file():
        raise DamagedImageError(f"{image.erofs} is missing")
    measured = measure(image.erofs, sysroot.hash_algorithm()).hex()
    if measured != record.erofs:
        raise DamagedImageError(f"{image.erofs} measures {measured}, composed was {record.erofs}")
    return image


def compose_image(
    sysroot: Sysroot, resolved: ResolvedImage, tree: GrowingTree | None = None
) -> ComposedImage:
    """Compose an image from layers that are in the store, or take the one that is there.

    An image that is there and damaged is composed anew. `tree` may have grown already.

    Raises:
        InvalidLayerError, InvalidTreeError: the layers make no tree that a host could have.
        NoLabelsError: the image enforces an SELinux policy that cannot label its files.
        DamagedRecordError: a layer's index is missing or damaged.
        NoSpaceError, WriteFailedError: the disk is in the way; no image appears.
    """
    target = image_path(sysroot, resolved.digest)
    if target.is_dir():
        try:
            return ComposedImage(sysroot, open_image(sysroot, resolved.digest))
        except UnknownFormatError:
            raise
        except StorageError:
            sysroot.disk.remove_tree(target)
    with without_garbage_collection():
        tree = tree or GrowingTree(sysroot, resolved.config.diff_ids)
        return _write(sysroot, resolved, _laid_out(sysroot, tree), target)


def compose_host_layout(sysroot: Sysroot, diff_ids: list[Digest]) -> HostLayout:
    """Return what layers in the store come to: the host's root, and the image's ``/var``.

    Raises:
        InvalidLayerError, InvalidTreeError, NoLabelsError, DamagedRecordError: as for
            `compose_image`.
    """
    return _laid_out(sysroot, GrowingTree(sysroot, diff_ids))


def _laid_out(sysroot: Sysroot, tree: GrowingTree) -> HostLayout:
    root, contents = tree.whole(), StoreContents(sysroot)
    apply_split_xattrs(root, contents.read)
    release = os_release_file(root)
    layout = to_host_layout(root, b"" if release is None else contents.read(release[1]))
    label_layout(layout, contents)
    return layout


def _write(
    sysroot: Sysroot, resolved: ResolvedImage, layout: HostLayout, target: Path
) -> ComposedImage:
    disk = sysroot.disk
    building = temporary_name(target)
    disk.remove_tree(building)
    disk.make_directory(building)
    algorithm = sysroot.hash_algorithm()
    running = VerityHash(algorithm)
    pieces = encode_erofs(layout.root, sysroot.composefs_version())
    disk.write_temporary(building / EROFS_NAME, _measured(pieces, running))
    verity = running.digest().hex()
    record = ImageRecord(digest=resolved.digest, erofs=verity)
    disk.add_file(building / MANIFEST_NAME, resolved.manifest_bytes)
    disk.add_file(building / CONFIG_NAME, resolved.config_bytes)
    disk.add_file(building / RECORD_NAME, encoded(record))
    enable_verity(building / EROFS_NAME, algorithm)
    stored = StoredImage(resolved.digest, target, verity, StoreContents(sysroot))
    return ComposedImage(sysroot, stored, building, layout)


def _measured(pieces: Iterable[bytes], running: VerityHash) -> Iterator[bytes]:
    for piece in pieces:
        running.update(piece)
        yield piece


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise DamagedRecordError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > limit:
        raise DamagedRecordError(f"{path} has more than {limit} bytes")
    return data
