"""Layers with a table of contents, written here by the formats' documents: zstd:chunked, eStargz.

That of zstd:chunked has hooks for those who want a table that lies.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import zstandard

from support.images import PackedLayer

PREFIX = "io.github.containers.zstd-chunked."
OLD_PREFIX = "io.containers.zstd-chunked."
CHUNK = 100_000
"""Files larger than this are cut into pieces."""

Edit = Callable[[dict[str, Any]], None]
EditRecords = Callable[[list[dict[str, Any]]], None]
_KINDS = {
    tarfile.REGTYPE: "reg",
    tarfile.LNKTYPE: "hardlink",
    tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.DIRTYPE: "dir",
    tarfile.FIFOTYPE: "fifo",
}
_SKIPPABLE = b"\x50\x2a\x4d\x18"
_MAGIC = b"GNUlInUx"


def zstd_chunked(
    tar: bytes,
    *,
    with_tar_split: bool = True,
    prefix: str = PREFIX,
    edit: Edit | None = None,
    edit_tar_split: EditRecords | None = None,
) -> PackedLayer:
    """A tar stream as zstd:chunked.

    Args:
        tar: the stream.
        with_tar_split: whether tar-split data come with it.
        prefix: of the annotations.
        edit: changes the table before it is written.
        edit_tar_split: changes the tar-split records before they are written.
    """
    writer = _Writer(zstandard.compress)
    records: list[dict[str, Any]] = []
    for header, member, content in _members(tar):
        writer.add(header, member, content)
        records.append({"type": 2, "payload": _base64(header)})
        if member is not None:
            size = {"size": member.size} if content else {}
            records.append({"type": 1, "name": member.name, **size, "payload": None})
    writer.flush()
    if edit_tar_split is not None:
        edit_tar_split(records)
    lines = [{**record, "position": place} for place, record in enumerate(records)]
    tar_split = zstandard.compress(b"".join(_json(line) + b"\n" for line in lines))
    table = {"version": 1, "entries": writer.entries}
    if with_tar_split:
        table["tarSplitDigest"] = _digest(tar_split)
    if edit is not None:
        edit(table)
    text = _json(table)
    packed = zstandard.compress(text)
    annotations = {prefix + "manifest-checksum": _digest(packed)}
    blob = writer.blob + _SKIPPABLE + len(packed).to_bytes(4, "little")
    start = len(blob)
    annotations[prefix + "manifest-position"] = f"{start}:{len(packed)}:{len(text)}:1"
    blob += packed
    if with_tar_split:
        blob += _SKIPPABLE + len(tar_split).to_bytes(4, "little")
        annotations[prefix + "tarsplit-position"] = f"{len(blob)}:{len(tar_split)}:1"
        blob += tar_split
    footer = b"".join(number.to_bytes(8, "little") for number in (start, len(packed), len(text), 1))
    footer += bytes(24) + _MAGIC
    blob += _SKIPPABLE + len(footer).to_bytes(4, "little") + footer
    return PackedLayer(tar, bytes(blob), "zstd", annotations)


def estargz(tar: bytes) -> PackedLayer:
    """The entries of a tar stream as eStargz; the table becomes one more entry."""
    writer = _Writer(_gzip)
    for header, member, content in _members(tar):
        # The end of the archive comes after the table; only the last content's padding stays.
        padding = -len(writer.tar) % tarfile.BLOCKSIZE
        writer.add(header if member is not None else header[:padding], member, content)
    writer.flush()
    text = _json({"version": 1, "entries": writer.entries})
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo("stargz.index.json")
        info.size, info.mode, info.mtime = len(text), 0, 0
        archive.addfile(info, io.BytesIO(text))
    own = stream.getvalue()
    start = len(writer.blob)
    extra = b"SG\x16\x00" + b"%016xSTARGZ" % start
    footer = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff" + len(extra).to_bytes(2, "little") + extra
    footer += b"\x01\x00\x00\xff\xff" + bytes(8)
    assert len(footer) == 51
    annotations = {"containerd.io/snapshot/stargz/toc.digest": _digest(text)}
    blob = writer.blob + _gzip(own) + footer
    return PackedLayer(bytes(writer.tar) + own, bytes(blob), "gzip", annotations)


class _Writer:
    def __init__(self, compress: Callable[[bytes], bytes]) -> None:
        self.blob = bytearray()
        self.tar = bytearray()
        self.entries: list[dict[str, Any]] = []
        self._compress = compress
        self._pending = b""

    def add(self, header: bytes, member: tarfile.TarInfo | None, content: bytes) -> None:
        self.tar += header + content
        self._pending += header
        if member is None:
            return
        entry = _entry(member)
        self.entries.append(entry)
        if not content:
            return
        self.flush()
        entry.update(size=len(content), digest=_digest(content), offset=len(self.blob))
        cuts = range(0, len(content), CHUNK)
        for place in cuts:
            piece = content[place : place + CHUNK]
            if place:
                entry["chunkSize"] = CHUNK
                chunk = {"type": "chunk", "name": member.name, "offset": len(self.blob)}
                chunk.update(chunkOffset=place, chunkSize=len(piece), chunkDigest=_digest(piece))
                self.entries.append(chunk)
            self.blob += self._compress(piece)
        entry["endOffset"] = len(self.blob)

    def flush(self) -> None:
        """Write what stands between contents as a piece of its own."""
        if self._pending:
            self.blob += self._compress(self._pending)
            self._pending = b""


def _members(tar: bytes) -> Iterator[tuple[bytes, tarfile.TarInfo | None, bytes]]:
    """What stands before each content, the entry, and the content; at last what follows."""
    place = 0
    with tarfile.open(fileobj=io.BytesIO(tar), errors="surrogateescape") as archive:
        for member in archive:
            end = member.offset_data + (member.size if member.isreg() else 0)
            yield tar[place : member.offset_data], member, tar[member.offset_data : end]
            place = end
    yield tar[place:], None, b""


def _entry(member: tarfile.TarInfo) -> dict[str, Any]:
    """What a table says of an entry, but for its content; names lose what is not UTF-8."""
    seconds, fraction = divmod(member.mtime, 1)
    time = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f"{fraction:.9f}"[2:].rstrip("0")
    found: dict[str, Any] = {
        "type": _KINDS[member.type],
        "name": _lossy(member.name) + ("/" if member.isdir() else ""),
        "linkName": _lossy(member.linkname),
        "mode": member.mode,
        "uid": member.uid,
        "gid": member.gid,
        "modtime": f"{time}{'.' + digits if digits else ''}Z",
        "devMajor": member.devmajor,
        "devMinor": member.devminor,
        "xattrs": {
            key.removeprefix("SCHILY.xattr."): _base64(value.encode(errors="surrogateescape"))
            for key, value in member.pax_headers.items()
            if key.startswith("SCHILY.xattr.")
        },
    }
    return {key: value for key, value in found.items() if value}


def _lossy(text: str) -> str:
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _digest(data: bytes) -> str:
    return "sha256:" + sha256(data).hexdigest()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
