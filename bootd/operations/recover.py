"""Recover: what a daemon does first, so that a crash at any moment needs no hand.

It takes up where the disk says: an intent that was carried out is forgotten, one that was not gets
this boot's marker back (a power cut cleared ``/run``), and temporary names of a writer that is gone
are removed. What the boot loader gave up goes on the deny list. What ``$BOOT`` is seen to have lost
is put back. Where no partition is proven to be ``$BOOT``, that is told, and only the store is
brought to rest.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from bootd.boot.entries import heal_entries
from bootd.boot.proof import boot_problems, boot_refusal
from bootd.durable import TEMPORARY_PREFIX
from bootd.model.deployment import DeploymentId, StagedMarker
from bootd.model.errors import BootdError, DamagedRecordError
from bootd.operations.bless import settle_blessing
from bootd.operations.boot.awaited import Miss, await_boot, settle_awaited
from bootd.operations.boot.loader import keep_loader
from bootd.operations.boot.mirrors import check_mirrors
from bootd.operations.boot.repair import mend_boot
from bootd.operations.host import Host
from bootd.operations.machine.kept_configuration import keep_configuration
from bootd.operations.machine.message_of_the_day import show_configuration, show_undecided
from bootd.operations.machine.staged import forget_staged
from bootd.operations.machine.survey import take_survey
from bootd.operations.machine.trusted_time import time_of_record
from bootd.operations.trial.fallback import Fallback, settle_fallbacks
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was found and done.

    Attributes:
        messages: in words, for the journal.
        fallbacks: deployments that the machine went back from by itself; news, told once.
        miss: a deployment that was to boot and was not started; news, told once.
        blessed: a deployment that came up before and whose entry says so only now; news, told once.
    """

    messages: tuple[str, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()
    miss: Miss | None = None
    blessed: DeploymentId | None = None


def recover(host: Host) -> Recovery:
    """Bring the store to rest.

    Raises:
        BusyError: another process changes the store; it will recover it itself.
    """
    with host.sysroot.lock(exclusive=True):
        host.sysroot.name_installation()
        for problem in boot_problems(host.sysroot):
            _log.warning("%s", problem)
        folders = _folders_with_temporaries(host.sysroot)
        healed = []
        if boot_refusal(host.sysroot) is None:
            folders += _boot_folders(host.sysroot)
            healed = [f"removed the stale boot entry {name}" for name in heal_entries(host.sysroot)]
        done = [*healed, *_remove_leftovers(host.sysroot, folders), *_settle_intent(host.sysroot)]
        blessed = settle_blessing(host)
        fallbacks = tuple(settle_fallbacks(host))
        _tell_at_login(host)
        missed = settle_awaited(host.sysroot)
        time_of_record(host)
        found, mended = mend_boot(host, take_survey(host.sysroot))
        mended += keep_loader(host, found, thorough=False, repair=True).messages
        alike = check_mirrors(host.sysroot, thorough=False, repair=True)
        mended += [f"{one.problem}; it was made alike" for one in alike if one.repaired]
        mended += [one.problem for one in alike if not one.repaired]
        return Recovery((*done, *mended), fallbacks, missed, blessed)


def take_note_of_configuration(host: Host) -> None:
    """Keep a configuration that can be used, and say at login that another one is in force.

    Raises:
        WriteFailedError, NoSpaceError: the kernel refused.
    """
    if host.configuration_problem is None:
        keep_configuration(host.sysroot, host.configuration)
    show_configuration(host.sysroot, host.configuration_problem)


def _tell_at_login(host: Host) -> None:
    sysroot = host.sysroot
    try:
        take_note_of_configuration(host)
    except BootdError as error:
        _log.warning("the configuration was not kept: %s", error.message)
    try:
        show_undecided(sysroot)
    except DamagedRecordError as error:
        _log.warning("what is undecided in /etc is not known: %s", error.message)


def _settle_intent(sysroot: Sysroot) -> list[str]:
    survey = take_survey(sysroot)
    staged = survey.intent.staged
    marker = sysroot.read_staged()
    if staged is None:
        if marker is not None:
            sysroot.clear_staged()
        return []
    if survey.entry(staged) is not None:
        await_boot(sysroot, staged)
        return [f"{staged} was made bootable before"]
    if staged not in survey.records:
        forget_staged(sysroot)
        return [f"{staged} was staged, but its deployment is gone or damaged"]
    if marker is None or marker.deployment != staged:
        sysroot.write_staged(StagedMarker(deployment=staged))
        return [f"{staged} is staged, and the last shutdown did not make it boot next"]
    return []


def _remove_leftovers(sysroot: Sysroot, folders: list[Path]) -> list[str]:
    # A blessing needs no more than this lock, and its temporary names are no leftovers.
    with sysroot.boot_lock():
        return _remove_temporaries(sysroot, folders)


def _remove_temporaries(sysroot: Sysroot, folders: list[Path]) -> list[str]:
    removed = [
        path
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if path.name.startswith(TEMPORARY_PREFIX)
    ]
    for path in removed:
        if path.is_dir() and not path.is_symlink():
            sysroot.disk.remove_tree(path)
        else:
            sysroot.disk.discard_file(path)
    return [f"removed {len(removed)} leftovers of an interrupted write"] if removed else []


def _folders_with_temporaries(sysroot: Sysroot) -> list[Path]:
    return [
        sysroot.store,
        sysroot.layers,
        sysroot.images,
        sysroot.health,
        sysroot.etc_copies,
        sysroot.deployments,
        *(sysroot.deployment(identifier) for identifier in sysroot.deployment_ids()),
    ]


def _boot_folders(sysroot: Sysroot) -> list[Path]:
    kernels = sysroot.boot / "bootd"
    return [
        sysroot.boot,
        sysroot.boot / "loader",
        sysroot.boot / "loader/entries",
        kernels,
        *(folder for folder in (kernels.iterdir() if kernels.is_dir() else ()) if folder.is_dir()),
    ]
