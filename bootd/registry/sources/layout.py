"""Images in an OCI layout (image-spec 1.1, image-layout.md): a folder, or a tar file of one.

For machines without a network. Everything is verified as if it came from a registry.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Generator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from bootd.durable import storage_errors
from bootd.model.digest import Digest
from bootd.model.errors import (
    ImageNotFoundError,
    InvalidManifestError,
    ManifestTooLargeError,
    SizeMismatchError,
)
from bootd.model.registry.image import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    CachedCheck,
    Descriptor,
    Index,
    ResolvedImage,
)
from bootd.model.registry.source_use import SourceUse
from bootd.registry.blobs.blob import BlobStream, check_digest, verified
from bootd.registry.manifest import MAX_MANIFEST_SIZE, choose_platform, parse_manifest
from bootd.registry.reference import LayoutReference
from bootd.registry.resolve import Top, chosen_digest, resolve_image
from bootd.registry.settings import RegistrySettings

_log = logging.getLogger(__name__)

_CHUNK: Final = 512 << 10
_MAX_MARKER: Final = 4_096
_REF_NAME: Final = "org.opencontainers.image.ref.name"
_SHOWN_TAGS: Final = 20


class LayoutFiles(Protocol):
    """Where the files of a layout are."""

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for reading by its path in the layout.

        Raises:
            FileNotFoundError: there is no such regular file.
        """


class FolderFiles:
    """The files of a layout that is a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, name: str) -> BinaryIO:
        """Open a file; see `LayoutFiles`."""
        path = self._folder / name
        if not path.is_file():
            raise FileNotFoundError(2, "no such file", str(path))
        return path.open("rb")


class LayoutSource:
    """An image in an OCI layout; see `bootd.registry.sources.source.ImageSource`."""

    def __init__(
        self, reference: LayoutReference, settings: RegistrySettings, files: LayoutFiles
    ) -> None:
        self._reference = reference
        self._platform = settings.platform
        self._files = files

    def close(self) -> None:
        """Nothing is held open."""

    def resolve(self) -> ResolvedImage:
        """Read and verify manifest and configuration."""
        return resolve_image(self._top(), self._platform, self._read_document)

    def poll(self, cached: CachedCheck | None) -> tuple[Digest, CachedCheck]:
        """Read what the reference names now."""
        top = self._top()
        digest = chosen_digest(top, self._platform, self._read_document)
        return digest, top.seen(digest, self._platform)

    def blob(self, descriptor: Descriptor) -> BlobStream:
        """Read a blob; see `bootd.registry.sources.source.ImageSource.blob`."""
        return BlobStream(verified(descriptor, self._chunks(descriptor)))

    def part(self, descriptor: Descriptor, start: int, end: int) -> Generator[bytes, None, None]:
        """Read a part of a blob; see `bootd.registry.sources.source.ImageSource.part`."""
        name = _blob_name(descriptor.digest)
        with self._opened(name) as stream, storage_errors("read", self._reference.path / name):
            stream.seek(start)
            while start < end:
                chunk = stream.read(min(_CHUNK, end - start))
                if not chunk:
                    raise SizeMismatchError(f"{descriptor.digest} ends at {start}")
                start += len(chunk)
                yield chunk

    def take_uses(self) -> list[SourceUse]:
        """Return nothing: it is the one place there is."""
        return []

    def beside(self, tag: str) -> list[Descriptor]:
        """Return nothing, as podman looks for no signatures in a file."""
        return []

    def referrers(self, digest: Digest, kind: str) -> list[Descriptor]:
        """Return nothing; see `beside`."""
        return []

    def _top(self) -> Top:
        self._check_version()
        listed = self._read_index()
        chosen = self._choose(listed.manifests)
        if chosen.size > MAX_MANIFEST_SIZE:
            raise ManifestTooLargeError(
                f"{self._reference}: the manifest has {chosen.size} bytes; "
                f"{MAX_MANIFEST_SIZE} are allowed"
            )
        data = self._read_document(chosen, chosen.size)
        check_digest(data, chosen.digest, f"the manifest of {self._reference}")
        return Top(str(self._reference), chosen, data)

    def _check_version(self) -> None:
        try:
            value: Any = json.loads(self._read("oci-layout", _MAX_MARKER))
            version = value["imageLayoutVersion"]
        except (ValueError, RecursionError, TypeError, KeyError) as error:
            raise InvalidManifestError(
                f"{self._reference.path} has a damaged oci-layout file"
            ) from error
        if version != "1.0.0":
            raise InvalidManifestError(
                f"{self._reference.path} has the layout version {str(version)[:100]!r}"
            )

    def _read_index(self) -> Index:
        data = self._read("index.json", MAX_MANIFEST_SIZE)
        parsed = parse_manifest(data, "")
        if not isinstance(parsed, Index):
            raise InvalidManifestError(f"{self._reference.path} has no index in its index.json")
        return parsed

    def _choose(self, entries: list[Descriptor]) -> Descriptor:
        images = [one for one in entries if one.media_type in MANIFEST_TYPES | INDEX_TYPES]
        tag, digest = self._reference.tag, self._reference.digest
        if digest is not None:
            matching = [one for one in images if one.digest == digest]
        elif tag is not None:
            matching = [one for one in images if one.annotations.get(_REF_NAME) == tag]
        else:
            matching = images
        if len({one.digest for one in matching}) == 1:
            return matching[0]
        if matching and all(one.platform for one in matching):
            return choose_platform(matching, self._platform)
        tags = sorted({one.annotations.get(_REF_NAME, "") for one in images} - {""})
        shown = ", ".join(tag[:100] for tag in tags[:_SHOWN_TAGS]) or "none"
        raise ImageNotFoundError(
            f"{self._reference} names {len(matching)} images; its tags are: {shown}",
            hint="Name one of the tags, as in oci:/path:tag.",
        )

    def _read_document(self, document: Descriptor, limit: int) -> bytes:
        return self._read(_blob_name(document.digest), limit)

    def _read(self, name: str, limit: int) -> bytes:
        with self._opened(name) as stream, storage_errors("read", self._reference.path / name):
            data = stream.read(limit + 1)
        if name in {"index.json", "oci-layout"} and len(data) > limit:
            raise ManifestTooLargeError(f"{self._reference.path}: {name} exceeds {limit} bytes")
        return data

    def _chunks(self, blob: Descriptor) -> Generator[bytes, None, None]:
        path = self._reference.path / _blob_name(blob.digest)
        with self._opened(_blob_name(blob.digest)) as stream:
            while True:
                with storage_errors("read", path):
                    chunk = stream.read(_CHUNK)
                if not chunk:
                    return
                yield chunk

    def _opened(self, name: str) -> AbstractContextManager[BinaryIO]:
        with storage_errors("open", self._reference.path / name):
            try:
                return self._files.open(name)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise ImageNotFoundError(
                    f"{self._reference.path} has no {name}",
                    hint="Name an OCI layout, as 'skopeo copy … oci:/path:tag' writes it.",
                ) from error


def _blob_name(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"
