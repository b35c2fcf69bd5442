"""Images that skopeo(1) has to copy first: ``dir:``, ``docker-archive:``, ``containers-storage:``.

The copy is an OCI layout among the unfinished downloads, named after the reference, so that all
processes of a job read the one that its `resolve` made. The job removes it at its end
(`copies_discarded`). It is trusted no more than any other layout; whether the image may be taken at
all is judged by skopeo, which has the signatures and obeys the machine's policy.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from bootd import process
from bootd.durable import Disk, storage_errors
from bootd.model.digest import Digest
from bootd.model.errors import (
    ImageNotFoundError,
    InvalidManifestError,
    InvalidReferenceError,
    ManifestTooLargeError,
    NoSpaceError,
    NotTrustedError,
    ProcessFailedError,
)
from bootd.model.registry.image import CachedCheck, Descriptor, Index, Manifest, ResolvedImage
from bootd.model.registry.source_use import SourceUse
from bootd.registry.blobs.blob import BlobStream
from bootd.registry.manifest import MAX_MANIFEST_SIZE, parse_manifest
from bootd.registry.reference import CopiedReference, LayoutReference
from bootd.registry.settings import RegistrySettings
from bootd.registry.sources.layout import FolderFiles, LayoutSource

_log = logging.getLogger(__name__)

_PREFIX: Final = "copy-"
_PROGRAM: Final = "skopeo"
_TAG: Final = "copied"
_LAYOUT: Final = "layout"
_MARK: Final = "complete"
_LOOK_SECONDS: Final = 60.0
_COPY_SECONDS: Final = 3_600.0
_SPARE_BYTES: Final = 256 << 20
"""What a copy leaves free on the disk."""
_SHOWN: Final = 300
_REJECTED: Final = "rejected"
_POLICY: Final = "etc/containers/policy.json"
_HINTS: Final = {
    "dir": "Name a folder as 'skopeo copy … dir:/path' writes it; an OCI layout is oci:/path.",
    "docker-archive": "Name a file as 'podman save' or 'docker save' writes it, and of several "
    "images in it one, as docker-archive:/path:name:tag.",
    "containers-storage": "'podman images', run by root, lists what is there; what other users "
    "built is not.",
}


class CopiedSource:
    """An image that is copied before it is read; see `ImageSource` for the methods."""

    def __init__(
        self, reference: CopiedReference, settings: RegistrySettings, folder: Path, disk: Disk
    ) -> None:
        self._reference = reference
        self._settings = settings
        self._disk = disk
        self._folder = folder / f"{_PREFIX}{Digest.of(str(reference).encode()).hex}"

    def close(self) -> None:
        """Nothing is held open."""

    def resolve(self) -> ResolvedImage:
        """Copy the image, and verify manifest and configuration."""
        return self._resolve(self._manifest())

    def poll(self, cached: CachedCheck | None) -> tuple[Digest, CachedCheck]:
        """Ask what the reference names now; nothing is copied if it is what it was."""
        manifest = self._manifest()
        if (
            cached is not None
            and (cached.reference, cached.platform)
            == (str(self._reference), str(self._settings.platform))
            and cached.top == Digest.of(manifest)
        ):
            return cached.digest, cached
        resolved = self._resolve(manifest)
        return resolved.digest, resolved.seen

    def blob(self, descriptor: Descriptor) -> BlobStream:
        """Read a blob of the copy; see `bootd.registry.sources.source.ImageSource.blob`."""
        return self._layout().blob(descriptor)

    def part(self, descriptor: Descriptor, start: int, end: int) -> Generator[bytes, None, None]:
        """Read a part of a blob of it; see `bootd.registry.sources.source.ImageSource.part`."""
        return self._layout().part(descriptor, start, end)

    def take_uses(self) -> list[SourceUse]:
        """Return nothing: it is the one place there is."""
        return []

    def beside(self, tag: str) -> list[Descriptor]:
        """Return nothing: skopeo has judged the image with what lies beside it."""
        return []

    def referrers(self, digest: Digest, kind: str) -> list[Descriptor]:
        """Return nothing; see `beside`."""
        return []

    def _resolve(self, manifest: bytes) -> ResolvedImage:
        self._copy(manifest)
        top = Digest.of(manifest)
        resolved = self._layout().resolve()
        reference = str(self._reference)
        seen = resolved.seen.model_copy(update={"reference": reference, "top": top})
        return replace(resolved, reference=reference, seen=seen)

    def _layout(self) -> LayoutSource:
        layout = self._folder / _LAYOUT
        if not (self._folder / _MARK).exists():
            raise ImageNotFoundError(f"the copy of {self._reference} is not there any more")
        reference = LayoutReference(layout, archive=False, tag=_TAG, digest=None)
        return LayoutSource(reference, self._settings, FolderFiles(layout))

    def _manifest(self) -> bytes:
        """Return what the reference names, as it is there.

        Raises:
            InvalidReferenceError: there is no such image, or nothing to copy it with.
        """
        path = self._reference.path
        if path is not None and not path.exists():
            raise InvalidReferenceError(
                f"the transport {self._reference.transport}: finds no {path}",
                hint="Name a folder or file that is there; a stick has to be mounted.",
            )
        try:
            done = process.run(
                [*self._skopeo(), "inspect", "--raw", str(self._reference)],
                timeout=_LOOK_SECONDS,
                expected=(0, 1),
            )
        except ProcessFailedError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise InvalidReferenceError(
                f"the transport {self._reference.transport}: needs {_PROGRAM}, which is not "
                "installed",
                hint=f"Install {_PROGRAM}, or copy the image where it is installed: "
                f"'{_PROGRAM} copy {self._reference} oci:/path:tag'.",
            ) from error
        if done.returncode:
            said = _said(done.stderr)
            raise InvalidReferenceError(
                f"the transport {self._reference.transport}: has no {self._reference.rest}: {said}",
                hint=_HINTS[self._reference.transport],
            )
        if len(done.stdout) > MAX_MANIFEST_SIZE:
            raise ManifestTooLargeError(
                f"the manifest of {self._reference} has {len(done.stdout)} bytes; "
                f"{MAX_MANIFEST_SIZE} are allowed"
            )
        return done.stdout

    def _copy(self, manifest: bytes) -> None:
        """Copy the image, which may take long and much room.

        Raises:
            NoSpaceError: said before it begins, where the manifest tells the sizes.
            NotTrustedError: the machine's policy does not allow it.
            ProcessFailedError: skopeo failed.
        """
        discard_copies(self._folder.parent, self._disk)
        self._disk.make_directory(self._folder)
        room = self._room(manifest)
        platform = self._settings.platform
        words = [
            *self._skopeo(),
            f"--tmpdir={self._folder}",
            f"--override-os={platform.os}",
            f"--override-arch={platform.architecture}",
            *([f"--override-variant={platform.variant}"] if platform.variant else []),
            "copy",
            "--quiet",
            "--remove-signatures",
            "--dest-oci-accept-uncompressed-layers",
            str(self._reference),
            f"oci:{self._folder / _LAYOUT}:{_TAG}",
        ]
        _log.info("copying %s with %s", self._reference, _PROGRAM)
        # prlimit(1), of util-linux like mount: no file of the copy fills the disk.
        limited = ["prlimit", f"--fsize={room}", *words]
        done = process.run(limited, timeout=_COPY_SECONDS, expected=(0, 1))
        if done.returncode:
            said = _said(done.stderr)
            if _REJECTED in said:
                raise NotTrustedError(f"{self._policy} does not allow {self._reference}: {said}")
            raise ProcessFailedError(f"{_PROGRAM} could not copy {self._reference}: {said}")
        self._disk.replace_file(self._folder / _MARK, b"")

    def _room(self, manifest: bytes) -> int:
        """Return how many bytes a copy may take."""
        with storage_errors("look at", self._folder):
            found = os.statvfs(self._folder)
        room = found.f_bavail * found.f_frsize - _SPARE_BYTES
        needed = _told_size(manifest)
        if needed > room or room <= 0:
            raise NoSpaceError(
                f"copying {self._reference} takes {max(needed, 1)} bytes, and {max(room, 0)} are "
                f"free beside {_SPARE_BYTES} that are left"
            )
        return room

    @property
    def _policy(self) -> Path:
        return self._settings.root / _POLICY

    def _skopeo(self) -> list[str]:
        # Without any policy it would refuse everything; bootd then accepts every image.
        if self._policy.exists():
            return [_PROGRAM, f"--policy={self._policy}"]
        return [_PROGRAM, "--insecure-policy"]


@contextmanager
def copies_discarded(folder: Path, disk: Disk) -> Iterator[None]:
    """Remove the copies when a job has no use for them any more, however it ends."""
    try:
        yield
    finally:
        discard_copies(folder, disk)


def discard_copies(folder: Path, disk: Disk) -> None:
    """Remove all copies among the unfinished downloads, and what a cut left of one.

    No other job may be using them.
    """
    with storage_errors("list", folder):
        copies = sorted(folder.glob(f"*{_PREFIX}*")) if folder.is_dir() else []
    for copy in copies:
        disk.remove_tree(copy)


def _told_size(manifest: bytes) -> int:
    """Return what the layers of a manifest take, as far as it tells; an index does not."""
    try:
        parsed: Manifest | Index = parse_manifest(manifest, "")
    except InvalidManifestError:
        return 0
    return sum(layer.size for layer in parsed.layers) if isinstance(parsed, Manifest) else 0


def _said(words: bytes) -> str:
    """Return skopeo's message out of its last line, logfmt: ``time=… level=… msg="…"``."""
    line = words.decode(errors="replace").strip().rpartition("\n")[2]
    message = line.partition('msg="')[2].removesuffix('"').replace('\\"', '"') or line
    return "".join(character for character in message if character.isprintable())[:_SHOWN]
