"""The boot loader on ``$BOOT`` is kept whole, and kept as new as the image's.

The loader of an image takes the place of the installed one once the image's deployment has proved
itself, because nothing falls back from a loader. It does so if it is newer, or if nothing says
which of the two is; never if it is older, if bootd replaced it before, or if it has no signature
and the installed one has. A file that somebody else put under one of bootd's names stays.

What is missing or damaged comes from an image in the store, or from another copy on ``$BOOT``.
"""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass, field
from pathlib import Path

from bootd.boot.listing import list_entries
from bootd.boot.loader.file import LoaderFile, look_at, read_loader
from bootd.boot.loader.install import (
    EFI_NAMES,
    as_written,
    is_newer,
    previous_name,
    put_loader,
    spelled,
    usual_names,
)
from bootd.boot.loader.state import LoaderState, loader_states
from bootd.boot.proof import boot_refusal
from bootd.model.boot.loader import LoaderRecord, OfferedLoader, WrittenLoader
from bootd.model.documents import Damage
from bootd.model.errors import (
    BootdError,
    DamagedObjectError,
    DamagedRecordError,
    NoBootLoaderError,
)
from bootd.operations.boot.image_loader import image_loader, running_record, stored_loader
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoaderCare:
    """What was found and done.

    Attributes:
        damages: what was wrong; `repaired` says of each whether it is right now.
        news: what changed though nothing was wrong, in words.
    """

    damages: list[Damage] = field(default_factory=list)
    news: list[str] = field(default_factory=list)

    @property
    def messages(self) -> list[str]:
        """All of it in words."""
        told = [
            f"{one.problem}; it was put back" if one.repaired else one.problem
            for one in self.damages
        ]
        return [*told, *self.news]


def keep_loader(host: Host, survey: Survey, *, thorough: bool, repair: bool) -> LoaderCare:
    """Find what is wrong with the boot loader, put it right, and keep it new.

    Args:
        host: the machine; to repair it, the caller holds an exclusive lock.
        survey: the same.
        thorough: replace what is damaged, too; otherwise only what is missing, empty or half
            installed is put right.
        repair: put right what is wrong; otherwise it is only told.
    """
    keeper = _Keeper(host, survey, thorough=thorough, repair=repair)
    try:
        # Another partition's loader is not this machine's to look after.
        if platform.machine() in EFI_NAMES and boot_refusal(host.sysroot) is None:
            keeper.keep()
    except BootdError as error:
        keeper.add("", f"the boot loader cannot be looked after: {error.message}")
    return keeper.care


def loader_versions(host: Host, survey: Survey) -> tuple[str | None, str | None]:
    """Return what the boot loader on ``$BOOT`` is, and the running image's; None: not known.

    Raises:
        DamagedRecordError, WriteFailedError: it cannot be read.
    """
    sysroot = host.sysroot
    record = sysroot.read_loader()
    names = record.names or _usual(sysroot)
    there = next((file for name in names if (file := _file(sysroot, name))), None)
    offered = _offered(survey, record)
    return (
        None if there is None else as_written(there).description,
        None if offered is None else offered.description,
    )


def loader_problems(host: Host, survey: Survey) -> list[str]:
    """Return what is wrong with the boot loader, as far as that is seen at a glance.

    Raises:
        DamagedRecordError, WriteFailedError: it cannot be read.
    """
    record = host.sysroot.read_loader()
    if not record.names or boot_refusal(host.sysroot) is not None:
        return []
    problems = [
        f"{state.problem}; 'bootctl-py fsck' puts it right" if state.free else state.problem
        for state in loader_states(host.sysroot.boot, record, thorough=False)
        if state.problem is not None
    ]
    if record.failure is not None and _due(survey, record) is not None:
        problems.append(record.failure)
    return problems


