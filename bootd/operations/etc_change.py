"""Changing the running deployment's ``/etc``: resets, and copies that are restored.

Conflicts are decided in `bootd.operations.etc.resolve`. Order of writes: as for every change
(`bootd.operations.etc.apply`), then the record of what is undecided, where an answer is undone.
"""

from __future__ import annotations

from collections.abc import Sequence

from bootd.etc.disk.archive import opened_archive
from bootd.etc.disk.change import Change, changes_to
from bootd.etc.disk.snapshot import scan_folder
from bootd.model.deployment import DeploymentId
from bootd.model.errors import InvalidArgumentError
from bootd.model.etc.change import CopyReason, EtcChangeDocument, KeptCopy
from bootd.model.etc.report import below_etc, etc_path
from bootd.model.tree import Directory, Metadata, Node, lookup
from bootd.operations.etc import undecided as etc_undecided
from bootd.operations.etc.apply import (
    ACCOUNTS,
    Wanted,
    completed,
    current_deployment,
    is_within,
    make_change,
    relative,
)
from bootd.operations.etc.merge import defaults_in
from bootd.operations.etc.resolve import resolve
from bootd.operations.etc_copies import archive_path, read_copy
from bootd.operations.host import Host
from bootd.operations.machine.message_of_the_day import show_undecided
from bootd.operations.progress import Phase, Progress
from bootd.store.contents import StoreContents
from bootd.store.images.image import EROFS_NAME

__all__ = ["reset", "resolve", "restore"]


def reset(
    host: Host, progress: Progress, *, paths: Sequence[str], dry_run: bool = False
) -> EtcChangeDocument:
    """Put paths back to what the running deployment's image ships.

    Args:
        host: the machine.
        progress: told what is done.
        paths: absolute, as reports print them; a folder stands for all that is in it.
        dry_run: tell what would be changed, and change nothing.

    Raises:
        InvalidArgumentError: a path is not below ``/etc``, or is ``/etc``, or a user database, or
            below a symbolic link or file that would have to make room.
        NoSuchDeploymentError: no deployment runs or is next.
        NoSpaceError, WriteFailedError, DamagedObjectError: nothing, or not all, was changed.
        BusyError: another process changes the store.
    """
    wanted = [relative(path) for path in paths]
    with host.sysroot.lock(exclusive=not dry_run):
        progress.report(Phase.FINALIZING)
        current = current_deployment(host)
        folder = host.sysroot.deployment(current)
        contents = StoreContents(host.sysroot)
        with defaults_in(folder / EROFS_NAME) as defaults:
            snapshot = scan_folder(folder / "etc", contents, (defaults,))
            changes = [
                change
                for path in wanted
                for change in changes_to(path, lookup(snapshot.root, path), lookup(defaults, path))
            ]
            listed = completed(changes, snapshot, defaults)
            change = Wanted(CopyReason.RESET, listed, contents)
            return make_change(host, current, change, dry_run=dry_run)


def restore(
    host: Host,
    progress: Progress,
    *,
    copy: str,
    paths: Sequence[str] = (),
    dry_run: bool = False,
) -> EtcChangeDocument:
    """Put what a copy holds back into the running deployment's ``/etc``.

    Where that takes the answer to a conflict back, the conflict is undecided again.

    Args:
        host: the machine.
        progress: told what is done.
        copy: its name.
        paths: only these, with what is below them; none for all but the user databases.
        dry_run: tell what would be changed, and change nothing.

    Raises:
        InvalidArgumentError: there is no such copy, or it has nothing at a path.
        NoSuchDeploymentError, NoSpaceError, WriteFailedError, DamagedObjectError, BusyError: see
            `reset`.
    """
    with host.sysroot.lock(exclusive=not dry_run):
        progress.report(Phase.FINALIZING)
        record = read_copy(host, copy)
        current = current_deployment(host)
        folder = host.sysroot.deployment(current)
        with opened_archive(archive_path(host, copy), folder) as archive:
            absent = {below_etc(path): None for path in record.absent}
            held: dict[bytes, Node | None] = {**archive.entries, **absent}
            chosen = _chosen(held, [relative(path) for path in paths])
            snapshot = scan_folder(folder / "etc")
            live = snapshot.root
            changes = [Change(path, lookup(live, path), node) for path, node in chosen.items()]
            listed = completed(changes, snapshot, Directory(Metadata()))
            change = Wanted(CopyReason.RESTORED, listed, archive)
            document = make_change(host, current, change, dry_run=dry_run)
        if not dry_run:
            _ask_again(host, current, record, {change.path for change in listed})
        skipped = [] if paths else sorted(etc_path(one) for one in held.keys() & ACCOUNTS)
        return document.model_copy(update={"skipped": skipped})


def _ask_again(host: Host, current: DeploymentId, copy: KeptCopy, changed: set[bytes]) -> None:
    """Let those conflicts be undecided again whose answer was just taken back."""
    if copy.deployment != current:
        return
    known = etc_undecided.read_undecided(host.sysroot, current).conflicts
    again = [
        one
        for one in copy.decided
        if any(is_within(path, below_etc(one.conflict.path)) for path in changed)
        and one not in known
    ]
    if again:
        folder = host.sysroot.deployment(current)
        etc_undecided.write_undecided(host.sysroot, folder, [*known, *again])
        show_undecided(host.sysroot)


def _chosen(held: dict[bytes, Node | None], paths: Sequence[bytes]) -> dict[bytes, Node | None]:
    if not paths:
        # As when one of them is named: the users of today would be gone.
        return {one: node for one, node in held.items() if one not in ACCOUNTS}
    for path in paths:
        if not any(is_within(one, path) for one in held):
            raise InvalidArgumentError(f"the copy has nothing at {etc_path(path)}")
    return {one: node for one, node in held.items() if any(is_within(one, path) for path in paths)}
