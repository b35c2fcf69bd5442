"""Remember what became of checks and upgrades, for as long as people may ask.

Whoever runs a job writes it down: the job itself may be killed. The file is replaced as a whole, so
no lock is needed. A damaged one is begun anew, for nothing else follows from it.
"""

from __future__ import annotations

import logging
from typing import Final

from bootd.model.attempts import DONE, STAGING, Attempt, Attempts
from bootd.model.config import Automatic
from bootd.model.digest import Digest
from bootd.model.documents import HistoryDocument
from bootd.model.errors import BootdError, DeniedDigestError, HeldError, StagedByHandError
from bootd.operations.host import Host
from bootd.operations.machine.message_of_the_day import show_failing
from bootd.records import read_record, write_record
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

DECIDED: Final = (HeldError, DeniedDigestError, StagedByHandError)
"""What ends an automatic run because somebody decided so; it is no failure."""
_FILE_NAME: Final = "attempts.json"
_TOLD_FROM: Final = 3
"""So many failures in a row are worth a line at login."""


def read_attempts(sysroot: Sysroot) -> Attempts:
    """Return what is remembered; nothing where there is nothing that can be read."""
    path = sysroot.store / _FILE_NAME
    try:
        return read_record(path, Attempts) or Attempts()
    except BootdError as error:
        _log.warning("what became of earlier attempts is not known: %s", error.message)
        return Attempts()


def history(host: Host) -> HistoryDocument:
    """Return what is remembered; when the next run is, only the daemon knows."""
    known = read_attempts(host.sysroot)
    return HistoryDocument(
        attempts=known.recent,
        in_a_row=known.in_a_row,
        first_failure=known.first_failure,
        last_success=known.last_success,
    )


def note_attempt(
    host: Host,
    operation: str,
    error: BootdError | None,
    *,
    automatic: bool,
    user: int,
    of_followed: bool = True,
    update: Digest | None = None,
) -> bool:
    """Remember an attempt; return whether its update is news, which is announced once.

    Args:
        host: the machine; where it has no store nothing is remembered.
        operation: the name of a kind of job that looks for an update.
        error: why it failed; None: it did not.
        automatic: the timer asked for it.
        user: the user ID that asked for it.
        of_followed: it was for the image that the machine follows. That another one cannot be had,
            such as one whose name somebody mistyped, says nothing of updates and is not kept.
        update: what a check found that is not on the machine.

    Raises:
        WriteFailedError, NoSpaceError: the kernel refused.
    """
    if error is not None and not of_followed:
        return False
    known = read_attempts(host.sysroot)
    attempt = Attempt(
        when=host.clock.now(),
        operation=operation,
        automatic=automatic,
        user=user,
        outcome=DONE if error is None else error.code,
        message="" if error is None else error.message,
        hint="" if error is None else error.hint,
        not_before=None if error is None else error.not_before,
    )
    only_checks = host.configuration.automatic is Automatic.CHECK
    is_run = of_followed and (automatic or only_checks or operation == STAGING)
    after = known.with_attempt(attempt, is_run=is_run)
    if update is not None:
        after = after.model_copy(update={"announced": update})
    if known.in_a_row and not after.in_a_row:
        _log.info("a %s did not fail, after %d that did", operation, known.in_a_row)
    if host.sysroot.store.is_dir():
        write_record(host.sysroot.disk, host.sysroot.store / _FILE_NAME, after)
        enough = after.in_a_row >= _TOLD_FROM
        show_failing(host.sysroot, after.failing if enough else None)
    return update is not None and update != known.announced
