"""What holds the room on ``$BOOT``, whose it is, and what would be free without some of it.

A kernel's folder is this installation's if its name says so, or if an entry of its own names it; a
neighbour's if its name or an entry says that; and nobody's if no entry names it and no deployment
needs it. All the rest is of others, and only measured.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from bootd.boot.entry import BootEntry
from bootd.boot.kernels.kernel_folders import (
    is_own_folder,
    kernel_folder,
    kernel_references,
    owner_digits,
    unreferenced_kernels,
)
from bootd.boot.listing import own_names
from bootd.boot.places import entries_folder
from bootd.boot.usage import allocated, kernel_holders, measure_room, other_holders
from bootd.model.boot.usage import BootFolder, BootOwner, BootShare, BootUsageDocument
from bootd.model.deployment import DeploymentId
from bootd.operations.collect import deployments_to_keep, doomed_entries, needed_kernels
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey, take_survey


def boot_usage(host: Host) -> BootUsageDocument:
    """Return what is on ``$BOOT``, and what a cleanup would free there; nothing is changed.

    Raises:
        NotASysrootError, UnknownFormatError, DamagedRecordError: see `survey`.
        WriteFailedError: ``$BOOT`` cannot be read.
    """
    survey = take_survey(host.sysroot)
    kept = deployments_to_keep(survey, host.configuration.keep_deployments)
    doomed = doomed_entries(host, survey, kept)
    room = measure_room(host.sysroot)
    return BootUsageDocument(
        size=room.size,
        free=room.free,
        kernels=kernel_folders(host, survey, needed_kernels(survey, kept), doomed),
        others=[
            BootShare(path=one.name, bytes=one.size)
            for one in other_holders(host.sysroot)
            if one.size
        ],
        freed_bytes=freed_without(host, doomed, needed_kernels(survey, kept)),
    )


def freed_without(host: Host, entries: Iterable[BootEntry], keep: Collection[str]) -> int:
    """Return the bytes that would be free besides, without some boot entries.

    What nobody needs and what interrupted copies left counts too.

    Args:
        host: the machine.
        entries: this installation's that would go.
        keep: digests of kernels that stay although no entry names them.
    """
    sysroot = host.sysroot
    gone = _file_names(host, entries)
    unneeded = set(unreferenced_kernels(sysroot, keep, without=gone))
    size = sum(allocated(entries_folder(sysroot) / name) for name in gone)
    for one in kernel_holders(sysroot):
        if one.name in unneeded:
            size += one.size
        elif is_own_folder(sysroot, one.name):
            size += one.leftovers
    return size


def kernel_folders(
    host: Host, survey: Survey, keep: Collection[str], doomed: Iterable[BootEntry] = ()
) -> list[BootFolder]:
    """Return what lies in ``$BOOT/bootd``, largest first.

    Args:
        host: the machine.
        survey: the same.
        keep: digests of kernels that stay although no entry names them.
        doomed: entries that a cleanup removes.
    """
    sysroot = host.sysroot
    references = kernel_references(sysroot)
    unnamed = set(unreferenced_kernels(sysroot, keep))
    removable = set(unreferenced_kernels(sysroot, keep, without=_file_names(host, doomed)))
    folders = []
    for one in kernel_holders(sysroot):
        entries = sorted(name for name, folders in references.items() if one.name in folders)
        owner, installation = _owner(host, survey, one.name, entries)
        folders.append(
            BootFolder(
                folder=one.name,
                bytes=one.size,
                owner=BootOwner.NOBODY if one.name in unnamed else owner,
                installation=installation,
                deployments=_users(host, survey, one.name),
                entries=entries,
                removable=one.name in removable,
            )
        )
    return sorted(folders, key=lambda one: (-one.bytes, one.folder))


def _file_names(host: Host, entries: Iterable[BootEntry]) -> set[str]:
    """Return the names that entries stand under, stale ones of the same entry included."""
    identities = {(entry.serial, entry.deployment) for entry in entries}
    return {name for name, found in own_names(host.sysroot).items() if found in identities}


def _owner(
    host: Host, survey: Survey, name: str, entries: Collection[str]
) -> tuple[BootOwner, str | None]:
    digits = owner_digits(name)
    if is_own_folder(host.sysroot, name) or _users(host, survey, name):
        return BootOwner.OWN, digits
    neighbours = [entry for entry in survey.neighbours if entry.file_name in entries]
    if digits is not None or neighbours:
        named = next((entry.installation for entry in neighbours if entry.installation), None)
        return BootOwner.NEIGHBOUR, digits or named
    return BootOwner.OTHER, None


def _users(host: Host, survey: Survey, name: str) -> list[DeploymentId]:
    """Return the deployments that would boot a kernel of this folder, in boot order."""
    users = [record.id for record in survey.kept() if _uses(host, survey, record.id, name)]
    return list(dict.fromkeys(users))


def _uses(host: Host, survey: Survey, deployment: DeploymentId, name: str) -> bool:
    if survey.entry(deployment) is None and deployment not in (survey.booted, survey.staged):
        return False
    digest = survey.records[deployment].kernel.digest
    return kernel_folder(host.sysroot, digest).name == name
