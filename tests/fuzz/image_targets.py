"""Readers of what a registry serves: manifests, layers, tables of contents, composed images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from support.tar_blocks import checksummed

from bootd.model.errors import NoMatchingPlatformError
from bootd.model.registry.image import Manifest, Platform
from bootd.model.tree import RegularFile
from bootd.registry.login.challenge import parse_challenges
from bootd.registry.login.token import _parse_token
from bootd.registry.manifest import choose_platform, parse_config, parse_manifest
from bootd.registry.reference import parse_reference
from bootd.registry.wire.retry import TemporaryFailure
from bootd.store.erofs import ErofsImage
from bootd.store.images.dumpfile import format_entry, parse_line, parse_lines
from bootd.store.layer_entry import store_entry
from bootd.store.table.annotations import find_table
from bootd.store.table.entries import TableEntries
from bootd.store.table.metadata import CHUNK, tar_entry
from bootd.store.table.rows import file_rows
from bootd.store.table.tar_split import parse_tar_split
from bootd.store.tar.decompress import unpack
from bootd.store.tar.reader import TarReader
from fuzz.target import Target

_LIMIT = 8 << 20
_MEDIA_TYPES = tuple(
    f"application/vnd.oci.image.layer.v1.tar{packing}" for packing in ("", "+gzip", "+zstd")
)
_ONE_LAYER = Manifest.model_validate(
    {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "c", "digest": f"sha256:{'0' * 64}", "size": 1},
        "layers": [{"mediaType": "l", "digest": f"sha256:{'0' * 64}", "size": 1}],
    }
)


class _Measured:
    """Takes contents as the store does, and forgets them."""

    def add_soon(self, file: RegularFile, content: bytes, /) -> None:
        file.verity = bytes(32)

    def add_stream(self, pieces: Iterable[bytes], /) -> bytes:
        left = _LIMIT
        for piece in pieces:
            # A file with holes may be as long as it likes; the importer counts before.
            left -= len(piece)
            if left < 0:
                break
        return bytes(32)


def _pieces(data: bytes) -> Iterator[bytes]:
    """Cut an input into pieces of a size that its first byte tells."""
    size = 1 << data[0] % 17 if data else 1
    return (data[at : at + size] for at in range(1, len(data), size))


def _tar(data: bytes) -> None:
    reader = TarReader(_pieces(data[:1] + checksummed(data[1:])))
    while (entry := reader.next()) is not None:
        if entry.size > _LIMIT:
            break
        line = format_entry(store_entry(entry, reader, _Measured()))
        assert format_entry(parse_line(line)) == line


def _blob(data: bytes) -> None:
    media_type = _MEDIA_TYPES[data[0] % len(_MEDIA_TYPES)] if data else _MEDIA_TYPES[0]
    for _ in unpack(_pieces(data[1:]), media_type, _LIMIT):
        pass


def _table(data: bytes) -> None:
    entries = list(TableEntries(_pieces(data)))
    file_rows(entries, len(data) << 10, 1 << 40)
    for entry in entries:
        if entry.get("type") != CHUNK:
            tar_entry(entry)


def _tar_split(data: bytes) -> None:
    for _ in parse_tar_split(_pieces(data)):
        pass


def _erofs(data: bytes) -> None:
    with ErofsImage.from_bytes(data) as image:
        image.objects()
        image.lookup(b"/usr/lib/os-release")
        image.root()


def _lines(data: bytes) -> None:
    for entry in parse_lines(data):
        line = format_entry(entry)
        assert format_entry(parse_line(line)) == line


def _manifest(data: bytes) -> None:
    manifest = parse_manifest(data)
    if isinstance(manifest, Manifest):
        for layer in manifest.layers:
            find_table(layer)
    else:
        choose_platform(manifest.manifests, Platform(os="linux", architecture="amd64"))


def _config(data: bytes) -> None:
    parse_config(data, _ONE_LAYER)


def _headers(data: bytes) -> None:
    text = data.decode("latin-1")
    parse_challenges(text)
    _parse_token(data, "the token server")


def _reference(data: bytes) -> None:
    reference = parse_reference(data.decode(errors="surrogateescape"))
    assert parse_reference(str(reference)) == reference


TARGETS = (
    Target("tar", _tar),
    Target("blob", _blob),
    Target("table", _table),
    Target("tar-split", _tar_split),
    Target("erofs", _erofs),
    Target("lines", _lines),
    Target("manifest", _manifest, (NoMatchingPlatformError,)),
    Target("config", _config),
    Target("headers", _headers, (TemporaryFailure,)),
    Target("reference", _reference),
)
