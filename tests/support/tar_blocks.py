"""Tar streams made block by block, for what no library writes."""

from __future__ import annotations

from typing import Any

END = bytes(1024)


def octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def base_256(value: int, width: int) -> bytes:
    number = value & ((1 << (8 * width)) - 1)
    return bytes([number.to_bytes(width, "big")[0] | 0x80]) + number.to_bytes(width, "big")[1:]


def header(
    name: bytes = b"file",
    kind: bytes = b"0",
    *,
    mode: bytes = octal(0o644, 8),
    uid: bytes = octal(0, 8),
    gid: bytes = octal(0, 8),
    size: bytes | int = 0,
    mtime: bytes = octal(1_000_000, 12),
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
    major: bytes = octal(0, 8),
    minor: bytes = octal(0, 8),
    rest: bytes = b"",
) -> bytes:
    """One header block with its checksum; `rest` is what stands from the prefix on."""
    length = octal(size, 12) if isinstance(size, int) else size
    before = name.ljust(100, b"\0") + mode + uid + gid + length + mtime
    after = (
        kind
        + link.ljust(100, b"\0")
        + magic.ljust(8, b"\0")
        + bytes(64)
        + major
        + minor
        + rest.ljust(167, b"\0")
    )
    total = sum(before) + sum(after) + 8 * ord(" ")
    return before + b"%06o\0 " % total + after


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def member(name: bytes, content: bytes = b"", **fields: bytes | int) -> bytes:
    """A regular file."""
    known: dict[str, Any] = {"size": len(content), **fields}
    return header(name, **known) + padded(content)


def record(key: bytes, value: bytes) -> bytes:
    """One record of an extended header."""
    length = len(key) + len(value) + 3
    while len(str(length)) + len(key) + len(value) + 3 != length:
        length = len(str(length)) + len(key) + len(value) + 3
    return b"%d %b=%b\n" % (length, key, value)


def extended(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    """An extended header for the member that follows."""
    data = b"".join(record(key, value) for key, value in records)
    return header(b"PaxHeader", kind, size=len(data)) + padded(data)


def long_name(name: bytes, kind: bytes = b"L") -> bytes:
    """GNU's way to write a name of more than a hundred bytes."""
    data = name + b"\0"
    return header(b"././@LongLink", kind, size=len(data)) + padded(data)


def checksummed(stream: bytes) -> bytes:
    """Give every block that names the format the checksum of a header, wherever it stands."""
    mended = bytearray(stream)
    for at in range(0, len(mended) - 511, 512):
        if mended[at + 257 : at + 262] == b"ustar":
            mended[at + 148 : at + 156] = b" " * 8
            mended[at + 148 : at + 156] = b"%06o\0 " % sum(mended[at : at + 512])
    return bytes(mended)
