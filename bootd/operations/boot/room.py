"""Room on ``$BOOT`` for a kernel: what may be given up for it, in which order, and giving it up.

The boot partition of many machines holds two kernels, and a machine with a fallback needs room for
a third one while it is upgraded. So where a new kernel does not fit, boot entries are given up with
their kernels: what failed first, then the oldest. Such a deployment stays in the store until a
cleanup, and a rollback brings its kernel back. Never given up are what runs, what boots next, what
a trial falls back to, and what is pinned.

Order of writes, for each: the record of a deployment that had proved itself says that it was given
up; its boot entry goes, durably; then the kernels that no entry names any more. All the while what
boots next has its entry and its kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from bootd.boot.entries import remove_entry
from bootd.boot.entry import MAX_ENTRY_BYTES, BootEntry, parse_entry
from bootd.boot.kernels.kernel import install_kernel
from bootd.boot.kernels.kernel_folders import (
    discard_copy_leftovers,
    remove_kernel,
    unreferenced_kernels,
)
from bootd.boot.places import entries_folder, read_text
from bootd.boot.usage import measure_room
from bootd.model.deployment import DeploymentId, DeploymentRecord, GivenUpEntry, KernelFiles
from bootd.model.errors import BootPartitionFullError, InvalidBootEntryError
from bootd.operations.boot.refusal import Held, Shortage, needed_space, refusal
from bootd.operations.boot.usage import freed_without
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a kernel gets its room.

    Attributes:
        fits: it fits as it is.
        entries: what else has to go, in this order.
    """

    fits: bool
    entries: tuple[BootEntry, ...] = ()


def check_room(host: Host, survey: Survey, kernel: KernelFiles | None) -> list[DeploymentId]:
    """Refuse a kernel that will not fit when the machine is shut down.

    Args:
        host: the machine.
        survey: the same.
        kernel: what an upgrade brings; None: it is not known yet, and only a boot entry, which any
            upgrade needs, is asked for.

    Returns:
        The deployments whose kernel would be given up for it then, in this order.

    Raises:
        BootPartitionFullError: it does not fit even so.
    """
    plan = _plan(host, survey, kernel, _held(survey, None), newest_first=False)
    return list(dict.fromkeys(entry.deployment for entry in plan.entries))


def install_with_room(
    host: Host, survey: Survey, record: DeploymentRecord, *, going_back: bool = False
) -> list[DeploymentId]:
    """Put a deployment's kernel on ``$BOOT``, durably, and give up others for it if that must be.

    Args:
        host: the machine, locked by the caller.
        survey: the same.
        record: the deployment.
        going_back: the machine goes back to it; then what is newest is given up first, which was
            left behind, and what boots next may be given up, too.

    Returns:
        The deployments that were given up.

    Raises:
        BootPartitionFullError: it does not fit even so; nothing was given up for it.
        DamagedObjectError: an object of the kernel is damaged.
        WriteFailedError: the kernel refused.
    """
    held = _held(survey, record.id, going_back=going_back)
    plan = _plan(host, survey, record.kernel, held, newest_first=going_back)
    if not plan.fits:
        keep = _kept_kernels(survey, record.kernel)
        discard_copy_leftovers(host.sysroot)
        _remove_kernels(host, keep)
        for entry in plan.entries:
            _give_up(host, survey, entry)
            _remove_kernels(host, keep)
    try:
        install_kernel(host.sysroot, record.kernel)
    except BootPartitionFullError as error:
        raise refusal(host, survey, Shortage(record.kernel, held, said=error.message)) from error
    return list(dict.fromkeys(entry.deployment for entry in plan.entries))


def _plan(
    host: Host,
    survey: Survey,
    kernel: KernelFiles | None,
    held: Mapping[DeploymentId, Held],
    *,
    newest_first: bool,
) -> _Plan:
    needed = needed_space(host, kernel)
    free = measure_room(host.sysroot).free
    if needed <= free:
        return _Plan(fits=True)
    keep = _kept_kernels(survey, kernel)

    def suffices(entries: Iterable[BootEntry]) -> bool:
        return needed <= free + freed_without(host, entries, keep)

    chosen: list[BootEntry] = []
    for entry in _candidates(host, survey, held, newest_first=newest_first):
        if suffices(chosen):
            break
        chosen.append(entry)
    if not suffices(chosen):
        could = freed_without(host, chosen, keep)
        for way_out in (Held.PINNED, Held.FALLBACK, Held.NEXT):
            more = [one for one in survey.entries if held.get(one.deployment) is way_out]
            if more and suffices([*chosen, *more]):
                raise refusal(host, survey, Shortage(kernel, held, could, way_out))
        raise refusal(host, survey, Shortage(kernel, held, could))
    for entry in chosen[:-1]:
        # What was given up before a larger one may not be in the way at all.
        rest = [one for one in chosen if one is not entry]
        chosen = rest if suffices(rest) else chosen
    return _Plan(fits=False, entries=tuple(chosen))


