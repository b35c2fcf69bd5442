"""Bless: the running deployment came up, so its entry is no longer counted."""

from __future__ import annotations

from bootd.boot.entries import bless_entry
from bootd.model.deployment import DeploymentId
from bootd.operations.host import Host
from bootd.operations.survey import survey


def bless(host: Host) -> DeploymentId | None:
    """Take the counter off the running deployment's entry, durably.

    Returns:
        The deployment that was on trial, or None when nothing was.

    Raises:
        BusyError: another process changes the store.
    """
    with host.sysroot.lock(exclusive=True):
        found = survey(host.sysroot)
        entry = found.entry(found.booted)
        if entry is None or entry.tries_left is None:
            return None
        bless_entry(host.sysroot, entry)
        return found.booted
