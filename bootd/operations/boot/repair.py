"""What ``$BOOT`` has lost is put back from the store: kernels, initramfs, boot entries.

``$BOOT`` is the least reliable file system of a machine: VFAT, without a journal, and written by
other systems, too. Whatever bootd put there it can make again. What runs comes first, so that a
``$BOOT`` that is nearly full has room for that.

An entry comes back as it was seen last, under its own serial, so the order of boots is what it was.
A deployment that was blessed since its entry was noted has no counter. What was on trial and does
not run is not put back, because whether it failed is not known and it must not boot by itself; nor
is what was given up for the room of another kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from bootd.boot.entries import commit_entry, prepare_loader
from bootd.boot.entry import BootEntry, parse_name
from bootd.boot.entry_lines import with_added_lines
from bootd.boot.kernels.kernel import install_kernel, kernel_copies, kernel_damage
from bootd.boot.kernels.kernel_folders import kernel_folder
from bootd.boot.listing import list_entries
from bootd.boot.places import entries_marker, read_text
from bootd.boot.proof import boot_refusal
from bootd.model.deployment import DeploymentId, DeploymentRecord
from bootd.model.documents import Damage
from bootd.model.errors import (
    BootdError,
    DamagedObjectError,
)
from bootd.model.hash_algorithm import BY_DIGEST_SIZE
from bootd.operations.bless import BLESSED_MARKER, read_blessing
from bootd.operations.boot.next_entry import next_entry
from bootd.operations.boot.noted_entries import read_noted, try_to_note
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey, take_survey
from bootd.startup import later
from bootd.sysroot import Sysroot

with later():
    from bootd.store.objects import files, measuring  # a status does without


def repair_boot(host: Host, survey: Survey, *, thorough: bool, repair: bool) -> list[Damage]:
    """Find what ``$BOOT`` lacks of this machine's kernels and entries, and put it back.

    Args:
        host: the machine; to repair it, the caller holds an exclusive lock.
        survey: the same.
        thorough: measure every byte of the kernels, and mend entries that cannot be read; otherwise
            only existence and sizes are looked at.
        repair: put back what is wrong; otherwise it is only told.

    Returns:
        What was wrong; `repaired` says of each whether it is right now.
    """
    return _Repair(host, survey, thorough=thorough, repair=repair).run()


def mend_boot(host: Host, survey: Survey) -> tuple[Survey, list[str]]:
    """Put back what is seen to be missing at a glance, and note the entries there are.

    Args:
        host: the machine; the caller holds an exclusive lock.
        survey: the same.

    Returns:
        The machine as it is now, and what was wrong, in words.
    """
    damages = repair_boot(host, survey, thorough=False, repair=True)
    if damages:
        survey = take_survey(host.sysroot)
    try_to_note(host.sysroot, survey)
    return survey, [
        f"{damage.problem}; it was put back" if damage.repaired else damage.problem
        for damage in damages
    ]


def boot_losses(host: Host, survey: Survey) -> list[str]:
    """Return what ``$BOOT`` lacks, as far as that is seen at a glance, with what to do about it."""
    return [
        f"{damage.problem}; 'bootctl-py fsck' puts it back from the store"
        for damage in repair_boot(host, survey, thorough=False, repair=False)
    ]


class _Repair:
    """Looks at all of ``$BOOT`` once; see `repair_boot`."""

    def __init__(self, host: Host, survey: Survey, *, thorough: bool, repair: bool) -> None:
        self._host = host
        self._sysroot = host.sysroot
        self._survey = survey
        self._thorough = thorough
        self._repair = repair
        self._damages: list[Damage] = []

    def run(self) -> list[Damage]:
        if boot_refusal(self._sysroot) is not None:
            # Nothing is lost from a partition that is not this machine's.
            return []
        lost = dict(self._lost_entries())
        for deployment in self._in_order_of_need(lost):
            record = self._survey.records[deployment]
            for folder in self._kernel_folders(record):
                self._check_kernel(record, folder)
            if deployment in lost:
                self._put_back_entry(record, *lost[deployment])
        marker = entries_marker(self._sysroot)
        if self._survey.entries and not read_text(marker):
            put_back = partial(prepare_loader, self._sysroot)
            self._mend("entry", str(marker), f"{marker} is missing or empty", put_back)
        return self._damages

    def _mend(self, what: str, path: str, problem: str, put_back: Callable[[], object]) -> None:
        repaired = self._repair
        if repaired:
            try:
                put_back()
            except BootdError as error:
                problem, repaired = f"{problem}, and was not put back: {error.message}", False
        self._damages.append(Damage(what=what, path=path, problem=problem, repaired=repaired))

    def _in_order_of_need(self, lost: Collection[DeploymentId]) -> list[DeploymentId]:
        """Return what has an entry, or had one: what runs, what boots next, the others."""
        bootable = [*(entry.deployment for entry in self._survey.entries), *lost]
        known = [key for key in dict.fromkeys(bootable) if key in self._survey.records]
        return sorted(known, key=lambda key: key != self._survey.booted)

    def _kernel_folders(self, record: DeploymentRecord) -> list[Path]:
        """Return where on ``$BOOT`` the entries of a deployment expect its kernel."""
        named = [
            self._sysroot.boot / Path(entry.linux.lstrip("/")).parent
            for entry in self._survey.entries
            if entry.deployment == record.id
        ]
        if not named:
            return [kernel_folder(self._sysroot, record.kernel.digest)]
        # Who made an entry boot another kernel than the image's has that one to care for.
        own = [folder for folder in named if folder.name.startswith(record.kernel.digest)]
        return list(dict.fromkeys(own))

    def _check_kernel(self, record: DeploymentRecord, folder: Path) -> None:
        problem = kernel_damage(self._sysroot, record.kernel, folder, compare=False)
        if problem is None and self._thorough:
            problem = _wrong_content(record, folder)
        if problem is not None:
            put_back = partial(self._install, record, folder)
            self._mend("kernel", record.kernel.digest, problem, put_back)

    def _install(self, record: DeploymentRecord, folder: Path) -> None:
        _check_objects(self._sysroot, record)
        # Nothing is given up for it: what could make room may be all that the machine still boots,
        # and a power cut before the copy is whole would leave nothing.
        install_kernel(self._sysroot, record.kernel, folder)

    def _lost_entries(self) -> Iterator[tuple[DeploymentId, tuple[BootEntry | None, str]]]:
        """Yield deployments without a usable entry that had one: the entry, and what is wrong.

        None for the entry: nothing is known of it.
        """
        records = self._survey.records
        present = {entry.deployment for entry in self._survey.entries}
        noted = read_noted(self._sysroot)
        for damaged in list_entries(self._sysroot).damaged:
            key = damaged.deployment
            if key is None or key not in records or key in present:
                continue
            present.add(key)
            if self._thorough:
                before = noted.get(key) or next_entry(self._host, records[key], tries=None)
                yield key, (_under_name(before, damaged.name), damaged.problem)
        for key, entry in noted.items():
            if key in records and key not in present and self._may_return(entry):
                yield key, (entry, f"the boot entry {entry.plain_name} is missing")
        booted = self._survey.booted
        if booted in records and booted not in present and booted not in noted:
            yield booted, (None, f"the running deployment {booted} has no boot entry")

    def _may_return(self, entry: BootEntry) -> bool:
        if entry.deployment == self._survey.booted:
            return True
        given_up = self._survey.records[entry.deployment].given_up
        return entry.tries_left is None and (given_up is None or entry.serial > given_up.serial)

    def _put_back_entry(
        self, record: DeploymentRecord, noted: BootEntry | None, problem: str
    ) -> None:
        def put_back() -> None:
            entry = self._composed(record) if noted is None else self._usable(record, noted)
            marked = (self._sysroot.run / BLESSED_MARKER).exists()
            blessed = self._survey.booted if marked else read_blessing(self._sysroot)
            if record.id == blessed:
                entry = replace(entry, tries_left=None, tries_done=0)
            commit_entry(self._sysroot, entry)

        name = record.id if noted is None else noted.plain_name
        self._mend("entry", name, problem, put_back)

    def _usable(self, record: DeploymentRecord, noted: BootEntry) -> BootEntry:
        """Return a noted entry, without lines of others that name files which are gone, too."""
        paths = (noted.linux, *noted.initrds)
        if all((self._sysroot.boot / path.lstrip("/")).is_file() for path in paths):
            return noted
        entry = replace(
            next_entry(self._host, record, tries=None),
            serial=noted.serial,
            tries_left=noted.tries_left,
            tries_done=noted.tries_done,
            arguments=noted.arguments,
        )
        return with_added_lines(self._sysroot, entry, noted)

    def _composed(self, record: DeploymentRecord) -> BootEntry:
        """Return an entry for the running deployment, of which none was ever noted."""
        survey = self._survey
        entry = next_entry(self._host, record, tries=self._host.configuration.tries)
        first = next(iter(survey.entries), None)
        if first is None:
            return entry
        newer = survey.records.get(first.deployment)
        if newer is not None and newer.created >= record.created and first.tries_left != 0:
            # It may be what the machine was told to go on to, and that must not change.
            taken = {other.serial for other in (*survey.entries, *survey.neighbours)}
            free = (serial for serial in range(first.serial - 1, 0, -1) if serial not in taken)
            entry = replace(entry, serial=next(free, entry.serial))
        return with_added_lines(self._sysroot, entry, first)


def _wrong_content(record: DeploymentRecord, folder: Path) -> str | None:
    """Measure a kernel's files themselves: the store's copy may be the damaged one."""
    for copy, verity in kernel_copies(record.kernel, folder):
        if measuring.measure(copy, BY_DIGEST_SIZE[len(verity) // 2]).hex() != verity:
            return f"{copy} is not what the image has"
    return None


def _check_objects(sysroot: Sysroot, record: DeploymentRecord) -> None:
    """Refuse to put a kernel on ``$BOOT`` that is damaged in the store, too."""
    for _, verity in kernel_copies(record.kernel, Path()):
        path = files.object_path(sysroot, bytes.fromhex(verity))
        if not path.is_file() or measuring.measure(path, sysroot.hash_algorithm()).hex() != verity:
            raise DamagedObjectError(f"its object in the store is missing or damaged: {path}")


def _under_name(entry: BootEntry, name: str) -> BootEntry:
    """Return an entry with the serial and the counter that a file name has."""
    serial, _, left, done = parse_name(name)
    return replace(entry, serial=serial, tries_left=left, tries_done=done)
