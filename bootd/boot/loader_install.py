"""systemd-boot on an EFI system partition, taken from the image itself.

It goes where ``bootctl install`` puts it: under its own name, and under the name that firmware
starts from a disk that no EFI variable points to (UEFI 2.10, section 3.5.1.1, "Removable Media Boot
Behavior"). EFI variables are not touched: the disk may be for another machine.
"""

from __future__ import annotations

from typing import Final

from bootd.boot.arguments import Contents
from bootd.model.errors import BootPartitionFullError, NoBootLoaderError, NoSpaceError
from bootd.model.tree import Directory, RegularFile, lookup
from bootd.sysroot import Sysroot

LOADER_FOLDER: Final = "/usr/lib/systemd/boot/efi"
EFI_NAMES: Final = {"x86_64": "x64", "aarch64": "aa64", "riscv64": "riscv64"}
"""What UEFI calls an architecture in file names, by the machine name of uname(2)."""
_SUFFIXES: Final = (".efi.signed", ".efi")
"""A loader that Secure Boot takes is preferred."""
_MODE: Final = 0o644


def find_loader(tree: Directory, architecture: str) -> RegularFile:
    """Return the systemd-boot of an image.

    Args:
        tree: the image's root.
        architecture: as uname(2) calls it.

    Raises:
        NoBootLoaderError: there is none, or none for this architecture.
    """
    name = EFI_NAMES.get(architecture)
    if name is None:
        raise NoBootLoaderError(f"bootd installs no boot loader for {architecture}")
    paths = [f"{LOADER_FOLDER}/systemd-boot{name}{suffix}" for suffix in _SUFFIXES]
    for path in paths:
        node = lookup(tree, path.encode())
        if isinstance(node, RegularFile):
            return node
    raise NoBootLoaderError(f"the image has no {paths[-1]}")


def install_loader(
    sysroot: Sysroot, loader: RegularFile, contents: Contents, architecture: str
) -> None:
    """Put a loader on the EFI system partition that is mounted as ``$BOOT``, durably.

    Raises:
        BootPartitionFullError: there is no room.
        DamagedObjectError: its object is missing or damaged.
        WriteFailedError: the kernel refused.
    """
    data = contents.read(loader)
    name = EFI_NAMES[architecture]
    targets = (f"systemd/systemd-boot{name}.efi", f"BOOT/BOOT{name.upper()}.EFI")
    try:
        for target in targets:
            path = sysroot.boot / "EFI" / target
            sysroot.disk.make_directory(path.parent, 0o755)
            sysroot.disk.replace_file(path, data, _MODE)
        # The folders may be as new as the files are.
        sysroot.disk.sync_filesystem(sysroot.boot)
    except NoSpaceError as error:
        raise BootPartitionFullError(error.message) from error
