"""Blocks of a tar stream as values: headers, numbers, extended header records.

Pure functions. Written for speed beside strictness, because an OS image has tens of thousands of
entries and the standard library's parser takes most of an import's time; that parser is the oracle
of the tests. Sources: POSIX.1-2024, pax, "ustar Interchange Format" and "pax Extended Header"; GNU
tar manual 1.35, "Basic Tar Format" (base-256 numbers, long names); star(5) for ``SCHILY.xattr``.
"""

from __future__ import annotations

import os
import re
import stat
from base64 import b64decode
from dataclasses import dataclass, field
from functools import lru_cache
from struct import Struct
from typing import Final
from zlib import adler32

from bootd.model.errors import InvalidLayerError
from bootd.store.erofs.layout import XATTRS_LIMIT, xattrs_room

BLOCK: Final = 512
ZERO_BLOCK: Final = bytes(BLOCK)
HARD_LINK: Final = 0
"""`TarEntry.file_type` of a further name for an earlier entry."""

UNTYPED: Final = b"\0"
OLD_SPARSE: Final = b"S"
EXTENDED: Final = b"xX"
GLOBAL_EXTENDED: Final = b"g"
LONG_NAME: Final = b"L"
LONG_LINK: Final = b"K"

_FILE_TYPES: Final = {
    b"0": stat.S_IFREG,
    b"\0": stat.S_IFREG,
    b"7": stat.S_IFREG,
    b"S": stat.S_IFREG,
    b"1": HARD_LINK,
    b"2": stat.S_IFLNK,
    b"3": stat.S_IFCHR,
    b"4": stat.S_IFBLK,
    b"5": stat.S_IFDIR,
    b"6": stat.S_IFIFO,
}
_HEADER: Final = Struct("100s8s8s8s12s12s8sc100s8s64x8s8s155s12x")
_MAGIC_POSIX: Final = b"ustar\x00"
_CHECKSUM: Final = slice(148, 156)
_NUMBER_CACHE: Final = 4096
_UINT32: Final = (1 << 32) - 1
_INT64: Final = (1 << 63) - 1
_MAJOR: Final = (1 << 12) - 1
_MINOR: Final = (1 << 20) - 1
_BASE_256: Final = 0x80
_BASE_256_NEGATIVE: Final = 0x40
_DIGITS_LIMIT: Final = 20
_END_OF_NUMBER: Final = re.compile(rb"[ \0]")
_RECORD: Final = re.compile(rb"([0-9]{1,9}) ([^=\0]+)=")
_TIME: Final = re.compile(rb"(-?)([0-9]{1,19})(?:\.([0-9]*))?")
_XATTR: Final = b"SCHILY.xattr."
_CAPABILITY: Final = b"security.capability"
_LIBARCHIVE_CAPABILITY: Final = b"LIBARCHIVE.xattr." + _CAPABILITY
"""How bsdtar spells it where it is told to write no ``SCHILY.xattr``: in Base64 without padding
(libarchive, archive_write_set_format_pax.c)."""
_XATTR_NAME_LIMIT: Final = 255
_SHOWN: Final = 100
"""Most characters of a name in a message; two names and a limit fit into one."""


@dataclass(slots=True)
class TarEntry:
    """What a header and its extensions say.

    Attributes:
        name: as it was written, unchecked.
        kind: the type flag.
        file_type: ``S_IFMT`` bits, or `HARD_LINK`.
        stored: bytes of data that follow in the stream.
        size: bytes of the content; more than `stored` when the file has holes.
        link: what a symbolic or hard link points to.
        device: device number of a device node.
    """

    name: bytes
    kind: bytes
    file_type: int
    permissions: int
    uid: int
    gid: int
    stored: int
    size: int
    mtime_seconds: int
    mtime_nanoseconds: int
    link: bytes
    device: int
    xattrs: dict[bytes, bytes] = field(default_factory=dict)


