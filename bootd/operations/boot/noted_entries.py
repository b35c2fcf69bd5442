"""Boot entries as they were seen last: what is put back when ``$BOOT`` has lost one.

They are a copy and decide nothing: what boots is what is on ``$BOOT``. An entry that bootd removes
itself is forgotten before, so that it does not come back.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from bootd.boot.entry import BootEntry, parse_entry, render_entry
from bootd.model.boot.noted_entry import NotedEntries, NotedEntry
from bootd.model.deployment import DeploymentId
from bootd.model.errors import (
    BootdError,
    DamagedRecordError,
    InvalidBootEntryError,
    StorageError,
)
from bootd.operations.machine.survey import Survey
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)


def note_entries(
    sysroot: Sysroot, survey: Survey, *, without: Collection[DeploymentId] = ()
) -> None:
    """Write down the entries there are, under the caller's exclusive lock; nothing if none is new.

    What was noted of a deployment that has no entry any more stays, unless the deployment went too.

    Args:
        sysroot: the machine.
        survey: the same.
        without: deployments whose entries are about to be removed.
    """
    noted = {key: entry for key, entry in read_noted(sysroot).items() if key in survey.records}
    # Of two entries of one deployment the one that boots earlier is noted.
    present = {entry.deployment: entry for entry in reversed(survey.entries)}
    noted |= {key: entry for key, entry in present.items() if key in survey.records}
    kept = [noted[key] for key in sorted(noted) if key not in without]
    record = NotedEntries(
        entries=[
            NotedEntry(name=entry.file_name, text=render_entry(entry).decode()) for entry in kept
        ]
    )
    try:
        is_new = record != sysroot.read_noted_entries()
    except DamagedRecordError as error:
        _log.warning("the boot entries are noted anew: %s", error.message)
        is_new = True
    if is_new:
        sysroot.write_noted_entries(record)


def try_to_note(sysroot: Sysroot, survey: Survey) -> None:
    """Do what `note_entries` does where nothing hangs on it."""
    try:
        note_entries(sysroot, survey)
    except BootdError as error:
        _log.warning("the boot entries are not noted: %s", error.message)


def read_noted(sysroot: Sysroot) -> dict[DeploymentId, BootEntry]:
    """Return the entries that were noted, by deployment; what cannot be read is left out."""
    found: dict[DeploymentId, BootEntry] = {}
    try:
        record = sysroot.read_noted_entries()
    except StorageError as error:
        _log.warning("what was noted of the boot entries is of no use: %s", error.message)
        return found
    for noted in record.entries:
        try:
            entry = parse_entry(noted.name, noted.text.encode())
        except InvalidBootEntryError as error:
            _log.warning("a noted boot entry is of no use: %s", error.message)
            continue
        found[entry.deployment] = entry
    return found
