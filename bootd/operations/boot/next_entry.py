"""The boot entry that a deployment gets, before all others.

All installations of bootd on one ``$BOOT`` count their serials together, so whichever was told last
to boot something boots next. What it falls back to has to be its own all the same, and not the
entry of a neighbour that was written in between.
"""

from __future__ import annotations

from dataclasses import replace

from bootd.boot.entries import commit_entry, remove_entry
from bootd.boot.entry import BootEntry, compose_entry
from bootd.boot.kernels.kernel_folders import kernel_folder
from bootd.boot.listing import next_serial
from bootd.model.deployment import DeploymentRecord
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey


def next_entry(host: Host, record: DeploymentRecord, *, tries: int | None) -> BootEntry:
    """Return an entry for a deployment that sorts before all there are; it is not written.

    Args:
        host: the machine.
        record: the deployment.
        tries: boots it is granted before the loader falls back; None: not counted.

    Raises:
        InvalidBootEntryError: there is no higher serial.
    """
    return compose_entry(
        record,
        serial=next_serial(host.sysroot),
        tries=tries,
        title=title_of(record),
        folder=kernel_folder(host.sysroot, record.kernel.digest).name,
        installation=host.sysroot.installation(),
    )


def title_of(record: DeploymentRecord) -> str:
    """Return what the boot menu calls a deployment."""
    return f"{record.image} {record.version}".rstrip() + f" ({record.id})"


def keep_fallback_next(host: Host, survey: Survey) -> None:
    """Let the running deployment be what the loader falls back to from an entry that comes next.

    Its entry gets a new serial if a neighbour has a higher one. A cut in between leaves both of its
    entries, which boot the same.

    Raises:
        BootPartitionFullError, WriteFailedError: see `commit_entry`.
    """
    entry = survey.entry(survey.booted)
    if entry is None or all(other.serial < entry.serial for other in survey.neighbours):
        return
    renewed = replace(
        entry, serial=next_serial(host.sysroot), installation=host.sysroot.installation()
    )
    commit_entry(host.sysroot, renewed)
    remove_entry(host.sysroot, entry)
