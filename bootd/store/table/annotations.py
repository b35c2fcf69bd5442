"""What a layer's descriptor says about its table. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from bootd.model.digest import Digest
from bootd.model.errors import InvalidDigestError, InvalidLayerError
from bootd.model.registry.image import Descriptor

TABLE_LIMIT: Final = 32 << 20
"""Most bytes of a table, or of tar-split data, as they are stored."""

_PREFIXES: Final = ("io.github.containers.zstd-chunked.", "io.containers.zstd-chunked.")
"""The second is what skopeo and podman wrote until the end of 2022, Debian 12's among them."""
_CHECKSUM: Final = "manifest-checksum"
_POSITION: Final = "manifest-position"
_TAR_SPLIT: Final = "tarsplit-position"
_NUMBERS: Final = re.compile(r"[0-9]{1,18}(?::[0-9]{1,18})+", re.ASCII)
_POSITION_NUMBERS: Final = 4
_TAR_SPLIT_NUMBERS: Final = 3
_CRFS: Final = 1
"""The one type of table there is."""


@dataclass(frozen=True, slots=True)
class Span:
    """Some bytes of the blob: from `start` up to, not including, `end`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """How many bytes."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class ZstdChunked:
    """Where a zstd:chunked layer has its table.

    Attributes:
        digest: of the table as it is stored, that is compressed.
        table: where it is.
        tar_split: where what is needed to rebuild the tar stream is; older writers have none.
    """

    digest: Digest
    table: Span
    tar_split: Span | None


def has_table(layer: Descriptor) -> bool:
    """Return whether the annotations tell of a table, usable or not."""
    return any(prefix + _POSITION in layer.annotations for prefix in _PREFIXES)


def find_table(layer: Descriptor) -> ZstdChunked | None:
    """Return what the annotations say about the layer's table, None where they tell of none.

    Whether the blob is packed as the table says, its bytes tell; the media type may be wrong.

    Raises:
        InvalidLayerError: they cannot be used.
    """
    try:
        for prefix in _PREFIXES:
            if prefix + _POSITION in layer.annotations:
                return _zstd_chunked(layer, prefix)
    except InvalidDigestError as error:
        raise InvalidLayerError(f"the digest of a layer's table is none: {error}") from error
    return None


def _zstd_chunked(layer: Descriptor, prefix: str) -> ZstdChunked:
    notes = layer.annotations
    start, length, _, kind = _numbers(notes[prefix + _POSITION], _POSITION_NUMBERS)
    if kind != _CRFS:
        raise InvalidLayerError(f"a layer's table is of the unknown type {kind}")
    tar_split = None
    if prefix + _TAR_SPLIT in notes:
        at, size, _ = _numbers(notes[prefix + _TAR_SPLIT], _TAR_SPLIT_NUMBERS)
        tar_split = _checked_span(layer, at, at + size)
    return ZstdChunked(
        Digest(notes.get(prefix + _CHECKSUM, "")),
        _checked_span(layer, start, start + length),
        tar_split,
    )


def _checked_span(layer: Descriptor, start: int, end: int) -> Span:
    """Return the place of a table in the blob; refuse one that is outside, or too large."""
    if not 0 < start < end <= layer.size:
        raise InvalidLayerError(
            f"a layer of {layer.size} bytes claims to have its table at {start} to {end}"
        )
    if end - start > TABLE_LIMIT:
        raise InvalidLayerError(
            f"a layer's table has {end - start} bytes; {TABLE_LIMIT} are allowed"
        )
    return Span(start, end)


def _numbers(text: str, count: int) -> list[int]:
    found = text.split(":")
    if not _NUMBERS.fullmatch(text) or len(found) != count:
        raise InvalidLayerError(f"a layer has its table at the impossible place {text[:100]!r}")
    return [int(number) for number in found]