def shown(name: bytes) -> str:
    """Return a name as messages show it; of a long one the middle is left out."""
    if len(name) > 2 * _SHOWN:
        name = name[:_SHOWN] + name[-_SHOWN:]
    text = repr(os.fsdecode(name))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}…{text[1 - _SHOWN // 2 :]}"


def of_entry(name: bytes, error: InvalidLayerError) -> InvalidLayerError:
    """Return an error about some value as one about the entry that has the value."""
    if error.message.startswith("entry "):
        return error
    return InvalidLayerError(f"entry {shown(name)} has {error.message}", hint=error.hint)


def parse_header(block: bytes) -> TarEntry:
    """Return what a header block says by itself.

    Entries of a type that is no file, such as extended headers, have only name, kind and `stored`
    of interest.

    Raises:
        InvalidLayerError: checksum or a number is wrong, or the type is unknown.
    """
    (
        name, mode, uid, gid, size, mtime, _, kind, link, magic, major, minor, prefix,
    ) = _HEADER.unpack(block)  # fmt: skip
    if not is_header(block):
        raise InvalidLayerError("a layer's tar stream has a damaged header: its checksum is wrong")
    name = name.partition(b"\0")[0]
    if magic[:6] == _MAGIC_POSIX and prefix[0]:
        name = prefix.partition(b"\0")[0] + b"/" + name
    file_type = _FILE_TYPES.get(kind)
    if file_type is None:
        if kind not in (b"x", b"X", b"g", b"L", b"K"):
            raise InvalidLayerError(f"entry {shown(name)} has the unknown tar type {kind!r}")
        file_type = -1
    has_data = file_type in (stat.S_IFREG, -1)
    try:
        length = bounded(parse_number(size), _INT64, "size", name) if has_data else 0
        device = 0
        if file_type in (stat.S_IFCHR, stat.S_IFBLK):
            device = os.makedev(
                bounded(parse_number(major), _MAJOR, "device major", name),
                bounded(parse_number(minor), _MINOR, "device minor", name),
            )
        return TarEntry(
            name=name,
            kind=kind,
            file_type=file_type,
            permissions=parse_number(mode) & 0o7777,
            uid=bounded(parse_number(uid), _UINT32, "uid", name),
            gid=bounded(parse_number(gid), _UINT32, "gid", name),
            stored=length,
            size=length,
            mtime_seconds=parse_number(mtime),
            mtime_nanoseconds=0,
            link=link.partition(b"\0")[0],
            device=device,
        )
    except InvalidLayerError as error:
        raise of_entry(name, error) from error


def is_header(block: bytes) -> bool:
    """Return whether a block has the checksum of a header."""
    checksum = block[_CHECKSUM]
    try:
        promised = parse_number(checksum)
    except InvalidLayerError:
        return False
    total = _sum(block) - sum(checksum) + 8 * 0x20
    return promised == total or promised == _signed_total(block, checksum)


@lru_cache(_NUMBER_CACHE)
def parse_number(text: bytes) -> int:
    """Return the number in a header field: octal, or base-256 when the first bit is set.

    A space or NUL ends the digits (POSIX, "ustar Interchange Format"); what follows is nothing's.

    Raises:
        InvalidLayerError: it is neither.
    """
    if text[0] & _BASE_256:
        sign = 1 << (8 * len(text) - 1)
        value = int.from_bytes(text, "big") & (sign - 1)
        value = value - sign if text[0] & _BASE_256_NEGATIVE else value
        if not -_INT64 <= value <= _INT64:
            raise InvalidLayerError("an impossible number in its header")
        return value
    digits = text.strip(b" \0")
    if not digits.isdigit():
        digits = _END_OF_NUMBER.split(digits, 1)[0]
    try:
        return int(digits, 8) if digits.isdigit() else _no_digits(digits)
    except ValueError as error:
        raise InvalidLayerError(f"{text!r} in its header, which is not an octal number") from error


def parse_records(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the records of an extended header, in order.

    Raises:
        InvalidLayerError: a record's length, its ``=`` or its newline is not where it must be.
    """
    records = []
    at = 0
    while at < len(data) and data[at]:
        match = _RECORD.match(data, at)
        end = at + int(match[1]) if match else 0
        if match is None or end <= match.end() or end > len(data) or data[end - 1] != ord("\n"):
            raise InvalidLayerError("a layer's tar stream has a damaged extended header")
        records.append((match[2], data[match.end() : end - 1]))
        at = end
    return records


def apply_records(entry: TarEntry, records: list[tuple[bytes, bytes]]) -> None:
    """Let an extended header override what the header said.

    Of several records with one key the last counts, and one without a value is none: the header's
    own field stands (POSIX, "pax Extended Header"). An extended attribute may be empty; one whose
    name has no namespace is left out, since no file system of Linux takes it. ``hdrcharset`` needs
    nothing: names are bytes here, whatever they were called. Records about sparse files are for
    `bootd.store.tar.sparse`; access times, owner names and comments are not kept by an image.

    Raises:
        InvalidLayerError: a value is malformed or out of bounds.
    """
    values = dict(records)
    try:
        for key, value in values.items():
            if key.startswith(_XATTR):
                name = key[len(_XATTR) :]
                if b"." in name or not name:
                    entry.xattrs[name] = value
            elif value:
                _apply_record(entry, key, value)
        if entry.xattrs:
            _check_xattrs(entry.xattrs)
    except InvalidLayerError as error:
        raise of_entry(values.get(b"path") or entry.name, error) from error


def _apply_record(entry: TarEntry, key: bytes, value: bytes) -> None:
    if key == b"path":
        entry.name = without_nul(value)
    elif key == b"mtime":
        entry.mtime_seconds, entry.mtime_nanoseconds = parse_time(value)
    elif key == b"linkpath":
        entry.link = without_nul(value)
    elif key == _LIBARCHIVE_CAPABILITY:
        entry.xattrs.setdefault(_CAPABILITY, _from_base64(value))
    elif key == b"uid":
        entry.uid = bounded(parse_decimal(value), _UINT32, "uid", entry.name)
    elif key == b"gid":
        entry.gid = bounded(parse_decimal(value), _UINT32, "gid", entry.name)
    elif key == b"size" and entry.file_type == stat.S_IFREG:
        entry.stored = entry.size = bounded(parse_decimal(value), _INT64, "size", entry.name)


def parse_time(text: bytes) -> tuple[int, int]:
    """Return seconds and nanoseconds of a decimal time, exactly; more digits are cut off.

    Raises:
        InvalidLayerError: it is not a decimal number.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise InvalidLayerError(f"the malformed time {text[:50]!r}")
    seconds = int(match[2])
    nanoseconds = int((match[3] or b"")[:9].ljust(9, b"0"))
    if match[1]:
        seconds, nanoseconds = divmod(-seconds * 10**9 - nanoseconds, 10**9)
    if not -_INT64 <= seconds <= _INT64:
        raise InvalidLayerError(f"the impossible time {text[:50]!r}")
    return seconds, nanoseconds


def parse_decimal(text: bytes) -> int:
    """Return a decimal number.

    Raises:
        InvalidLayerError: it is not one.
    """
    if not text.isdigit() or len(text) > _DIGITS_LIMIT:
        raise InvalidLayerError(f"the malformed number {text[:50]!r}")
    return int(text)


def bounded(value: int, limit: int, what: str, name: bytes) -> int:
    """Return a number that must lie between zero and a limit.

    Raises:
        InvalidLayerError: it does not.
    """
    if not 0 <= value <= limit:
        raise InvalidLayerError(f"entry {shown(name)} has the impossible {what} {value}")
    return value


def _sum(block: bytes) -> int:
    """Return the sum of a block's bytes, ten times as fast as ``sum`` does.

    The lower half of an Adler-32 checksum is the sum modulo 65521 (RFC 1950, section 8.2), which
    256 bytes do not reach.
    """
    half = BLOCK // 2
    return (adler32(block[:half], 0) & 0xFFFF) + (adler32(block[half:], 0) & 0xFFFF)


def _signed_total(block: bytes, checksum: bytes) -> int:
    """Return the checksum as old programs computed it, with signed bytes."""
    high = sum(byte >= _BASE_256 for byte in block) - sum(byte >= _BASE_256 for byte in checksum)
    return _sum(block) - sum(checksum) + 8 * 0x20 - 256 * high


def _no_digits(text: bytes) -> int:
    if text:
        raise ValueError(text)
    return 0


def without_nul(value: bytes) -> bytes:
    """Return a name of an extended header as it is.

    Raises:
        InvalidLayerError: it has a NUL, which no file system takes.
    """
    if b"\0" in value:
        raise InvalidLayerError(f"entry {shown(value)} has a NUL in its name")
    return value


def _from_base64(text: bytes) -> bytes:
    try:
        return b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise InvalidLayerError(
            f"{text[:50]!r} for a file capability, which is no Base64"
        ) from error


def _check_xattrs(xattrs: dict[bytes, bytes]) -> None:
    for name in xattrs:
        if not 0 < len(name) <= _XATTR_NAME_LIMIT:
            raise InvalidLayerError(f"an extended attribute with the impossible name {shown(name)}")
    room = xattrs_room(xattrs)
    if room > XATTRS_LIMIT:
        raise InvalidLayerError(f"{room} bytes of extended attributes, more than {XATTRS_LIMIT}")
