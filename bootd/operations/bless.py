"""Bless: the running deployment came up, so its entry is no longer counted.

Or it was shut down before anybody could know, which is not its fault, and gets its try back. That
ends when all its boots together would be more than nine: an image that reboots in good order before
it is judged must not do so for ever, and a counter of one digit keeps names on VFAT in length. A
boot in which the checks passed, and which ended before the soak did, is not counted at all.

Neither needs the store's lock. What is in the way of a write on ``$BOOT`` is no verdict on the
image: that it is good is written in the store first, and from then on it is not blamed, whatever
the loader counted. Its entry is changed as soon as that can be. The boot loader of an image that
proved itself is installed after that, if nobody else holds the lock.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from bootd.boot.entries import bless_entry, return_try
from bootd.boot.proof import require_boot
from bootd.model.deployment import DeploymentId
from bootd.model.errors import BootdError, NotBlessedYetError
from bootd.model.health import Verdict
from bootd.operations.boot.loader import keep_loader
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey, take_survey
from bootd.operations.trial.health import this_boots_health
from bootd.records import read_record, write_record
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

FAILURE_MARKER: Final = "trial-failed"
"""A file in bootd's folder for this boot, made by the units that give a trial up."""

BLESSED_MARKER: Final = "blessed"
"""Another one; with it no later failure in this boot restarts the machine."""

_RETURNED_MARKER: Final = "try-returned"
"""Another one: this boot's try was given back."""

_LOADER_WAIT_SECONDS: Final = 10.0
"""Whoever holds the store's lock for longer looks after the boot loader, or the next start does."""

_RECORD: Final = "blessed.json"
_MOST_BOOTS: Final = 9


class Blessing(BaseModel):
    """``blessed.json``: the deployment that came up last while it was on trial."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    format: Literal[1] = 1
    deployment: DeploymentId


def bless(host: Host) -> DeploymentId | None:
    """Take the counter off the running deployment's entry, durably; then renew the boot loader.

    Returns:
        The deployment that was on trial, or None when nothing was.

    Raises:
        NoBootPartitionError: no partition is proven to be ``$BOOT``.
        NotBlessedYetError: it was, and its entry could not be changed; that it is good is known.
    """
    require_boot(host.sysroot)
    try:
        survey = take_survey(host.sysroot)
        entry = survey.entry(survey.booted)
        if survey.booted is None or entry is None or entry.tries_left is None:
            return None
        remember_blessing(host.sysroot, survey.booted)
        bless_entry(host.sysroot, entry)
    except BootdError as error:
        raise NotBlessedYetError(
            f"the boot entry of what runs cannot be changed: {error.message}"
        ) from error
    _renew_loader(host)
    return survey.booted


def _renew_loader(host: Host) -> None:
    """Install the image's boot loader, and not before now: nothing falls back from a loader."""
    try:
        with host.sysroot.lock(exclusive=True, wait_seconds=_LOADER_WAIT_SECONDS):
            care = keep_loader(host, take_survey(host.sysroot), thorough=False, repair=True)
    except BootdError as error:
        _log.warning("the boot loader is seen to later: %s", error.message)
        return
    for message in care.messages:
        _log.warning("%s", message)


def remember_blessing(sysroot: Sysroot, deployment: DeploymentId) -> None:
    """Write down that a deployment on trial came up; for this boot, and until its entry says so.

    What cannot be written is logged: the entry may be changed all the same.
    """
    try:
        sysroot.disk.make_directory(sysroot.run, 0o755)
        sysroot.disk.replace_file(sysroot.run / BLESSED_MARKER, b"")
        write_record(sysroot.disk, _record(sysroot), Blessing(deployment=deployment))
    except BootdError as error:
        _log.warning("that %s came up is not remembered: %s", deployment, error.message)


def read_blessing(sysroot: Sysroot) -> DeploymentId | None:
    """Return what was blessed last, or None; a record that cannot be read is as good as none."""
    try:
        found = read_record(_record(sysroot), Blessing)
    except BootdError as error:
        _log.warning("%s", error.message)
        return None
    return None if found is None else found.deployment


def settle_blessing(host: Host) -> DeploymentId | None:
    """Make the entries of what was blessed say so, if they do not yet.

    What is in the way is logged.

    Returns:
        The deployment whose entry was changed only now, or None.
    """
    blessed = read_blessing(host.sysroot)
    if blessed is None:
        return None
    settled = None
    try:
        for entry in take_survey(host.sysroot).entries:
            if entry.deployment == blessed and entry.tries_left is not None:
                bless_entry(host.sysroot, entry)
                settled = blessed
        host.sysroot.disk.remove_file(_record(host.sysroot))
    except BootdError as error:
        _log.warning("%s came up, and its boot entry cannot be changed: %s", blessed, error.message)
    return settled


def not_blessed_yet(sysroot: Sysroot, survey: Survey) -> str | None:
    """Return the sentence on a deployment that came up and whose entry is counted all the same."""
    entry = survey.entry(read_blessing(sysroot))
    if entry is None or entry.tries_left is None:
        return None
    return (
        f"{entry.deployment} came up, but its boot entry could not be changed to say so; this is "
        f"tried again when the daemon starts"
    )


def leave_undecided(host: Host) -> DeploymentId | None:
    """Give the running deployment its try back, unless it is known to be good or bad.

    Returns:
        The deployment that got it, or None.

    Raises:
        NoBootPartitionError: no partition is proven to be ``$BOOT``.
        InvalidBootEntryError, WriteFailedError: its entry cannot be changed.
        BusyError: another process changes boot entries and does not end.
    """
    sysroot = host.sysroot
    health = this_boots_health(sysroot)
    if health is not None and health.verdict is Verdict.UNHEALTHY:
        return None
    if any((sysroot.run / marker).exists() for marker in (FAILURE_MARKER, _RETURNED_MARKER)):
        return None
    require_boot(sysroot)
    survey = take_survey(sysroot)
    entry = survey.entry(survey.booted)
    if entry is None or entry.tries_left is None or entry.tries_done == 0:
        return None
    passed = health is not None and health.deployment == survey.booted
    if not passed and entry.tries_left + 1 + entry.tries_done > _MOST_BOOTS:
        return None
    return_try(sysroot, entry, uncounted=passed)
    sysroot.disk.make_directory(sysroot.run, 0o755)
    sysroot.disk.replace_file(sysroot.run / _RETURNED_MARKER, b"")
    return survey.booted


def _record(sysroot: Sysroot) -> Path:
    return sysroot.store / _RECORD
