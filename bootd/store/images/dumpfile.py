"""Trees as lines of text: the composefs dump format.

One line an entry: eleven fields and the extended attributes, separated by single spaces, with all
but printable ASCII escaped. Source: composefs 1.0.8, composefs-dump(5). Lines are escaped as
``composefs-info dump`` does; what is read is held to bootd's own limits.
"""

from __future__ import annotations

import re
import stat
from binascii import unhexlify
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from bootd.model.errors import DamagedRecordError
from bootd.model.tree import (
    INLINE_LIMIT,
    Directory,
    Metadata,
    Node,
    RegularFile,
    SpecialFile,
    Symlink,
    file_type,
)

LINE_LIMIT: Final = 1 << 19
"""Longest line in bytes: a path, a target and all the attributes an inode may have, escaped."""
PATH_LIMIT: Final = 4095
NAME_LIMIT: Final = 255
_FIELDS: Final = 11
_UINT32_MAX: Final = 0xFFFF_FFFF
_INT64_MAX: Final = (1 << 63) - 1
_UNSET: Final = b"-"

_TO_ESCAPE: Final = re.compile(rb"[^!-\[\]-~]")
_TO_ESCAPE_IN_XATTR: Final = re.compile(rb"[^!-<>-\[\]-~]")
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|([\\nrt]))?")
_UNPRINTABLE: Final = re.compile(rb"[^ -~]")
_SHORT: Final = {b"\\": b"\\", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_ESCAPED: Final = {
    bytes([byte]): next(
        (b"\\" + letter for letter, meaning in _SHORT.items() if meaning[0] == byte),
        b"\\x%02x" % byte,
    )
    for byte in range(256)
}
_PATH: Final = re.compile(rb"/|(?:/(?!\.\.?(?:/|\Z))[^/\0]{1,255})+", re.DOTALL)
_NUMBER: Final = re.compile(rb"[0-9]{1,19}")
_MODE: Final = re.compile(rb"@?[0-7]{1,7}")
_TIME: Final = re.compile(rb"(-?[0-9]{1,19})\.([0-9]{1,9})")
_DIGEST: Final = re.compile(rb"[0-9a-f]{64}(?:[0-9a-f]{64})?")
_LINES: Final = re.compile(
    rb"((?:/(?!\.\.?[/ ])[!-.0-\[\]-~]{1,255})+)"
    rb" (0|[1-9][0-9]{0,17})"
    rb" ([0-7]{5,6} [0-9]{1,9} [0-9]{1,9} [0-9]{1,9} 0 -?[0-9]{1,18}\.[0-9]{1,9})"
    rb" (?:([0-9a-f]{2})/([0-9a-f]{62}(?:[0-9a-f]{64})?) - (\4\5)|([!-\[\]-~]{1,4095}) - -)\n"
    rb"|[^\n]*\n|[^\n]+"
)
"""Each line; of one without escapes, content and attributes: path, size, facts, then an object's
folder, its name there and its digest, or a payload."""


@dataclass(slots=True)
class DumpEntry:
    """One line.

    Attributes:
        path: absolute, ``/`` for the root; no final slash.
        node: what stands there; None in a line read that only names another entry's node.
        target: the path of that other entry.
        links: how many names the node has.
    """

    path: bytes
    node: Node | None
    target: bytes | None = None
    links: int = 1


def format_entry(entry: DumpEntry) -> bytes:
    """Return the line of an entry with its newline.

    An entry without a node is a further name of `target`, whose node other lines tell.
    """
    node = entry.node or _REFERRED
    metadata = node.metadata
    size, rdev, payload, content, digest = _content_fields(node)
    if entry.target is not None:
        payload = _escape_field(entry.target)
    fields = b"%b %d %b%o %d %d %d %d %d.%d %b %b %b" % (
        _TO_ESCAPE.sub(_escaped, entry.path),
        size,
        b"" if entry.target is None else b"@",
        file_type(node) | metadata.permissions,
        entry.links,
        metadata.uid,
        metadata.gid,
        rdev,
        metadata.mtime_seconds,
        metadata.mtime_nanoseconds,
        payload,
        content,
        digest,
    )
    if not metadata.xattrs:
        return fields + b"\n"
    xattrs = [
        b" %b=%b"
        % (_TO_ESCAPE_IN_XATTR.sub(_escaped, key), _TO_ESCAPE_IN_XATTR.sub(_escaped, value))
        for key, value in sorted(metadata.xattrs.items())
    ]
    return b"".join([fields, *xattrs, b"\n"])


_REFERRED: Final = RegularFile(Metadata(permissions=0), 0, b"")


def _content_fields(node: Node) -> tuple[int, int, bytes, bytes, bytes]:
    """Return size, device, payload, content and digest of a node."""
    match node:
        case RegularFile(size=size, verity=bytes(verity), content=None):
            digits = verity.hex().encode()
            return size, 0, b"%b/%b" % (digits[:2], digits[2:]), _UNSET, digits
        case RegularFile(size=size, content=content):
            return size, 0, _UNSET, _escape_field(content) if content else _UNSET, _UNSET
        case Symlink(target=target):
            return len(target), 0, _escape_field(target), _UNSET, _UNSET
        case SpecialFile(rdev=rdev):
            return 0, rdev, _UNSET, _UNSET, _UNSET
        case Directory():
            return 0, 0, _UNSET, _UNSET, _UNSET


def _escape_field(value: bytes) -> bytes:
    return rb"\x2d" if value == _UNSET else _TO_ESCAPE.sub(_escaped, value)


def _escaped(match: re.Match[bytes]) -> bytes:
    return _ESCAPED[match[0]]


def parse_lines(block: bytes) -> list[DumpEntry]:
    """Return the entries of whole lines, as `parse_line` does one by one.

    Nearly all lines of an image have a form that one expression tells, which is twice as fast.

    Raises:
        DamagedRecordError: see `parse_line`.
    """
    return [_common_entry(*line.groups()) or parse_line(line[0]) for line in _LINES.finditer(block)]


def _common_entry(
    path: bytes | None,
    size: bytes,
    facts: bytes,
    _folder: bytes,
    _name: bytes,
    digest: bytes | None,
    payload: bytes,
) -> DumpEntry | None:
    """Return the entry of a line in the common form, or None if it is not that plain after all."""
    if path is None or len(path) > PATH_LIMIT:
        return None
    kind, metadata, links = _common_facts(facts)
    node: Node
    if digest is not None:
        if kind != stat.S_IFREG or size == b"0":
            return None
        node = RegularFile(metadata, int(size), None, unhexlify(digest))
    elif kind == stat.S_IFREG and size == b"0":
        node = RegularFile(metadata, 0, b"")
    elif kind == stat.S_IFDIR:
        node = Directory(metadata)
    elif kind == stat.S_IFLNK and payload != _UNSET:
        node = Symlink(metadata, payload)
    else:
        return None
    return DumpEntry(path, node, None, links)


@lru_cache(maxsize=1 << 14)
def _common_facts(facts: bytes) -> tuple[int, Metadata, int]:
    """Return file type, metadata and links as many lines share them; nobody changes them."""
    mode, links, uid, gid, _, time = facts.split(b" ")
    number = int(mode, 8)
    metadata = _parse_metadata(stat.S_IMODE(number), uid, gid, time)
    return stat.S_IFMT(number), metadata, int(links)


def parse_line(line: bytes) -> DumpEntry:
    """Return the entry of a line, with or without its newline.

    Raises:
        DamagedRecordError: the line is not one, or holds what a tree cannot.
    """
    line = line.removesuffix(b"\n")
    if len(line) > LINE_LIMIT or _UNPRINTABLE.search(line):
        raise DamagedRecordError(
            f"a line of {len(line)} bytes is too long or not printable: {_shown(line)}"
        )
    fields = line.split(b" ")
    if len(fields) < _FIELDS:
        raise DamagedRecordError(f"a line has {len(fields)} of {_FIELDS} fields: {_shown(line)}")
    path = _parse_path(fields[0])
    mode = fields[2]
    if not _MODE.fullmatch(mode):
        raise DamagedRecordError(f"{_shown(path)} has the mode {_shown(mode)}")
    if mode.startswith(b"@"):
        return DumpEntry(path, None, _parse_path(fields[8]))
    links = _parse_number(fields[3], _UINT32_MAX)
    return DumpEntry(path, _parse_node(path, int(mode, 8), fields), links=links)


def _parse_node(path: bytes, mode: int, fields: list[bytes]) -> Node:
    metadata = _parse_metadata(stat.S_IMODE(mode), fields[4], fields[5], fields[7])
    if len(fields) > _FIELDS:
        metadata = replace(metadata, xattrs=_parse_xattrs(path, fields[_FIELDS:]))
    match stat.S_IFMT(mode):
        case stat.S_IFREG:
            return _parse_file(path, metadata, fields)
        case stat.S_IFDIR:
            return Directory(metadata)
        case stat.S_IFLNK:
            target = _unescape(fields[8])
            if fields[8] == _UNSET or not 0 < len(target) <= PATH_LIMIT or b"\0" in target:
                raise DamagedRecordError(f"{_shown(path)} links to {_shown(fields[8])}")
            return Symlink(metadata, target)
        case stat.S_IFCHR | stat.S_IFBLK as kind:
            return SpecialFile(metadata, kind, _parse_number(fields[6], _UINT32_MAX))
        case stat.S_IFIFO | stat.S_IFSOCK as kind:
            return SpecialFile(metadata, kind)
        case _:
            raise DamagedRecordError(f"{_shown(path)} has the mode {mode:#o}")


@lru_cache(maxsize=1 << 14)
def _parse_metadata(permissions: int, uid: bytes, gid: bytes, time: bytes) -> Metadata:
    """Return what the files of one package mostly share; nobody changes it."""
    parts = _TIME.fullmatch(time)
    if parts is None or not -_INT64_MAX - 1 <= int(parts[1]) <= _INT64_MAX:
        raise DamagedRecordError(f"a line has the time {_shown(time)}")
    return Metadata(
        permissions,
        _parse_number(uid, _UINT32_MAX),
        _parse_number(gid, _UINT32_MAX),
        int(parts[1]),
        int(parts[2]),
    )


def _parse_file(path: bytes, metadata: Metadata, fields: list[bytes]) -> RegularFile:
    size = _parse_number(fields[1], _INT64_MAX)
    payload, content, digest = fields[8:_FIELDS]
    if content != _UNSET or not size:
        held = b"" if content == _UNSET else _unescape(content)
        if not len(held) == size <= INLINE_LIMIT:
            raise DamagedRecordError(f"{_shown(path)} has {size} bytes and holds {len(held)}")
        return RegularFile(metadata, size, held)
    if not _DIGEST.fullmatch(digest) or payload != b"%b/%b" % (digest[:2], digest[2:]):
        raise DamagedRecordError(
            f"{_shown(path)} has the object {_shown(payload)} and the digest {_shown(digest)}"
        )
    return RegularFile(metadata, size, verity=bytes.fromhex(digest.decode()))


def _parse_xattrs(path: bytes, fields: list[bytes]) -> dict[bytes, bytes]:
    xattrs: dict[bytes, bytes] = {}
    for field in fields:
        name, equals, value = field.partition(b"=")
        key = _unescape(name)
        if not equals or not 0 < len(key) <= NAME_LIMIT or b"\0" in key or key in xattrs:
            raise DamagedRecordError(f"{_shown(path)} has the attribute {_shown(field)}")
        xattrs[key] = _unescape(value)
    return xattrs


def _parse_path(field: bytes) -> bytes:
    path = _unescape(field)
    if len(path) > PATH_LIMIT or not _PATH.fullmatch(path):
        raise DamagedRecordError(f"{_shown(field)} is not a path")
    return path


def _parse_number(field: bytes, limit: int) -> int:
    if not _NUMBER.fullmatch(field) or int(field) > limit:
        raise DamagedRecordError(f"{_shown(field)} is not a number up to {limit}")
    return int(field)


def _unescape(field: bytes) -> bytes:
    return _ESCAPE.sub(_meaning, field) if b"\\" in field else field


def _meaning(match: re.Match[bytes]) -> bytes:
    if match[1]:
        return bytes.fromhex(match[1].decode())
    if not match[2]:
        raise DamagedRecordError(f"unknown escape in {_shown(match.string)}")
    return _SHORT[match[2]]


def _shown(value: bytes) -> str:
    """Return a value for a message, cut to what a person reads."""
    return repr(value[:200])
