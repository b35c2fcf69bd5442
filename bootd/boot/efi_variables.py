"""What boot loader and people left in EFI variables of the Boot Loader Interface.

Sources: "The Boot Loader Interface" of systemd, for the names; Linux, Documentation/filesystems/
efivarfs.rst: the content of a file is four bytes of attributes and then the variable's data.
"""

from __future__ import annotations

import logging
from typing import Final

from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

LOADER_VENDOR: Final = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
"""The vendor GUID of all variables of the Boot Loader Interface, as efivarfs spells it."""

_ATTRIBUTES: Final = 4
_MAX_VARIABLE: Final = 4_096


def read_variable(sysroot: Sysroot, name: str) -> str | None:
    """Return the text of a variable up to its first NUL, or None if there is no such variable.

    A variable that the firmware does not hand out counts as none. At most 4,096 bytes are read, and
    what is not UTF-16 is replaced, so that nothing a variable holds is an error.

    Args:
        sysroot: the machine; its `efi_variables` is where efivarfs is mounted.
        name: the name without the vendor's GUID, such as ``LoaderEntryDefault``.
    """
    path = sysroot.efi_variables / f"{name}-{LOADER_VENDOR}"
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_VARIABLE)
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("the EFI variable %s cannot be read: %s", name, error.strerror)
        return None
    return data[_ATTRIBUTES:].decode("utf-16-le", errors="replace").partition("\0")[0]
