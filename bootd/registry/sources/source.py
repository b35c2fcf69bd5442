"""The seam to the rest of bootd: an image source, wherever the image is.

A source is for one thread at a time; parallel work opens one each. `RegistrySettings` and
descriptors can be pickled, so worker processes open their own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Protocol, TypeVar

from bootd.clock import SYSTEM_CLOCK, Clock
from bootd.durable import Disk
from bootd.model.digest import Digest
from bootd.model.errors import ContentError
from bootd.model.registry.image import CachedCheck, Descriptor, ResolvedImage
from bootd.model.registry.source_use import SourceUse
from bootd.registry.blobs.blob import BlobStream
from bootd.registry.reference import CopiedReference, RegistryReference, parse_reference
from bootd.registry.settings import RegistrySettings
from bootd.startup import later

with later():
    # requests takes a tenth of a second to load.
    from bootd.registry.sources import archive, copied, layout, remote

_T = TypeVar("_T")


class ImageSource(Protocol):
    """One image reference, and everything that can be read of it."""

    def resolve(self) -> ResolvedImage:
        """Return what the reference names now: this platform's manifest, and its configuration.

        Raises:
            TransportError: not served.
            ContentError: served, but wrong: too large, malformed, of an unknown type, for other
                platforms, or not what its digest says.
            RequestError: credentials or registries.conf cannot be used.
        """

    def poll(self, cached: CachedCheck | None) -> tuple[Digest, CachedCheck]:
        """Return the digest `resolve` would find, and what makes the next poll cheap.

        With the last poll's record one conditional request is enough if nothing is new.

        Raises:
            TransportError, ContentError, RequestError: see `resolve`.
        """

    def blob(self, descriptor: Descriptor) -> BlobStream:
        """Return the bytes a descriptor of the image names, as they arrive.

        Nothing is asked for before the first piece is. The stream ends normally only if size and
        digest were right. A broken connection is taken up where it broke, and what was fetched
        survives this run. The descriptor's ``urls`` are not followed.

        While reading, the stream raises:
            TransportError: not served, or broken too often.
            VerificationError: not the bytes that the descriptor promises.
        """

    def part(self, descriptor: Descriptor, start: int, end: int) -> Generator[bytes, None, None]:
        """Return the bytes of a blob from `start` up to, not including, `end`, as they arrive.

        They are as many as were asked for, and may be any: no digest is known of them. One
        connection serves one part after the other. Close it when giving up early.

        While reading, it raises:
            TransportError: not served, broken too often, or the server knows no ranges.
            SizeMismatchError: the blob has another size.
        """

    def beside(self, tag: str) -> list[Descriptor]:
        """Return the layers that another tag of the repository lists; none if there is no such tag.

        Signatures lie so beside an image. An image in a file has nothing beside it.

        Raises:
            TransportError: not served.
            ContentError: the tag names no manifest.
        """

    def referrers(self, digest: Digest, kind: str) -> list[Descriptor]:
        """Return the layers, of a media type, of the artifacts of that type that refer to an image.

        At most `bootd.registry.artifact.MAX_REFERRERS` artifacts are looked at.

        Raises:
            TransportError: not served.
            ContentError: what refers to the image cannot be understood.
        """

    def take_uses(self) -> list[SourceUse]:
        """Return what each place of the image did since the last call; none where there is one."""

    def close(self) -> None:
        """Let go of connections."""


def open_source(
    reference: str,
    settings: RegistrySettings,
    partial: Path,
    disk: Disk,
    clock: Clock = SYSTEM_CLOCK,
) -> ImageSource:
    """Return the source for a reference; nothing is asked for yet.

    Args:
        reference: see `bootd.registry.reference`.
        settings: platform, places and bounds.
        partial: the folder for unfinished downloads.
        disk: removes what is left over there.
        clock: for waits and deadlines.

    Raises:
        InvalidReferenceError: the reference does not follow the grammar.
        InvalidConfigurationError: registries.conf cannot be used.
        RegistryBlockedError: registries.conf forbids this registry.
    """
    parsed = parse_reference(reference)
    if isinstance(parsed, RegistryReference):
        return remote.RegistrySource(parsed, settings, partial, disk, clock)
    if isinstance(parsed, CopiedReference):
        return copied.CopiedSource(parsed, settings, partial, disk)
    files = (archive.ArchiveFiles if parsed.archive else layout.FolderFiles)(parsed.path)
    return layout.LayoutSource(parsed, settings, files)


def consume_blob(
    source: ImageSource, descriptor: Descriptor, consume: Callable[[BlobStream], _T]
) -> _T:
    """Give a blob's bytes to a consumer, a second time from byte 0 where that may mend it.

    Bytes of an earlier run may be damaged, and those of a mirror be wrong; both are found out only
    when the stream ends or the consumer chokes on them. Then they are dropped, and `consume` is
    called once more with a new stream, so it must start over cleanly.

    Raises:
        BootdError: what `consume` or the stream raised last.
    """
    with source.blob(descriptor) as stream:
        try:
            return consume(stream)
        except ContentError:
            if not stream.fresh_start_may_help:
                raise
            stream.forget()
    with source.blob(descriptor) as stream:
        return consume(stream)
