"""Parts of an ``/etc`` in a compressed tar archive (POSIX.1-2001 pax), and back.

Names are relative to ``/etc``. Extended attributes stand in the headers that tar(1) with
``--xattrs`` reads and writes (``SCHILY.xattr.``), times carry nanoseconds. A hard link is kept as a
file of its own; what is no file, folder or symbolic link is left out.
"""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from bootd.durable import storage_errors
from bootd.etc.disk.descriptors import chunks_of, closing, errors_at, open_file, open_parent
from bootd.model.errors import DamagedObjectError
from bootd.model.tree import Directory, Metadata, Node, RegularFile, SpecialFile, Symlink

_XATTR: Final = "SCHILY.xattr."
_TIME: Final = "mtime"
_GZIP: Final = 31
_BLOCK: Final = 512
_CHUNK: Final = 1 << 20
_CODING: Final = ("utf-8", "surrogateescape")


@dataclass(slots=True)
class Packing:
    """Packs entries; what did not fit is in `left_out` once it is through.

    Attributes:
        entries: paths and what stands there, folders before what they hold.
        etc: a descriptor of the ``/etc`` that they were read from.
        folder: how that is called.
        limit: most bytes of contents; a file that goes beyond is left out.
    """

    entries: Sequence[tuple[bytes, Node]]
    etc: int
    folder: Path
    limit: int
    left_out: list[bytes] = field(default_factory=list)

    def chunks(self) -> Iterator[bytes]:
        """Yield the archive in pieces.

        Raises:
            WriteFailedError: a file cannot be read, or changed its size meanwhile.
        """
        packer = zlib.compressobj(wbits=_GZIP)
        for data in self._plain():
            packed = packer.compress(data)
            if packed:
                yield packed
        yield packer.flush()

    def _plain(self) -> Iterator[bytes]:
        room = self.limit
        for path, node in self.entries:
            if isinstance(node, RegularFile):
                if node.size > room:
                    self.left_out.append(path)
                    continue
                room -= node.size
                yield from self._file(path, node)
            elif not isinstance(node, SpecialFile):
                yield _header(path, node)
        yield bytes(2 * _BLOCK)

    def _file(self, path: bytes, node: RegularFile) -> Iterator[bytes]:
        with (
            errors_at("read", self.folder, path),
            closing(open_parent(self.etc, path)) as parent,
            closing(
                None if parent is None else open_file(path.rpartition(b"/")[2], parent)
            ) as descriptor,
        ):
            if descriptor is None:
                self.left_out.append(path)
                return
            size = os.fstat(descriptor).st_size
            yield _header(path, node, size)
            left = size
            for chunk in chunks_of(descriptor, size):
                left -= len(chunk)
                yield chunk
            # Somebody cut it short while it was read: zeros keep the archive readable.
            yield bytes(left + -size % _BLOCK)


class Archive:
    """An archive as entries, and as the source of the contents of its files.

    Attributes:
        entries: what it holds, by path, in its order; folders are empty.
    """

    def __init__(self, reader: tarfile.TarFile, work: Path) -> None:
        self._reader = reader
        self._work = work
        self._members: dict[int, tarfile.TarInfo] = {}
        self.entries: dict[bytes, Node] = {}
        for member in reader:
            self._add(member)

    def open(self, file: RegularFile) -> int:
        """Return a descriptor of a file's content, at offset 0; the caller closes it.

        Raises:
            DamagedObjectError: the archive ends before it.
            WriteFailedError, NoSpaceError: there is no room to unpack it.
        """
        with storage_errors("unpack to", self._work):
            descriptor = os.open(self._work, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            self._unpack(file, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _unpack(self, file: RegularFile, descriptor: int) -> None:
        try:
            stream = self._reader.extractfile(self._members[id(file)])
            assert stream is not None
            _copy(stream, descriptor, self._work)
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise DamagedObjectError(f"{self._reader.name!r} is damaged: {error}") from error

    def _add(self, member: tarfile.TarInfo) -> None:
        path = member.name.encode(*_CODING)
        if any(name in (b"", b".", b"..") for name in path.split(b"/")):
            return  # Packing writes no such name.
        if member.isdir():
            self.entries[path] = Directory(_metadata(member))
        elif member.issym():
            self.entries[path] = Symlink(_metadata(member), member.linkname.encode(*_CODING))
        elif member.isfile():
            node = RegularFile(_metadata(member), member.size)
            self.entries[path] = node
            self._members[id(node)] = member


@contextmanager
def opened_archive(path: Path, work: Path) -> Iterator[Archive]:
    """Open an archive that a `Packing` made.

    Args:
        path: the archive.
        work: a folder on whose file system contents are unpacked; nothing stays there.

    Raises:
        DamagedObjectError: it is missing or damaged.
    """
    try:
        with tarfile.open(path, "r:gz", encoding=_CODING[0], errors=_CODING[1]) as reader:
            yield Archive(reader, work)
    except (FileNotFoundError, tarfile.TarError, EOFError, zlib.error) as error:
        raise DamagedObjectError(f"{path} is missing or damaged: {error}") from error


def _header(path: bytes, node: Node, size: int = 0) -> bytes:
    values = node.metadata
    info = tarfile.TarInfo(path.decode(*_CODING))
    info.mode, info.uid, info.gid, info.size = values.permissions, values.uid, values.gid, size
    if isinstance(node, Directory):
        info.type = tarfile.DIRTYPE
    elif isinstance(node, Symlink):
        info.type, info.linkname = tarfile.SYMTYPE, node.target.decode(*_CODING)
    info.pax_headers = {
        _XATTR + name.decode(*_CODING): value.decode(*_CODING)
        for name, value in values.xattrs.items()
    }
    info.pax_headers[_TIME] = f"{values.mtime_seconds}.{values.mtime_nanoseconds:09d}"
    return info.tobuf(tarfile.PAX_FORMAT, *_CODING)


def _metadata(member: tarfile.TarInfo) -> Metadata:
    seconds, _, fraction = member.pax_headers.get(_TIME, "0").partition(".")
    return Metadata(
        permissions=member.mode & 0o7777,
        uid=member.uid,
        gid=member.gid,
        mtime_seconds=int(seconds),
        mtime_nanoseconds=int(fraction[:9].ljust(9, "0")),
        xattrs={
            key.removeprefix(_XATTR).encode(*_CODING): value.encode(*_CODING)
            for key, value in member.pax_headers.items()
            if key.startswith(_XATTR)
        },
    )


def _copy(stream: IO[bytes], descriptor: int, work: Path) -> None:
    with storage_errors("unpack to", work):
        while data := stream.read(_CHUNK):
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
