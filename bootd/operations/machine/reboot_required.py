"""``/run/reboot-required``, which other programs look for: unattended-upgrades, monitoring, roles.

The file exists while a restart takes up an update; the packages that asked for it are lines of
``reboot-required.pkgs`` beside it. Both may be somebody else's, too: bootd adds and takes away its
own line, and the file only with the last line. They are gone with the boot, as all of ``/run`` is.

Source: ``notify-reboot-required`` of update-notifier-common, which writes both files, and
unattended-upgrades(8), which reads them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bootd.durable import storage_errors
from bootd.model.documents import StatusDocument
from bootd.sysroot import Sysroot

FILE_NAME: Final = "reboot-required"
PACKAGES_NAME: Final = "reboot-required.pkgs"
_PACKAGE: Final = "bootd"
_TEXT: Final = b"*** System restart required: an update of the operating system waits ***\n"
"""Another text than others write, so that nobody else's file is taken away."""
_MAX_BYTES: Final = 1 << 20


def asks_for_reboot(document: StatusDocument) -> bool:
    """Return whether a restart is wanted of whoever restarts machines.

    Not for what a hold keeps from booting, and not where the restart would start something else: it
    would be repeated for ever.
    """
    waits = document.staged is not None or document.queued is not None
    return waits and document.reboot_helps and not document.held_back


def show_reboot_required(sysroot: Sysroot, document: StatusDocument) -> None:
    """Make both files say what a status says; what others asked for stays.

    Raises:
        WriteFailedError, NoSpaceError: the kernel refused.
    """
    folder = sysroot.run.parent
    packages = _lines(folder / PACKAGES_NAME)
    if asks_for_reboot(document):
        if not (folder / FILE_NAME).exists():
            sysroot.disk.make_directory(folder, 0o755)
            sysroot.disk.replace_file(folder / FILE_NAME, _TEXT, 0o644)
        if _PACKAGE not in packages:
            _write_packages(sysroot, [*packages, _PACKAGE])
    elif _PACKAGE in packages:
        # The list last: whoever is interrupted in between finds what is to be taken away.
        others = [name for name in packages if name != _PACKAGE]
        if not others and _read(folder / FILE_NAME) == _TEXT:
            sysroot.disk.discard_file(folder / FILE_NAME)
        _write_packages(sysroot, others)


def _write_packages(sysroot: Sysroot, names: list[str]) -> None:
    path = sysroot.run.parent / PACKAGES_NAME
    if names:
        text = "".join(f"{name}\n" for name in names)
        sysroot.disk.replace_file(path, text.encode("utf-8", "surrogateescape"), 0o644)
    else:
        sysroot.disk.discard_file(path)


def _lines(path: Path) -> list[str]:
    return _read(path).decode("utf-8", "surrogateescape").splitlines()


def _read(path: Path) -> bytes:
    """Return the content of a small file; nothing where there is none."""
    with storage_errors("read", path):
        try:
            with path.open("rb") as stream:
                return stream.read(_MAX_BYTES)
        except FileNotFoundError:
            return b""
