"""OCI layouts in a tar file, read in place: nothing is unpacked.

The file is scanned once for where each member begins; blobs are then read straight from there.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

from bootd.model.errors import InvalidManifestError

_MAX_MEMBERS: Final = 10_000
_MAX_HEADER: Final = 1 << 20
_EXTENDED_TYPES: Final = frozenset(
    {
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    }
)


class ArchiveFiles:
    """The files of a layout that is a tar file; see `bootd.registry.sources.layout.LayoutFiles`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._members: dict[str, tuple[int, int]] | None = None

    def open(self, name: str) -> BinaryIO:
        """Open a member.

        Raises:
            FileNotFoundError: there is no such archive, or no such regular file in it.
            InvalidManifestError: the file is no tar archive, or has too many members.
        """
        if self._members is None:
            self._members = self._scan()
        if name not in self._members:
            raise FileNotFoundError(2, "no such member", name)
        start, size = self._members[name]
        return io.BufferedReader(_Section(self._path, start, size), 1 << 16)

    def _scan(self) -> dict[str, tuple[int, int]]:
        members: dict[str, tuple[int, int]] = {}
        try:
            # Uncompressed only: a compressed archive has no places to read from.
            with tarfile.open(self._path, "r:", tarinfo=_BoundedHeader) as archive:
                for number, member in enumerate(archive):
                    if number >= _MAX_MEMBERS:
                        raise InvalidManifestError(
                            f"{self._path} has more than {_MAX_MEMBERS} members"
                        )
                    if member.isreg() and not member.issparse():
                        name = member.name.removeprefix("./")
                        members[name] = (member.offset_data, member.size)
                    # tarfile would keep every header it has seen.
                    archive.members = []  # type: ignore[attr-defined]
        except (tarfile.TarError, ValueError) as error:
            raise InvalidManifestError(
                f"{self._path} is not a plain tar file: {error}",
                hint="Write it with 'skopeo copy … oci-archive:FILE'; decompress it first.",
            ) from error
        return members


class _BoundedHeader(tarfile.TarInfo):
    """A header whose extension records may not fill the memory."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.type in _EXTENDED_TYPES and info.size > _MAX_HEADER:
            raise ValueError(f"a header of {info.size} bytes")
        return info


class _Section(io.RawIOBase):
    """Part of a file, as a file."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self._stream = path.open("rb", buffering=0)
        self._stream.seek(start)
        self._start, self._end = start, start + size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        places = {
            io.SEEK_SET: self._start,
            io.SEEK_CUR: self._stream.tell(),
            io.SEEK_END: self._end,
        }
        at = self._stream.seek(max(self._start, min(places[whence] + offset, self._end)))
        return at - self._start

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: self._end - self._stream.tell()]
        return self._stream.readinto(view) or 0

    def close(self) -> None:
        self._stream.close()
        super().close()
