"""From what a tag names to a resolved image, whatever the documents are read from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bootd.model.digest import Digest
from bootd.model.errors import InvalidManifestError, ManifestTooLargeError, SizeMismatchError
from bootd.model.registry.image import (
    INDEX_TYPES,
    CachedCheck,
    Descriptor,
    Index,
    Manifest,
    Platform,
    ResolvedImage,
)
from bootd.registry.blobs.blob import check_digest
from bootd.registry.manifest import (
    MAX_CONFIG_SIZE,
    MAX_MANIFEST_SIZE,
    check_platform,
    choose_platform,
    parse_config,
    parse_manifest,
    platform_rank,
)

_MAX_DEPTH: Final = 4
_MAX_INDEXES: Final = 16
"""How deep indexes within an index may lie, and how many are read."""

ReadDocument = Callable[[Descriptor, int], bytes]
"""Returns the bytes a descriptor names, at most one more than the given limit."""


@dataclass(frozen=True, slots=True)
class Top:
    """What a reference names itself: an index or a manifest.

    Attributes:
        reference: the reference, as results show it.
        descriptor: describes `data`.
        data: the bytes, verified.
        location: where they were served, or empty.
        etag: the entity tag they had there, or empty.
        tells_digest: whether Docker-Content-Digest is sent there.
    """

    reference: str
    descriptor: Descriptor
    data: bytes
    location: str = ""
    etag: str = ""
    tells_digest: bool = False

    def seen(self, digest: Digest, platform: Platform) -> CachedCheck:
        """Return what to keep for the next poll; `digest` is of the platform's manifest."""
        return CachedCheck(
            reference=self.reference,
            platform=str(platform),
            location=self.location,
            top=self.descriptor.digest,
            digest=digest,
            etag=self.etag,
            tells_digest=self.tells_digest,
        )


def resolve_image(top: Top, platform: Platform, read: ReadDocument) -> ResolvedImage:
    """Follow an index to the platform's manifest, and that to its configuration.

    Args:
        top: what the reference names.
        platform: which image of an index is taken.
        read: fetches further documents; they are verified here.

    Raises:
        ContentError: what was read is not an image for this platform.
    """
    document, data = top.descriptor, top.data
    parsed = parse_manifest(data, document.media_type)
    if isinstance(parsed, Index):
        document = _choose(parsed, platform, read)
        data = _read(document, MAX_MANIFEST_SIZE, read, "manifest")
        parsed = parse_manifest(data, document.media_type)
    if not isinstance(parsed, Manifest):
        raise InvalidManifestError(f"{document.digest} is an index that is called a manifest")
    config_bytes = _read(parsed.config, MAX_CONFIG_SIZE, read, "image configuration")
    config = parse_config(config_bytes, parsed)
    check_platform(config, platform)
    seen = top.seen(document.digest, platform)
    return ResolvedImage(top.reference, document.digest, parsed, data, config, config_bytes, seen)


def chosen_digest(top: Top, platform: Platform, read: ReadDocument) -> Digest:
    """Return the digest of the platform's manifest; only indexes within an index are read.

    Raises:
        ContentError: this is no manifest, or an index without this platform.
    """
    parsed = parse_manifest(top.data, top.descriptor.media_type)
    if isinstance(parsed, Index):
        return _choose(parsed, platform, read).digest
    return top.descriptor.digest


def _choose(index: Index, platform: Platform, read: ReadDocument) -> Descriptor:
    """Return the descriptor of the platform's manifest, in this index or one within it."""
    images: list[Descriptor] = []
    waiting = [(one, 1) for one in reversed(index.manifests)]
    indexes = 0
    while waiting:
        entry, depth = waiting.pop()
        if entry.media_type not in INDEX_TYPES:
            images.append(entry)
        elif entry.platform is None or platform_rank(entry.platform, platform) is not None:
            indexes += 1
            if depth > _MAX_DEPTH or indexes > _MAX_INDEXES:
                raise InvalidManifestError(
                    f"the index has more than {_MAX_INDEXES} indexes within it, or they are more "
                    f"than {_MAX_DEPTH} deep"
                )
            inner = parse_manifest(_read(entry, MAX_MANIFEST_SIZE, read, "index"), entry.media_type)
            assert isinstance(inner, Index)
            waiting += [(_of(entry, one), depth + 1) for one in reversed(inner.manifests)]
    return choose_platform(images, platform)


def _of(index: Descriptor, entry: Descriptor) -> Descriptor:
    """Return an entry of an inner index, which is for the platform of that if it names none."""
    return entry if entry.platform else entry.model_copy(update={"platform": index.platform})


def _read(document: Descriptor, limit: int, read: ReadDocument, what: str) -> bytes:
    if document.size > limit:
        raise ManifestTooLargeError(
            f"the {what} {document.digest} has {document.size} bytes; {limit} are allowed"
        )
    data = read(document, document.size)
    if len(data) != document.size:
        amount = "more" if len(data) > document.size else "fewer"
        raise SizeMismatchError(
            f"the {what} {document.digest} has {amount} than its {document.size} bytes"
        )
    check_digest(data, document.digest, what)
    return data
