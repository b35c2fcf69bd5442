"""Rollback: the older deployment gets a new, higher boot entry.

Order of writes: the kernel is made sure of, and others are given up if it has no room
(`bootd.operations.boot.room`); what was staged is forgotten; later edits of ``/etc`` are brought
along if they are wanted; the deny list learns the digest that is left behind; the new entry appears
(the commit); the target's older entries go. A cut before the commit leaves the boot order as it
was, but for what was given up.
"""

from __future__ import annotations

import logging

from bootd.boot.entries import commit_entry, remove_entry
from bootd.boot.entry import BootEntry
from bootd.boot.entry_lines import as_it_was
from bootd.boot.proof import require_boot
from bootd.boot.writable import check_writable
from bootd.model.deployment import DeploymentId, DeploymentRecord
from bootd.model.digest import Digest
from bootd.model.documents import RollbackDocument
from bootd.model.errors import BootdError, NoRollbackError
from bootd.model.etc.change import MAX_PATHS
from bootd.model.state import DeploymentState
from bootd.operations.boot.awaited import await_boot
from bootd.operations.boot.next_entry import next_entry
from bootd.operations.boot.noted_entries import try_to_note
from bootd.operations.boot.room import install_with_room, last_entry
from bootd.operations.etc.carry import carry, left_behind
from bootd.operations.host import Host
from bootd.operations.machine.staged import forget_staged
from bootd.operations.machine.survey import Survey, take_survey
from bootd.operations.progress import Phase, Progress
from bootd.operations.trial.deny import ROLLED_BACK, allow_locked, deny_locked

_log = logging.getLogger(__name__)


def rollback(
    host: Host, progress: Progress, *, target: str | None = None, carry_etc: bool = False
) -> RollbackDocument:
    """Make an older deployment boot next; a second rollback undoes the first.

    What is left behind goes on the deny list, so that the timer does not stage it again; going
    back to it takes it off.

    Args:
        host: the machine.
        progress: told what is done.
        target: the ID of a kept deployment; None for the one before.
        carry_etc: bring the edits of ``/etc`` along that were made since the target was left.

    Raises:
        InvalidArgumentError: the target is not an ID.
        NoRollbackError: there is no other deployment, or the target cannot boot.
        NoSuchDeploymentError: the target is not kept.
        NoBootPartitionError, BootPartitionReadOnlyError: no partition is proven to be ``$BOOT``, or
            it takes no writes; nothing was changed.
        BootPartitionFullError: no room for its kernel; nothing was changed.
        NoSpaceError, WriteFailedError, EtcTooLargeError, DamagedImageError, DamagedObjectError: the
            edits could not be brought along; the machine does not go back.
        BusyError: another process changes the store.
    """
    named = None if target is None else DeploymentId(target)
    require_boot(host.sysroot)
    with host.sysroot.lock(exclusive=True):
        progress.report(Phase.FINALIZING)
        survey = take_survey(host.sysroot)
        chosen = named or survey.rollback_target()
        if chosen is None:
            raise NoRollbackError("there is no other deployment to go back to")
        record = host.sysroot.read_deployment(chosen)
        _check_bootable(survey, record)
        check_writable(host.sysroot)
        given_up = install_with_room(host, survey, record, going_back=True)
        unstaged = forget_staged(host.sysroot)
        left = survey.current
        carried = carry(host, left, chosen) if carry_etc and left is not None else None
        behind = [] if carried is not None else _left_behind(host, left, chosen)
        denied = _judge(host, survey, record)
        record = _give_up_settings(host, survey, record)
        entry = _commit(host, survey, record)
        await_boot(host.sysroot, record.id, by_hand=True)
        try_to_note(host.sysroot, take_survey(host.sysroot))
        return RollbackDocument(
            deployment=chosen,
            entry=entry.file_name,
            denied=denied,
            unstaged=unstaged,
            etc_left_behind=behind[:MAX_PATHS],
            more_left_behind=max(0, len(behind) - MAX_PATHS),
            etc=None if carried is None else carried.report,
            etc_copy=None if carried is None else carried.kept_as,
            given_up=given_up,
        )


def _left_behind(host: Host, left: DeploymentId | None, target: DeploymentId) -> list[str]:
    """Return which later edits the target does not have; not to know them stops no rollback."""
    if left is None:
        return []
    try:
        return left_behind(host, left, target)
    except BootdError as error:
        _log.warning("which edits of /etc stay behind is not known: %s", error.message)
        return []


def _check_bootable(survey: Survey, record: DeploymentRecord) -> None:
    if survey.entry(record.id) is None and record.id not in (survey.booted, *survey.given_up):
        raise NoRollbackError(
            f"{record.id} was never made bootable, or failed and made room for another kernel",
            hint="Reboot to finish the upgrade, or name another deployment.",
        )


def _judge(host: Host, survey: Survey, target: DeploymentRecord) -> Digest | None:
    """Deny what is left behind, allow what is gone to; return the denied digest."""
    allow_locked(host, target.digest)
    left = survey.records.get(survey.settled) if survey.settled else None
    if left is None or left.digest == target.digest:
        return None
    deny_locked(host, left.digest, ROLLED_BACK, f"left for {target.id}")
    return left.digest


def _give_up_settings(host: Host, survey: Survey, target: DeploymentRecord) -> DeploymentRecord:
    """Return the target's record; what is left for it is not staged again by itself.

    For another image the deny list sees to that. Under the same one the kernel arguments of the
    settings may be what somebody goes back from.
    """
    left = survey.records.get(survey.settled) if survey.settled else None
    if left is None or left.digest != target.digest:
        return target
    known = {"configured_arguments": left.configured_arguments}
    target = target.model_copy(update=known)
    host.sysroot.write_deployment(host.sysroot.deployment(target.id), target)
    return target


def _commit(host: Host, survey: Survey, record: DeploymentRecord) -> BootEntry:
    good = survey.state_of(record.id) in (DeploymentState.GOOD, DeploymentState.QUEUED)
    counted = last_entry(survey, record)
    proven = good and (counted is None or counted.tries_left is None)
    tries = None if proven else host.configuration.tries
    entry = next_entry(host, record, tries=tries)
    entry = as_it_was(host.sysroot, entry, counted, survey.entry(survey.current))
    commit_entry(host.sysroot, entry)
    for old in survey.entries:
        if old.deployment == record.id:
            remove_entry(host.sysroot, old)
    return entry
