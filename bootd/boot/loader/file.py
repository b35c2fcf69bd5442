"""What a program on the EFI system partition is, by its bytes: systemd-boot and which, or another.

systemd-boot says who it is in a section of its own, ``#### LoaderInfo: systemd-boot 257.8 ####``
(systemd, src/boot/boot.c, ``SD_MAGIC``), and ``bootctl update`` compares what stands there: the
product first, then the version (src/bootctl/bootctl-install.c, ``version_check``). The text is
looked for anywhere, because loaders older than the section have it, too.

Whether a file is whole is what the section table of a PE file says, and a signature is what its
certificate table says (Microsoft, "PE Format", "Section Table" and "Optional Header Data
Directories").
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootd.durable import storage_errors

MAX_LOADER: Final = 16 << 20
"""Bytes; a signed GRUB has 4 MiB, and nothing that firmware starts has as many as this."""
ANY_PROGRAM: Final = "another program"
NO_PROGRAM: Final = "no program that firmware starts"
"""How a file is described that does not say what it is."""

_MARKER: Final = re.compile(rb"#### LoaderInfo: ([\x21-\x7e]{1,100}) ([\x21-\x7e]{1,100}) ####")
_SYSTEMD_BOOT: Final = "systemd-boot"
_SHIM: Final = re.compile(rb"\nshim,[0-9]+,|UEFI shim|\Ashim\b")
"""Its line in ``.sbat`` (shim, SBAT.md), or the name older ones print."""
_PROGRAM: Final = b"MZ"
_PE: Final = b"PE\0\0"
_WHERE_PE_IS: Final = 0x3C
_SECTIONS: Final = 6
_OPTIONAL_SIZE: Final = 20
_OPTIONAL_HEADER: Final = 24
"""Where, after the beginning of the PE header, the number of sections is, how long the optional
header is, and that header."""
_SECTION_BYTES: Final = 40
_RAW_SIZE: Final = 16
"""Where in a section's header its size in the file stands; its place there follows."""
_DIRECTORIES: Final = {0x10B: 96, 0x20B: 112}
"""Where the data directories begin in the optional header, by its magic number."""
_CERTIFICATE_TABLE: Final = 4
_DIRECTORY_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class LoaderFile:
    """A file that firmware may start.

    Attributes:
        sha256: of its content, 64 hex digits.
        size: in bytes.
        version: of systemd-boot; None: it is another program, or does not say.
        signed: whether it has a signature for Secure Boot; None: it is no PE file.
        description: what it is, for people: ``systemd-boot 257.8``, ``shim``.
    """

    sha256: str
    size: int
    version: str | None
    signed: bool | None
    description: str


def look_at(data: bytes) -> LoaderFile:
    """Say what a program is; nothing raises, for it may be anything."""
    marker = _MARKER.search(data)
    product, version = (word.decode() for word in marker.groups()) if marker else ("", "")
    own = product == _SYSTEMD_BOOT
    return LoaderFile(
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        version=version if own else None,
        signed=_is_signed(data),
        description=f"{product} {version}" if marker else _describe(data),
    )


def read_loader(path: Path) -> tuple[bytes, LoaderFile] | None:
    """Return what a file holds and what it is; None: it is not there, or has no content.

    Of a file that is larger than any loader the beginning is returned.

    Raises:
        WriteFailedError: it cannot be read, because it is a folder, say.
    """
    with storage_errors("read", path):
        try:
            with path.open("rb") as stream:
                data = stream.read(MAX_LOADER)
        except FileNotFoundError:
            return None
    return (data, look_at(data)) if data else None


def is_program(data: bytes) -> bool:
    """Tell whether it is a PE file with all its sections, as firmware starts them."""
    header = _pe_header(data)
    if header is None:
        return False
    number, optional = (_number(data, header + at, 2) for at in (_SECTIONS, _OPTIONAL_SIZE))
    table = header + _OPTIONAL_HEADER + optional
    if number == 0 or table + number * _SECTION_BYTES > len(data):
        return False
    sections = range(table, table + number * _SECTION_BYTES, _SECTION_BYTES)
    return all(
        _number(data, at + _RAW_SIZE, 4) + _number(data, at + _RAW_SIZE + 4, 4) <= len(data)
        for at in sections
    )


def _describe(data: bytes) -> str:
    if _SHIM.search(data):
        return "shim"
    return ANY_PROGRAM if data.startswith(_PROGRAM) else NO_PROGRAM


def _is_signed(data: bytes) -> bool | None:
    at = _pe_header(data)
    if at is None:
        return None
    header = at + _OPTIONAL_HEADER
    magic = _number(data, header, 2)
    if magic not in _DIRECTORIES:
        return None
    first = header + _DIRECTORIES[magic]
    if _number(data, first - 4, 4) <= _CERTIFICATE_TABLE:
        return False
    entry = first + _CERTIFICATE_TABLE * _DIRECTORY_BYTES
    return _number(data, entry + 4, 4) > 0


def _pe_header(data: bytes) -> int | None:
    at = _number(data, _WHERE_PE_IS, 4)
    is_pe = data.startswith(_PROGRAM) and data[at : at + len(_PE)] == _PE
    return at if is_pe else None


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
