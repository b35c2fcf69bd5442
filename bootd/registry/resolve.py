"""From what a tag names to a resolved image, whatever the documents are read from."""

from __future__ import annotations

from collections.abc import Callable

from bootd.model.digest import Digest
from bootd.model.errors import InvalidManifestError, ManifestTooLargeError, SizeMismatchError
from bootd.model.image import Descriptor, Index, Manifest, Platform, ResolvedImage
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


def resolve_image(
    reference: str,
    top: Descriptor,
    data: bytes,
    platform: Platform,
    read: ReadDocument,
) -> ResolvedImage:
    """Follow an index to the platform's manifest, and that to its configuration.

    Args:
        reference: what is resolved, for the result.
        top: describes `data`, which is already verified.
        data: the manifest or index that the reference names.
        platform: which image of an index is taken.
        read: fetches further documents; they are verified here.

    Raises:
        ContentError: what was read is not an image for this platform.
    """
    parsed = parse_manifest(data, top.media_type)
    if isinstance(parsed, Index):
        top = choose_platform(parsed.manifests, platform)
        data = _read(top, MAX_MANIFEST_SIZE, read, "manifest")
        parsed = parse_manifest(data, top.media_type)
    if not isinstance(parsed, Manifest):
        raise InvalidManifestError(f"{top.digest} is an index within an index")
    config_bytes = _read(parsed.config, MAX_CONFIG_SIZE, read, "image configuration")
    config = parse_config(config_bytes, parsed)
    check_platform(config, platform)
    return ResolvedImage(reference, top.digest, parsed, data, config, config_bytes)


def chosen_digest(top: Descriptor, data: bytes, platform: Platform) -> Digest:
    """Return the digest of the platform's manifest, reading no further document.

    Raises:
        ContentError: `data` is no manifest, or an index without this platform.
    """
    parsed = parse_manifest(data, top.media_type)
    if isinstance(parsed, Index):
        return choose_platform(parsed.manifests, platform).digest
    return top.digest


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
