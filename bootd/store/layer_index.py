"""Layer indexes: what a layer holds, in the order of its tar stream.

``layers/<diff id>`` is text: a first line with format and diff ID; one composefs-dump(5) line an
entry, whiteouts under their ``.wh.`` names; a last line with the number of entries, the bytes the
layer unpacked to and the SHA-256 of all lines before. All but the first line is one gzip member,
a quarter as large; in format 1 it was not packed, and such an index is still read. Invariants: an
index appears only after all that it names is durable, and until then it has a temporary name
(`bootd.store.publishing`); one that is cut short or altered is noticed when it is read to its end.
"""

from __future__ import annotations

import os
import re
import zlib
from binascii import unhexlify
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

from bootd.durable import storage_errors, temporary_name
from bootd.model.digest import Digest
from bootd.model.errors import (
    DamagedRecordError,
    InvalidLayerError,
    UnknownFormatError,
)
from bootd.model.registry.image import Compression
from bootd.store.images.dumpfile import LINE_LIMIT, DumpEntry, format_entry, parse_lines
from bootd.store.layers import layer_path
from bootd.store.tar.decompress import frames
from bootd.sysroot import Sysroot

ENTRIES_LIMIT: Final = 1_000_000
"""Most entries a layer may have."""

_PLAIN_FORMAT: Final = 1
_FORMAT: Final = 2
_GZIP_WINDOW: Final = 31
"""15 bits of window, in gzip's frame (zlib.h, deflateInit2)."""
_HEAD: Final = re.compile(rb"bootd-layer ([0-9]{1,9}) ([0-9a-z:]{1,200})\n")
_TAIL: Final = re.compile(rb"end ([0-9]{1,9}) ([0-9]{1,19}) ([0-9a-f]{64})\n")
_HEAD_LIMIT: Final = 300
_BUFFER: Final = 256 << 10
_TAIL_LIMIT: Final = 128
_DIGESTS: Final = re.compile(
    rb" [0-9a-f]{2}/[0-9a-f]{62,126} - ([0-9a-f]{64}(?:[0-9a-f]{64})?)[ \n]"
)
"""Payload, content and digest of a line: no other fields can look like these three."""
_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class WrittenLayer:
    """A layer that is written to the store, and neither durable nor found yet.

    Attributes:
        diff_id: the digest of its tar stream.
        index: its index, under a temporary name.
        entries: how many entries it has.
        unpacked_size: how many bytes it unpacked to.
    """

    diff_id: Digest
    index: Path
    entries: int
    unpacked_size: int


class LayerIndexWriter:
    """Writes an index under a temporary name; a context manager that removes it on failure."""

    def __init__(self, sysroot: Sysroot, diff_id: Digest) -> None:
        self._sysroot = sysroot
        self._diff_id = diff_id
        self._temporary = temporary_name(layer_path(sysroot, diff_id))
        self._head = b"bootd-layer %d %b\n" % (_FORMAT, diff_id.encode())
        self._hash = sha256(self._head)
        self._packer = _packer()
        self._entries = 0
        self._lines: list[bytes] = []
        self._pending = 0

    def __enter__(self) -> Self:
        with storage_errors("write", self._temporary):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._temporary, flags, _MODE)
            self._stream: BinaryIO = open(descriptor, "wb", buffering=0)  # noqa: PTH123
        try:
            self._write(self._head)
        except BaseException:
            self.__exit__(Exception)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stream.close()
        if kind is not None:
            self._sysroot.disk.discard_file(self._temporary)

    @property
    def entries(self) -> int:
        """How many entries were added."""
        return self._entries

    def add(self, entry: DumpEntry) -> None:
        """Add the next entry.

        Raises:
            NoSpaceError, WriteFailedError: it could not be written.
        """
        line = format_entry(entry)
        self._entries += 1
        self._lines.append(line)
        self._pending += len(line)
        if self._pending > _BUFFER:
            self._flush()

    def finish(self, unpacked_size: int) -> WrittenLayer:
        """End the index.

        Raises:
            NoSpaceError, WriteFailedError: it could not be written.
        """
        self._flush()
        checksum = self._hash.hexdigest().encode()
        tail = b"end %d %d %b\n" % (self._entries, unpacked_size, checksum)
        self._write(self._packer.compress(tail) + self._packer.flush())
        return WrittenLayer(self._diff_id, self._temporary, self._entries, unpacked_size)

    def _flush(self) -> None:
        data = b"".join(self._lines)
        self._lines.clear()
        self._pending = 0
        self._hash.update(data)
        self._write(self._packer.compress(data))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        with storage_errors("write", self._temporary):
            while view:
                view = view[self._stream.write(view) :]


