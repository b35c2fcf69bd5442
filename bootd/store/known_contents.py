"""Which content has which fs-verity digest: how a table's SHA-256 is found in the store.

``contents/<diff id>`` has, for one layer, pairs of the SHA-256 of a content and the fs-verity
digest of its object, then the contents that are so small that no object holds them. Both digests
were computed of the same bytes, so a pair is a fact that no crash and no collection makes wrong: it
may be of no use any more, since its object is gone, but never lead to another content. A file that
was cut short or altered is noticed by its checksum and counts for nothing. It is written before the
sync that precedes the layer's index, and removed after the index.

It also says whether the layer's tar stream was verified, or its table was trusted.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import Final

from bootd.durable import TEMPORARY_PREFIX, storage_errors
from bootd.model.digest import Digest
from bootd.model.hash_algorithm import HashAlgorithm
from bootd.model.tree import INLINE_LIMIT
from bootd.store.objects.files import ObjectWriter
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

_HEAD: Final = re.compile(
    rb"bootd-contents 1 ([0-9a-z:]{1,200}) (verified|trusted) ([0-9]{1,7}) ([0-9]{1,7})\n"
)
_HEAD_LIMIT: Final = 300
_SMALL: Final = Struct(f"32sB{INLINE_LIMIT}s")
_CHECKSUM_SIZE: Final = 32
_FILE_LIMIT: Final = 100 << 20


class ContentNotes:
    """The pairs of one layer, while it is imported."""

    def __init__(self, algorithm: HashAlgorithm) -> None:
        self._pair = _pair(algorithm)
        self._pairs = bytearray()
        self._small = bytearray()
        self._seen: set[bytes] = set()

    def add(self, content_digest: bytes, verity: bytes) -> None:
        """Note the object of a content."""
        if content_digest not in self._seen:
            self._seen.add(content_digest)
            self._pairs += self._pair.pack(content_digest, verity)

    def add_small(self, content: bytes) -> None:
        """Note a content that has no object."""
        content_digest = sha256(content).digest()
        if content_digest not in self._seen:
            self._seen.add(content_digest)
            self._small += _SMALL.pack(content_digest, len(content), content)

    def write(self, sysroot: Sysroot, diff_id: Digest, *, verified: bool) -> None:
        """Write the file of a layer, not yet durable.

        Raises:
            NoSpaceError, WriteFailedError: it could not be written.
        """
        head = b"bootd-contents 1 %b %b %d %d\n" % (
            diff_id.encode(),
            b"verified" if verified else b"trusted",
            len(self._pairs) // self._pair.size,
            len(self._small) // _SMALL.size,
        )
        data = b"".join((head, self._pairs, self._small))
        sysroot.disk.make_directory(sysroot.contents)
        sysroot.disk.add_file(_path(sysroot, diff_id), data + sha256(data).digest(), 0o600)


class NotingWriter(ObjectWriter):
    """An `ObjectWriter` that notes what it stores."""

    def __init__(self, sysroot: Sysroot, notes: ContentNotes) -> None:
        super().__init__(sysroot)
        self._notes = notes

    def add_all(self, contents: Sequence[bytes]) -> list[bytes]:
        """Store contents that are in memory, and note them."""
        digests = super().add_all(contents)
        for content, verity in zip(contents, digests, strict=True):
            self._notes.add(sha256(content).digest(), verity)
        return digests

    def add_stream(self, pieces: Iterable[bytes]) -> bytes:
        """Store a content that comes in pieces, and note it."""
        running = sha256()

        def passed_on() -> Iterator[bytes]:
            for piece in pieces:
                running.update(piece)
                yield piece

        verity = super().add_stream(passed_on())
        self._notes.add(running.digest(), verity)
        return verity


def is_anything_known(sysroot: Sysroot) -> bool:
    """Return whether some layer in the store has its contents noted."""
    return bool(_files(sysroot))


def find_contents(sysroot: Sysroot, wanted: Iterable[bytes]) -> dict[bytes, bytes]:
    """Return what the store knows of contents by their SHA-256.

    Returns:
        For a content of more than `INLINE_LIMIT` bytes its object's digest, which may be gone; for
        a smaller one the content itself.
    """
    known: dict[bytes, bytes | None] = dict.fromkeys(wanted)
    pair = _pair(sysroot.hash_algorithm())
    for path in _files(sysroot):
        for content_digest, value in _read(path, pair):
            if content_digest in known:
                known[content_digest] = value
    return {key: value for key, value in known.items() if value is not None}


def was_verified(sysroot: Sysroot, diff_id: Digest) -> bool:
    """Return whether a layer in the store has the tar stream that its diff ID names.

    Otherwise its table was trusted (`bootd.store.partial_layer`), or it cannot be told any more.
    """
    path = _path(sysroot, diff_id)
    if not path.exists():
        return True
    try:
        with path.open("rb") as stream:
            head = _HEAD.match(stream.read(_HEAD_LIMIT))
    except OSError:
        return False
    return head is not None and head[2] == b"verified"


def forget_contents(sysroot: Sysroot, kept: Iterable[Digest]) -> None:
    """Remove the files of layers that are gone, and what imports that were killed left.

    It is not durable: one too many does no harm.

    Raises:
        WriteFailedError: the disk is in the way.
    """
    names = set(kept)
    for path in _paths(sysroot):
        if path.name not in names:
            sysroot.disk.discard_file(path)


def _path(sysroot: Sysroot, diff_id: Digest) -> Path:
    return sysroot.contents / diff_id


def _files(sysroot: Sysroot) -> list[Path]:
    return [path for path in _paths(sysroot) if not path.name.startswith(TEMPORARY_PREFIX)]


def _paths(sysroot: Sysroot) -> list[Path]:
    if not sysroot.contents.is_dir():
        return []
    with storage_errors("list", sysroot.contents):
        return sorted(sysroot.contents.iterdir())


def _pair(algorithm: HashAlgorithm) -> Struct:
    """Return how the SHA-256 of a content stands with the digest of its object."""
    return Struct(f"{_CHECKSUM_SIZE}s{algorithm.digest_size}s")


def _read(path: Path, pair: Struct) -> Iterator[tuple[bytes, bytes]]:
    """Yield contents and what is known of them; nothing of a file that is damaged."""
    try:
        data = path.read_bytes() if path.stat().st_size <= _FILE_LIMIT else b""
    except OSError as error:
        _log.warning("%s cannot be read: %s", path, os.strerror(error.errno or 0))
        return
    view = memoryview(data)
    head = _HEAD.match(data[:_HEAD_LIMIT])
    pairs_end = 0 if head is None else head.end() + int(head[3]) * pair.size
    end = 0 if head is None else pairs_end + int(head[4]) * _SMALL.size
    if (
        head is None
        or head[1] != path.name.encode()
        or len(data) != end + _CHECKSUM_SIZE
        or sha256(view[:end]).digest() != data[end:]
    ):
        _log.warning("%s is damaged; what its layer holds is fetched again if needed", path)
        return
    yield from pair.iter_unpack(view[head.end() : pairs_end])
    for content_digest, size, content in _SMALL.iter_unpack(view[pairs_end:end]):
        yield content_digest, content[:size]