class _Keeper:
    """Looks after the loader once; see `keep_loader`."""

    def __init__(self, host: Host, survey: Survey, *, thorough: bool, repair: bool) -> None:
        self.care = LoaderCare()
        self._host = host
        self._sysroot = host.sysroot
        self._survey = survey
        self._thorough = thorough
        self._repair = repair
        self._record = LoaderRecord()

    def keep(self) -> None:
        before = self._known()
        self._record = self._with_offer(before)
        if not self._record.names:
            self._record = self._adopted(self._record)
        if self._repair and self._record != before:
            self._sysroot.write_loader(self._record)
        if not self._record.names:
            return
        due = _due(self._survey, self._record)
        if due is not None:
            self._update(due)
        self._mend()

    def add(self, path: str, problem: str, *, repaired: bool = False) -> None:
        damage = Damage(what="loader", path=path, problem=problem, repaired=repaired)
        self.care.damages.append(damage)

    def _known(self) -> LoaderRecord:
        """Return what is known; fsck begins anew where that cannot be read."""
        try:
            return self._sysroot.read_loader()
        except DamagedRecordError as error:
            if not (self._thorough and self._repair):
                raise
            self._sysroot.write_loader(LoaderRecord())
            self.add(str(self._sysroot.loader_file), error.message, repaired=True)
            return LoaderRecord()

    def _states(self) -> list[LoaderState]:
        return loader_states(self._sysroot.boot, self._record, thorough=self._thorough)

    def _with_offer(self, record: LoaderRecord) -> LoaderRecord:
        """Return the record with the loader of the image that runs."""
        running = running_record(self._survey)
        if running is None or (record.offered and record.offered.image == running.digest):
            return record
        data = image_loader(self._host, running)
        if data is None and not record.names:
            return record
        loader = None if data is None else as_written(look_at(data))
        offered = OfferedLoader(image=running.digest, loader=loader)
        return record.model_copy(update={"offered": offered, "failure": None})

    def _adopted(self, record: LoaderRecord) -> LoaderRecord:
        """Return a record of what an older bootd installed, which noted nothing.

        It wrote both usual names alike. What is there is its work if an image in the store has it,
        or if it is systemd-boot and no other system has an entry on this ``$BOOT``.
        """
        if record.offered is None or record.offered.loader is None:
            return record
        there = [(name, _file(self._sysroot, name)) for name in _usual(self._sysroot)]
        present = [(name, file) for name, file in there if file is not None]
        if len({file.sha256 for _, file in present}) != 1:
            return record
        _, file = present[0]
        alone = file.version is not None and not list_entries(self._sysroot).foreign
        if not alone and stored_loader(self._host, self._survey, file.sha256) is None:
            return record
        names = [name for name, _ in present]
        return record.model_copy(update={"names": names, "written": [as_written(file)]})

    def _update(self, due: WrittenLoader) -> None:
        installed = self._record.written[0]
        what = f"the boot loader is {installed.description}, and the image has {due.description}"
        if not self._repair:
            self.add(self._record.names[0], what)
            return
        try:
            self._install(due, installed)
        except BootdError as error:
            failure = f"{what}, which was not installed: {error.message}"
            self.add(self._record.names[0], failure)
            self._record = self._sysroot.read_loader()
            if self._record.failure != failure:
                self._record = self._record.model_copy(update={"failure": failure})
                self._sysroot.write_loader(self._record)
            return
        self.care.news.append(
            f"the boot loader is {due.description} now, and was {installed.description}"
        )

    def _install(self, due: WrittenLoader, installed: WrittenLoader) -> None:
        names = [state.name for state in self._states() if state.free]
        if installed.signed and not due.signed:
            raise NoBootLoaderError(
                "it has no signature for Secure Boot, and the installed one has"
            )
        if not names:
            raise NoBootLoaderError("other systems have their files under all of its names")
        data = stored_loader(self._host, self._survey, due.sha256)
        if data is None:
            raise DamagedObjectError("it is damaged in the store")
        self._record = put_loader(self._sysroot, self._record, data, names)

    def _mend(self) -> None:
        wrong = [state for state in self._states() if state.problem is not None]
        missing = [state.name for state in wrong if state.free]
        failure = None
        if self._repair and missing:
            try:
                self._record = put_loader(
                    self._sysroot, self._record, self._whole_loader(), missing
                )
            except BootdError as error:
                failure = error.message
        for state in wrong:
            if state.free and failure is not None:
                self.add(state.name, f"{state.problem}, and was not put back: {failure}")
            else:
                self.add(state.name, str(state.problem), repaired=self._repair and state.free)

    def _whole_loader(self) -> bytes:
        """Return the loader that was installed last, else one before it, else the image's."""
        for written in self._record.written:
            data = stored_loader(self._host, self._survey, written.sha256)
            data = data or self._copy_of(written.sha256)
            if data is not None:
                return data
        running = running_record(self._survey)
        data = None if running is None else image_loader(self._host, running)
        if data is None:
            raise NoBootLoaderError("neither the store nor the boot partition has it any more")
        return data

    def _copy_of(self, sha256: str) -> bytes | None:
        names = [*self._record.names, previous_name(self._record.names[0])]
        for path in (self._sysroot.boot / name for name in names):
            there = None if path.is_dir() else read_loader(path)
            if there is not None and there[1].sha256 == sha256:
                return there[0]
        return None


def _offered(survey: Survey, record: LoaderRecord) -> WrittenLoader | None:
    """Return the loader of the image that runs, if the record knows it."""
    running, offered = running_record(survey), record.offered
    if running is None or offered is None or offered.image != running.digest:
        return None
    return offered.loader


def _due(survey: Survey, record: LoaderRecord) -> WrittenLoader | None:
    """Return the running image's loader if the deployment is good and it is to be installed."""
    entry = survey.entry(survey.booted)
    offered = _offered(survey, record)
    if entry is None or entry.tries_left is not None or offered is None or not record.written:
        return None
    return offered if is_newer(offered, record.written) else None


def _usual(sysroot: Sysroot) -> list[str]:
    if platform.machine() not in EFI_NAMES:
        return []
    return [spelled(sysroot.boot, name) for name in usual_names(platform.machine())]


def _file(sysroot: Sysroot, name: str) -> LoaderFile | None:
    path: Path = sysroot.boot / name
    there = None if path.is_dir() else read_loader(path)
    return None if there is None else there[1]