def read_layer(
    sysroot: Sysroot, diff_id: Digest, written: Path | None = None
) -> Iterator[DumpEntry]:
    """Yield the entries of a layer in tar order.

    Args:
        sysroot: the machine.
        diff_id: the layer.
        written: where its index was before it had its name, which it may still not have.

    Raises:
        DamagedRecordError: the index is missing or damaged; when it was altered, this comes only
            after most of the entries, so nothing may be made of them before.
        UnknownFormatError: a newer bootd wrote it.
    """
    for block in layer_lines(sysroot, diff_id, written):
        yield from parse_lines(block)


def layer_objects(sysroot: Sysroot, diff_id: Digest) -> set[bytes]:
    """Return the digests of the objects a layer needs.

    Raises:
        DamagedRecordError, UnknownFormatError: as for `read_layer`.
    """
    objects: set[bytes] = set()
    for block in layer_lines(sysroot, diff_id):
        objects.update(_DIGESTS.findall(block))
    return set(map(unhexlify, objects))


def layer_lines(sysroot: Sysroot, diff_id: Digest, written: Path | None = None) -> Iterator[bytes]:
    """Yield the lines of a layer's entries, many at a time.

    Raises:
        DamagedRecordError, UnknownFormatError: as for `read_layer`.
    """
    path = layer_path(sysroot, diff_id)
    with storage_errors("read", path), _open(path, written) as stream:
        head = stream.readline(_HEAD_LIMIT)
        pieces = iter(lambda: stream.read(_BUFFER), b"")
        if _check_head(path, head, diff_id) == _PLAIN_FORMAT:
            yield from _checked(path, head, pieces)
            return
        try:
            yield from _checked(path, head, frames(pieces, Compression.GZIP))
        except InvalidLayerError as error:
            raise DamagedRecordError(f"{path} is damaged: {error.message}") from error


def _checked(path: Path, head: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield whole lines of pieces, but for the last one, which has to tell their checksum."""
    running = sha256(head)
    rest = b""
    entries = 0
    for piece in pieces:
        rest += piece
        # What may be the last line is kept back.
        whole = rest.rfind(b"\n", 0, max(len(rest) - _TAIL_LIMIT, 0)) + 1
        if whole:
            running.update(memoryview(rest)[:whole])
            entries += rest.count(b"\n", 0, whole)
            if entries > ENTRIES_LIMIT:
                raise DamagedRecordError(f"{path} has more than {ENTRIES_LIMIT} entries")
            yield rest[:whole]
            rest = rest[whole:]
        elif len(rest) > _BUFFER + LINE_LIMIT:
            raise DamagedRecordError(f"{path} has a line of more than {LINE_LIMIT} bytes")
    whole = rest.rfind(b"\n", 0, -1) + 1
    running.update(memoryview(rest)[:whole])
    entries += rest.count(b"\n", 0, whole)
    tail = _TAIL.fullmatch(rest, whole)
    if tail is None or int(tail[1]) != entries or tail[3] != running.hexdigest().encode():
        raise DamagedRecordError(f"{path} is damaged: its checksum does not match")
    yield rest[:whole]


def _open(path: Path, written: Path | None) -> BinaryIO:
    """Open an index that may be given its name at any moment."""
    for place in (written, path):
        if place is not None:
            with suppress(FileNotFoundError):
                return place.open("rb", buffering=_BUFFER)
    raise DamagedRecordError(f"the layer index {path} is missing")


def _check_head(path: Path, line: bytes, diff_id: Digest) -> int:
    """Return the format that a first line names."""
    head = _HEAD.fullmatch(line)
    if head is None:
        raise DamagedRecordError(f"{path} is not a layer index")
    number = int(head[1])
    if number not in (_PLAIN_FORMAT, _FORMAT):
        raise UnknownFormatError(f"{path} has format {number}; this bootd knows up to {_FORMAT}")
    if head[2] != diff_id.encode():
        raise DamagedRecordError(f"{path} is the index of {head[2].decode()}")
    return number


def _packer() -> Any:
    """Return the best gzip writer there is, at its fastest: ISA-L's takes a sixth of the time."""
    try:
        library: Any = import_module("isal.isal_zlib")
    except ImportError:
        library = zlib
    return library.compressobj(1, zlib.DEFLATED, _GZIP_WINDOW)
