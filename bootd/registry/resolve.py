"""From what a tag names to a resolved image, whatever the documents are read from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bootd.model.digest import Digest
from bootd.model.errors import InvalidManifestError, ManifestTooLargeError, SizeMismatchError
from bootd.model.image import (
    CachedCheck,
    Descriptor,
    Index,
    Manifest,
    Platform,
    ResolvedImage,
)
from bootd.registry.blob import check_digest
from bootd.registry.manifest import (
    MAX_CONFIG_SIZE,
    MAX_MANIFEST_SIZE,
    check_platform,
    choose_platform,
    parse_config,
    parse_manifest,
)

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
        document = choose_platform(parsed.manifests, platform)
        data = _read(document, MAX_MANIFEST_SIZE, read, "manifest")
        parsed = parse_manifest(data, document.media_type)
    if not isinstance(parsed, Manifest):
        raise InvalidManifestError(f"{document.digest} is an index within an index")
    config_bytes = _read(parsed.config, MAX_CONFIG_SIZE, read, "image configuration")
    config = parse_config(config_bytes, parsed)
    check_platform(config, platform)
    seen = top.seen(document.digest, platform)
    return ResolvedImage(top.reference, document.digest, parsed, data, config, config_bytes, seen)


def chosen_digest(top: Top, platform: Platform) -> Digest:
    """Return the digest of the platform's manifest, reading no further document.

    Raises:
        ContentError: this is no manifest, or an index without this platform.
    """
    parsed = parse_manifest(top.data, top.descriptor.media_type)
    if isinstance(parsed, Index):
        return choose_platform(parsed.manifests, platform).digest
    return top.descriptor.digest


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
