"""Where the boot loader looks on ``$BOOT``, and what is there.

Source: UAPI.1 Boot Loader Specification, "Type #1 Boot Loader Specification Entries" and
"Standard-conformance Marker File"; loader.conf(5).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bootd.boot.entry import MAX_ENTRY_BYTES, SUFFIX, is_own_name
from bootd.durable import TEMPORARY_PREFIX, storage_errors
from bootd.model.errors import InvalidBootEntryError
from bootd.sysroot import Sysroot

_MAX_FILES: Final = 10_000


def entries_folder(sysroot: Sysroot) -> Path:
    """Return ``$BOOT/loader/entries``."""
    return sysroot.boot / "loader/entries"


def entries_marker(sysroot: Sysroot) -> Path:
    """Return ``$BOOT/loader/entries.srel``, which says what kind of entries there are."""
    return sysroot.boot / "loader/entries.srel"


def loader_configuration(sysroot: Sysroot) -> Path:
    """Return ``$BOOT/loader/loader.conf``."""
    return sysroot.boot / "loader/loader.conf"


def entry_files(sysroot: Sysroot) -> list[Path]:
    """Return all Type #1 entries, anybody's, by name; hidden and empty files are no entries.

    Raises:
        InvalidBootEntryError: the folder holds more than any boot menu does.
        WriteFailedError: it cannot be read.
    """
    folder = entries_folder(sysroot)
    paths = _files_in(folder)
    with storage_errors("read", folder):
        return [path for path in paths if _is_entry_name(path.name) and not _is_empty(path)]


def kernel_images(sysroot: Sysroot) -> list[str]:
    """Return the names of all Type #2 entries, kernel images in ``EFI/Linux``; none is bootd's.

    Raises:
        InvalidBootEntryError: the folder holds more than any boot menu does.
        WriteFailedError: it cannot be read.
    """
    paths = _files_in(sysroot.boot / "EFI/Linux")
    return [path.name for path in paths if path.suffix.lower() == ".efi"]


def leftovers(folder: Path) -> list[Path]:
    """Return what a cut-off write of bootd's left in a folder; a missing folder has none.

    These are temporary names, and entries of bootd's own that have no content.
    """
    if not folder.is_dir():
        return []
    with storage_errors("read", folder):
        return sorted(path for path in folder.iterdir() if _is_leftover(path))


def read_text(path: Path) -> bytes | None:
    """Return a text of somebody's, one byte more than is allowed if longer; None: it is gone."""
    with storage_errors("read", path):
        try:
            with path.open("rb") as stream:
                return stream.read(MAX_ENTRY_BYTES + 1)
        except FileNotFoundError:
            return None


def _files_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    with storage_errors("read", folder):
        paths = sorted(folder.iterdir())
    if len(paths) > _MAX_FILES:
        raise InvalidBootEntryError(
            f"{folder} holds {len(paths)} files", hint="Remove those that are no boot entries."
        )
    return paths


def _is_leftover(path: Path) -> bool:
    if path.name.startswith(TEMPORARY_PREFIX):
        return True
    return is_own_name(path.name) and _is_empty(path)


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except FileNotFoundError:
        return True


def _is_entry_name(name: str) -> bool:
    return name.lower().endswith(SUFFIX) and not name.startswith(".")
