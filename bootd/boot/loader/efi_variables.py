"""What boot loader and people left in EFI variables of the Boot Loader Interface.

Sources: "The Boot Loader Interface" of systemd, for the names; Linux, Documentation/filesystems/
efivarfs.rst: the content of a file is four bytes of attributes and then the variable's data.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

LOADER_VENDOR: Final = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
"""The vendor GUID of all variables of the Boot Loader Interface, as efivarfs spells it."""

_ATTRIBUTES: Final = 4
_MAX_VARIABLE: Final = 4_096
_MAX_LIST: Final = 65_536


def read_variable(sysroot: Sysroot, name: str) -> str | None:
    """Return the text of a variable up to its first NUL, or None if there is no such variable.

    A variable that the firmware does not hand out counts as none. At most 4,096 bytes are read, and
    what is not UTF-16 is replaced, so that nothing a variable holds is an error.

    Args:
        sysroot: the machine; its `efi_variables` is where efivarfs is mounted.
        name: the name without the vendor's GUID, such as ``LoaderEntryDefault``.
    """
    data = _read(sysroot, name, _MAX_VARIABLE)
    return None if data is None else _text(data).partition("\0")[0]


def read_list(sysroot: Sysroot, name: str) -> tuple[str, ...]:
    """Return the texts of a variable that holds several, each ended by a NUL; empty ones are none.

    At most 64 KiB are read, for the rest see `read_variable`.
    """
    data = _read(sysroot, name, _MAX_LIST)
    return () if data is None else tuple(text for text in _text(data).split("\0") if text)


def variable_file(sysroot: Sysroot, name: str) -> Path:
    """Return the file of a variable, there or not."""
    return sysroot.efi_variables / f"{name}-{LOADER_VENDOR}"


def _read(sysroot: Sysroot, name: str, limit: int) -> bytes | None:
    try:
        with variable_file(sysroot, name).open("rb") as stream:
            return stream.read(limit)[_ATTRIBUTES:]
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("the EFI variable %s cannot be read: %s", name, error.strerror)
        return None


def _text(data: bytes) -> str:
    return data.decode("utf-16-le", errors="replace")
