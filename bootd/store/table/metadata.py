"""What a table says of a file besides its content, as the tar header would have said it. Pure.

Only for tables that are trusted. Source: containers/storage, pkg/chunked/internal/minimal,
FileMetadata.
"""

from __future__ import annotations

import base64
import os
import re
import stat
from datetime import UTC, datetime
from typing import Any, Final

from bootd.model.errors import InvalidLayerError
from bootd.store.table.rows import number
from bootd.store.tar.header import HARD_LINK, TarEntry, apply_records, bounded, shown

CHUNK: Final = "chunk"
"""The type of an entry that tells only where another piece of the file before it is."""

_TYPES: Final = {
    "reg": stat.S_IFREG,
    "hardlink": HARD_LINK,
    "symlink": stat.S_IFLNK,
    "char": stat.S_IFCHR,
    "block": stat.S_IFBLK,
    "dir": stat.S_IFDIR,
    "fifo": stat.S_IFIFO,
}
_LOST: Final = "\ufffd"
"""What JSON has in place of the bytes of a name that is not UTF-8."""
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)
_YEAR_ONE: Final = "0001-01-01T00:00:00Z"
"""How Go writes a time that is not set; its tar writer makes the epoch of it."""
_UINT32: Final = (1 << 32) - 1
_MAJOR: Final = (1 << 12) - 1
_MINOR: Final = (1 << 20) - 1


def tar_entry(entry: dict[str, Any]) -> TarEntry:
    """Return an entry of a table, but for a `CHUNK`, as a tar entry.

    Raises:
        InvalidLayerError: it lacks something, or the table cannot say what the tar stream does.
    """
    name = _text(entry, "name")
    file_type = _TYPES.get(str(entry.get("type")))
    if file_type is None:
        raise InvalidLayerError(f"entry {shown(name)} of a layer's table has an unknown type")
    size = number(entry, "size") if file_type == stat.S_IFREG else 0
    seconds, nanoseconds = _time(str(entry.get("modtime") or _YEAR_ONE), name)
    device = 0
    if file_type in (stat.S_IFCHR, stat.S_IFBLK):
        device = os.makedev(
            bounded(number(entry, "devMajor"), _MAJOR, "device major", name),
            bounded(number(entry, "devMinor"), _MINOR, "device minor", name),
        )
    found = TarEntry(
        name=name,
        kind=b"",
        file_type=file_type,
        permissions=number(entry, "mode") & 0o7777,
        uid=bounded(number(entry, "uid"), _UINT32, "uid", name),
        gid=bounded(number(entry, "gid"), _UINT32, "gid", name),
        stored=size,
        size=size,
        mtime_seconds=seconds,
        mtime_nanoseconds=nanoseconds,
        link=_text(entry, "linkName"),
        device=device,
    )
    xattrs = entry.get("xattrs")
    if xattrs:
        apply_records(found, _records(xattrs, name))
    return found


def _text(entry: dict[str, Any], key: str) -> bytes:
    value = entry.get(key, "")
    if not isinstance(value, str) or _LOST in value or "\0" in value:
        raise InvalidLayerError(f"a layer's table has the unusable {key} {str(value)[:100]!r}")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise InvalidLayerError(f"a layer's table has a {key} that is no text") from error


def _records(xattrs: object, name: bytes) -> list[tuple[bytes, bytes]]:
    """Return extended attributes as the records of an extended header."""
    try:
        return [
            (b"SCHILY.xattr." + key.encode(), base64.b64decode(value, validate=True))
            for key, value in dict(xattrs).items()  # type: ignore[call-overload]
        ]
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidLayerError(
            f"entry {shown(name)} of a layer's table has extended attributes that are none"
        ) from error


def _time(text: str, name: bytes) -> tuple[int, int]:
    if text == _YEAR_ONE:
        return 0, 0
    match = _TIME.fullmatch(text)
    if match is None:
        raise InvalidLayerError(
            f"entry {shown(name)} of a layer's table has the malformed time {text[:50]!r}"
        )
    try:
        moment = datetime.fromisoformat(match[1] + match[3])
    except ValueError as error:
        raise InvalidLayerError(
            f"entry {shown(name)} of a layer's table has the impossible time {text[:50]!r}"
        ) from error
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400 + since.seconds, int((match[2] or "").ljust(9, "0"))