def _held(
    survey: Survey, target: DeploymentId | None, *, going_back: bool = False
) -> dict[DeploymentId, Held]:
    """Return what is not given up, and why."""
    held = {key: Held.PINNED for key, record in survey.records.items() if record.pinned}
    running = survey.entry(survey.booted)
    if running is None or running.tries_left is not None:
        good = (one.deployment for one in survey.entries if _is_proven(survey, one))
        fallbacks = {survey.predecessor, next(good, None)} - {None, survey.booted}
        held |= {key: Held.FALLBACK for key in fallbacks if key is not None}
    # What the loader starts for want of another one's kernel makes room for that.
    following = survey.first if survey.loader.passed_over else survey.next_boot
    coming = set() if going_back and running else {following}
    if running is None:
        # Then that is the one deployment that is sure to boot, whatever is overridden.
        coming.add(survey.first)
    held |= {key: Held.NEXT for key in coming if key is not None}
    if survey.booted is not None:
        held[survey.booted] = Held.RUNNING
    if target is not None:
        held[target] = Held.WANTED
    return held


def _is_proven(survey: Survey, entry: BootEntry) -> bool:
    return entry.tries_left is None and entry.deployment in survey.records


def _candidates(
    host: Host, survey: Survey, held: Mapping[DeploymentId, Held], *, newest_first: bool
) -> list[BootEntry]:
    """Return the entries that may be given up, the first one first."""
    failed, others, empty = [], [], []
    there = {*host.sysroot.deployment_ids()}
    for entry in survey.entries:
        if entry.deployment in held:
            continue
        if entry.deployment not in there:
            empty.append(entry)
        elif entry.tries_left == 0:
            failed.append(entry)
        elif entry.deployment in survey.records:
            others.append(entry)
    if failed:
        # An entry that failed is how that is known, until it has been taken note of.
        denied = host.sysroot.read_denied()
        records = survey.records
        failed = [
            one
            for one in failed
            if one.deployment in records and denied.find(records[one.deployment].digest) is not None
        ]
    others.sort(key=lambda one: one.serial, reverse=newest_first)
    return [*empty, *failed, *others]


def _give_up(host: Host, survey: Survey, entry: BootEntry) -> None:
    record = survey.records.get(entry.deployment)
    if record and entry.tries_left is None and survey.entry(record.id) == entry:
        text = read_text(entries_folder(host.sysroot) / entry.file_name) or b""
        kept = GivenUpEntry(
            serial=entry.serial,
            name=entry.file_name,
            text=text[:MAX_ENTRY_BYTES].decode(errors="replace"),
        )
        noted = record.model_copy(update={"given_up": kept})
        host.sysroot.write_deployment(host.sysroot.deployment(record.id), noted)
    remove_entry(host.sysroot, entry)


def last_entry(survey: Survey, record: DeploymentRecord) -> BootEntry | None:
    """Return the boot entry that a deployment has, or had until it was given up; else None."""
    entry, kept = survey.entry(record.id), record.given_up
    if entry is None and kept is not None:
        # Without it the deployment can go by what its record says.
        with suppress(InvalidBootEntryError):
            return parse_entry(kept.name, kept.text.encode())
    return entry


def _kept_kernels(survey: Survey, kernel: KernelFiles | None) -> set[str]:
    """Return the digests of kernels that stay although no entry may name them."""
    kept = set() if kernel is None else {kernel.digest}
    running = survey.records.get(survey.booted) if survey.booted else None
    return kept if running is None else {*kept, running.kernel.digest}


def _remove_kernels(host: Host, keep: set[str]) -> None:
    for name in unreferenced_kernels(host.sysroot, keep):
        remove_kernel(host.sysroot, name)
