"""The proof that a partition is this machine's ``$BOOT``, asked before anything is written to it.

A machine may have several partitions on which a boot loader could look: of other systems, of
clones of its disk, of its past. What proves one is what this installation put there: the boot entry
of the deployment that runs; failing that, another entry or a kernel of its own, so that a lost
entry can be put back; failing that, the word of the loader that it started the running deployment.
Before a deployment of the store has run there is nothing to prove.
"""

from __future__ import annotations

from enum import IntEnum

from bootd.boot.entry import PREFIX
from bootd.boot.kernels.kernel_folders import kernel_folder
from bootd.boot.listing import list_entries
from bootd.boot.loader.next_boot import selected_entry
from bootd.boot.places import entries_folder
from bootd.boot.writable import is_read_only
from bootd.model.errors import BootdError, NoBootPartitionError
from bootd.sysroot import Sysroot


class Proof(IntEnum):
    """How well a partition is proven, the best last."""

    NONE = 0
    OWN = 1
    """An entry or a kernel folder of this installation is there."""
    RUNNING = 2
    """The entry of the deployment that runs is there."""


def proof_of(sysroot: Sysroot) -> Proof:
    """Return what the folder at `boot` proves.

    Raises:
        WriteFailedError: it cannot be read.
        InvalidBootEntryError: it holds more entries than can be meant.
        DamagedRecordError: the store does not say what is its own.
    """
    entries = list_entries(sysroot).entries
    booted = sysroot.booted()
    if booted is not None and any(entry.deployment == booted for entry in entries):
        return Proof.RUNNING
    return Proof.OWN if entries or _has_own_kernel(sysroot) else Proof.NONE


def needs_proof(sysroot: Sysroot) -> bool:
    """Tell whether a deployment of the store runs, so that there has to be an entry of it."""
    return sysroot.booted() is not None and bool(sysroot.deployment_ids())


def loader_started_us(sysroot: Sysroot) -> bool:
    """Tell whether the loader says that it started an entry of the deployment that runs."""
    selected = (selected_entry(sysroot) or "").lower()
    return selected.startswith(PREFIX) and f"-{sysroot.booted()}" in selected


def what_is_there(sysroot: Sysroot) -> str:
    """Return why the folder at `boot` proves nothing, as the end of a sentence about it."""
    folder = entries_folder(sysroot)
    if not folder.is_dir():
        is_empty = not sysroot.boot.is_dir() or not any(sysroot.boot.iterdir())
        return "is empty" if is_empty else "has no folder loader/entries"
    others = list_entries(sysroot).foreign
    if others:
        return f"holds boot entries of others only, such as {others[0]}"
    return "holds no boot entry and no kernel of this installation"


def boot_refusal(sysroot: Sysroot) -> NoBootPartitionError | None:
    """Return why nothing may be written to ``$BOOT``, or None."""
    known = sysroot.partition.refusal
    if known is not None:
        return NoBootPartitionError(known.message, hint=known.hint)
    if not needs_proof(sysroot):
        return None
    try:
        if proof_of(sysroot) is not Proof.NONE or loader_started_us(sysroot):
            return None
        return refusal(sysroot, [f"{sysroot.boot} {what_is_there(sysroot)}"])
    except (BootdError, OSError) as error:
        return refusal(sysroot, [f"{sysroot.boot} cannot be read: {error}"])


def refusal(sysroot: Sysroot, reasons: list[str], hint: str | None = None) -> NoBootPartitionError:
    """Return the error that says which partitions were looked at, and why each is not ``$BOOT``.

    Args:
        sysroot: the machine.
        reasons: a sentence each.
        hint: what to do, where that is known.
    """
    booted = sysroot.booted()
    running = "this machine" if booted is None else f"the running deployment {booted}"
    looked_at = "; ".join(reasons) or "there is none to look at"
    return NoBootPartitionError(
        f"no partition is known to be the one that {running} was started from, so nothing is "
        f"written to any: {looked_at}",
        hint=hint,
    )


def require_boot(sysroot: Sysroot) -> None:
    """Refuse to go on where nothing may be written to ``$BOOT``.

    Raises:
        NoBootPartitionError: with each partition that was looked at.
    """
    refused = boot_refusal(sysroot)
    if refused is not None:
        raise refused


def boot_problems(sysroot: Sysroot) -> tuple[str, ...]:
    """Return what is wrong with ``$BOOT`` as a whole, each in a sentence."""
    refused = boot_refusal(sysroot)
    if refused is not None:
        return (refused.message,)
    partition = sysroot.partition
    if is_read_only(sysroot):
        name = partition.name or sysroot.boot
        return (*partition.remarks, f"the boot partition {name} is read-only")
    return partition.remarks


def _has_own_kernel(sysroot: Sysroot) -> bool:
    for identifier in sysroot.deployment_ids():
        try:
            record = sysroot.read_deployment(identifier)
        except BootdError:
            continue
        if kernel_folder(sysroot, record.kernel.digest).is_dir():
            return True
    return False
