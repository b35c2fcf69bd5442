"""Programs that say of themselves what systemd-boot says."""

from __future__ import annotations

import struct


def systemd_boot(version: str, *, signed: bool = False, product: str = "systemd-boot") -> bytes:
    """As much of a PE file as says which version it is, and whether it has a signature."""
    at = 0x80
    directories = bytearray(16 * 8)
    if signed:
        struct.pack_into("<II", directories, 4 * 8, 0x1000, 0x200)
    optional = struct.pack("<H", 0x20B).ljust(108, b"\0") + struct.pack("<I", 16) + directories
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", at)
    header = b"PE\0\0" + struct.pack("<HH12xHH", 0x8664, 1, len(optional), 0) + optional
    magic = f"#### LoaderInfo: {product} {version} ####".encode().ljust(5_000, b"\0")
    start = at + len(header) + 40
    section = b".sdmagic" + struct.pack("<IIII16x", len(magic), start, len(magic), start)
    return head.ljust(at, b"\0") + header + section + magic
