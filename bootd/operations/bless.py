"""Bless: the running deployment came up, so its entry is no longer counted.

Or it was shut down before anybody could know, which is not its fault, and gets its try back. That
ends when all its boots together would be more than nine: an image that reboots in good order before
it is judged must not do so for ever, and a counter of one digit keeps names on VFAT in length.
"""

from __future__ import annotations

from typing import Final

from bootd.boot.entries import bless_entry, return_try
from bootd.model.deployment import DeploymentId
from bootd.model.health import Verdict
from bootd.operations.health import this_boots_health
from bootd.operations.host import Host
from bootd.operations.survey import survey

LOCK_WAIT_SECONDS: Final = 6 * 3_600.0
"""A download that began early in the boot holds the lock; it is ended after six hours."""

FAILURE_MARKER: Final = "trial-failed"
"""A file in bootd's folder for this boot, made by the units that give a trial up."""

BLESSED_MARKER: Final = "blessed"
"""Another one; with it no later failure in this boot restarts the machine."""

_UNDECIDED_WAIT_SECONDS: Final = 60.0
_MOST_BOOTS: Final = 9


def bless(host: Host) -> DeploymentId | None:
    """Take the counter off the running deployment's entry, durably.

    Returns:
        The deployment that was on trial, or None when nothing was.

    Raises:
        BusyError: another process changed the store for six hours.
    """
    with host.sysroot.lock(exclusive=True, wait_seconds=LOCK_WAIT_SECONDS):
        found = survey(host.sysroot)
        entry = found.entry(found.booted)
        if entry is None or entry.tries_left is None:
            return None
        bless_entry(host.sysroot, entry)
        host.sysroot.disk.make_directory(host.sysroot.run, 0o755)
        host.sysroot.disk.replace_file(host.sysroot.run / BLESSED_MARKER, b"")
        return found.booted


def leave_undecided(host: Host) -> DeploymentId | None:
    """Give the running deployment its try back, unless it is known to be good or bad.

    Returns:
        The deployment that got it, or None.

    Raises:
        BusyError: another process changes the store.
    """
    health = this_boots_health(host.sysroot)
    if health is not None and health.verdict is Verdict.UNHEALTHY:
        return None
    if (host.sysroot.run / FAILURE_MARKER).exists():
        return None
    with host.sysroot.lock(exclusive=True, wait_seconds=_UNDECIDED_WAIT_SECONDS):
        found = survey(host.sysroot)
        entry = found.entry(found.booted)
        if entry is None or entry.tries_left is None or entry.tries_done == 0:
            return None
        if entry.tries_left + 1 + entry.tries_done > _MOST_BOOTS:
            return None
        return_try(host.sysroot, entry)
        return found.booted
