"""Finalize: at shutdown the staged deployment gets the machine's ``/etc`` and a boot entry.

Order of writes (docs/architecture.md, "What is written, and in which order"): the merged ``/etc``
under a temporary name, syncfs, rename; what is given up on ``$BOOT`` if there is no room
(`bootd.operations.boot.room`); the kernel files; **the new entry, which is the commit**; then the
intent is forgotten. A cut before the commit leaves the old system with the intent kept, so the next
shutdown does it all again; after it the new deployment boots next and `recover` forgets the intent.

A failure is written into the intent, so that the next boot can tell.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bootd.boot.entries import commit_entry
from bootd.boot.entry_lines import with_added_lines
from bootd.boot.proof import require_boot
from bootd.boot.writable import make_writable
from bootd.durable import temporary_name
from bootd.etc.accounts.chosen import Move
from bootd.etc.report import with_notes
from bootd.model.deployment import DeploymentRecord
from bootd.model.documents import FinalizeDocument
from bootd.model.errors import BootdError
from bootd.operations.boot.awaited import await_boot
from bootd.operations.boot.next_entry import keep_fallback_next, next_entry
from bootd.operations.boot.room import install_with_room
from bootd.operations.etc.ids import write_chosen
from bootd.operations.etc.merge import MergedEtc, coming_moves, merge_into
from bootd.operations.etc.moment import write_edits
from bootd.operations.etc.owners import follow_accounts, owner_notes
from bootd.operations.etc.undecided import write_undecided
from bootd.operations.etc_derive import write_due
from bootd.operations.etc_reports import write_report
from bootd.operations.host import Host
from bootd.operations.machine.staged import forget_staged
from bootd.operations.machine.survey import Survey, take_survey
from bootd.operations.progress import Phase, Progress
from bootd.operations.upgrade.arguments import merge_machine_arguments

LOCK_WAIT_SECONDS: Final = 120.0
"""At shutdown a job that is being cancelled may still hold the lock for a moment."""


def finalize(host: Host, progress: Progress, *, asked: bool = False) -> FinalizeDocument:
    """Make the staged deployment the one that boots next.

    Nothing staged is fine and changes nothing; so is that updates are held, where nobody asked for
    what is staged after the hold was placed.

    Args:
        host: the machine.
        progress: told what is done.
        asked: a person wants it now, whoever holds updates, and says when the machine restarts.

    Raises:
        NoBootPartitionError: no partition is proven to be ``$BOOT``; nothing was written to any.
        BootPartitionReadOnlyError: it is read-only, and a remount did not change that.
        BootPartitionFullError, NoSpaceError, WriteFailedError: there is no room or the disk failed.
        DamagedRecordError, DamagedImageError, DamagedObjectError: the store is damaged.
        BusyError: another process held the store for two minutes.
    """
    with host.sysroot.lock(exclusive=True, wait_seconds=LOCK_WAIT_SECONDS):
        survey = take_survey(host.sysroot)
        if survey.staged is None:
            forget_staged(host.sysroot)
            return FinalizeDocument(deployment=None, entry=None, etc=None)
        now = host.clock.now()
        if not asked and survey.intent.is_held_back(now):
            held_by = survey.intent.hold_at(now)
            return FinalizeDocument(deployment=None, entry=None, etc=None, held_by=held_by)
        progress.report(Phase.FINALIZING)
        try:
            require_boot(host.sysroot)
            make_writable(host.sysroot)
            return _finalize_locked(host, survey, survey.records[survey.staged], by_hand=asked)
        except BootdError as error:
            _remember_failure(host, error)
            raise


def _finalize_locked(
    host: Host, survey: Survey, record: DeploymentRecord, *, by_hand: bool
) -> FinalizeDocument:
    moves = coming_moves(host, survey, record.id)
    record = follow_accounts(host, survey, record, moves)
    merged = _install_etc(host, survey, record, moves)
    given_up = install_with_room(host, survey, record)
    record = merge_machine_arguments(host, survey, record)
    keep_fallback_next(host, survey)
    entry = next_entry(host, record, tries=host.configuration.tries)
    entry = with_added_lines(host.sysroot, entry, survey.entry(survey.current))
    commit_entry(host.sysroot, entry)
    # Not earlier: until the commit the record says what was edited when it was staged.
    write_edits(host.sysroot, host.sysroot.deployment(record.id), merged.edits)
    await_boot(host.sysroot, record.id, by_hand=by_hand)
    return FinalizeDocument(
        deployment=record.id, entry=entry.file_name, etc=merged.report, given_up=given_up
    )


def _install_etc(
    host: Host, survey: Survey, record: DeploymentRecord, moves: tuple[Move, ...]
) -> MergedEtc:
    disk = host.sysroot.disk
    folder = host.sysroot.deployment(record.id)
    finished = folder / "etc"
    building = temporary_name(finished)
    disk.remove_tree(building)
    merged = merge_into(host, survey, record.id, building, moves)
    disk.remove_tree(finished)
    disk.publish_directory(building, finished)
    notes = owner_notes(record.mapped_files, record.ownerless_files)
    merged = replace(merged, report=with_notes(merged.report, notes))
    write_report(host.sysroot, folder, merged.report)
    write_undecided(host.sysroot, folder, merged.undecided)
    write_due(host.sysroot, folder, merged.due)
    write_chosen(host.sysroot, folder, merged.chosen)
    return merged


def _remember_failure(host: Host, error: BootdError) -> None:
    host.sysroot.change_intent(lambda _: {"finalize_failure": error.message[:4_096]})
