"""What comes before the boot entries of a new installation where others are, too.

The firmware starts one loader of several, and that loader one system of several by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from bootd.boot.devices.block_device import DiskPartition, is_removable
from bootd.boot.entries import DEFAULT_PATTERN
from bootd.boot.listing import default_pattern
from bootd.boot.loader.firmware import Firmware
from bootd.boot.loader.next_boot import next_boot
from bootd.boot.places import loader_configuration, read_text
from bootd.model.documents import InstallDocument
from bootd.sysroot import Sysroot


def default_of_others(sysroot: Sysroot) -> list[str]:
    """Return a sentence if another system's default stays, and what boots next by it.

    Raises:
        InvalidBootEntryError, WriteFailedError: see `next_boot`.
    """
    configuration = loader_configuration(sysroot)
    pattern = default_pattern(read_text(configuration) or b"")
    if pattern == DEFAULT_PATTERN:
        return []
    first = next_boot(sysroot).later.name
    change = f"s/^[ \\t]*default[ \\t].*/default {DEFAULT_PATTERN}/"
    warning = (
        f"The default of another system, {pattern}, stays in {configuration}; {first} boots "
        f"next. To boot this system by default: sed -i '{change}' {configuration}"
    )
    return [warning]


def enter(
    document: InstallDocument, firmware: Firmware, partitions: Sequence[DiskPartition]
) -> InstallDocument:
    """Let this machine's firmware start what was installed, from any member of a RAID array.

    A partition in a file or of a removable disk gets no entry: it is for another machine.

    Args:
        document: the installation's result so far.
        firmware: of this machine.
        partitions: what the firmware sees the EFI system partition as.

    Returns:
        The result with what was made, or why not.

    Raises:
        ProcessFailedError: a disk cannot be looked at.
    """
    if document.loader is None:
        return document
    if not partitions:
        warning = (
            "The EFI system partition is on no partition of a disk: no firmware entry was made."
        )
        return document.model_copy(update={"warnings": [*document.warnings, warning]})
    lasting = [
        one for one in partitions if one.disk.is_block_device() and not is_removable(one.disk)
    ]
    entries = [firmware.enter(partition, document.loader) for partition in lasting]
    return document.model_copy(update={"firmware_entries": entries})
