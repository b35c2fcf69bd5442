"""One change of the running deployment's ``/etc``: completed, refused or kept, then made.

Order of writes: a copy of what stands there, so that the change can be undone; what is to stand,
built and made durable beside; each path. A cut leaves some paths changed and the copy of all of
them. With a dry run nothing of it is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bootd.durable import temporary_name
from bootd.etc.accounts.records import DATABASES
from bootd.etc.disk.change import Change, apply_changes
from bootd.etc.disk.contents import Openable
from bootd.etc.disk.snapshot import Snapshot
from bootd.model.deployment import DeploymentId
from bootd.model.errors import InvalidArgumentError, NoSuchDeploymentError
from bootd.model.etc.change import MAX_PATHS, CopyReason, EtcChangeDocument, Undecided
from bootd.model.etc.report import asked_below_etc, etc_path
from bootd.model.tree import Directory, Metadata, Node, Symlink, lookup, walk
from bootd.operations.etc_copies import keep_copy
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey, take_survey

ACCOUNTS: Final = frozenset(name.encode() for name in DATABASES)
"""Paths that are never replaced as a whole: users of today would be gone."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be changed.

    Attributes:
        reason: why, for the copy.
        changes: at each path once, folders before what is in them.
        contents: where the contents come from.
        decided: the questions that are answered by it; an undone answer is asked again.
    """

    reason: CopyReason
    changes: Sequence[Change]
    contents: Openable
    decided: Sequence[Undecided] = ()


def make_change(
    host: Host, current: DeploymentId, wanted: Wanted, *, dry_run: bool
) -> EtcChangeDocument:
    """Keep what stands, then change it; or, as a dry run, only tell.

    Args:
        host: the machine, locked by the caller.
        current: the deployment whose ``/etc`` it is.
        wanted: what is to stand.
        dry_run: change nothing.

    Raises:
        NoSpaceError, WriteFailedError, DamagedObjectError: nothing, or not all, was changed.
    """
    changes = wanted.changes
    kept = None
    if changes and not dry_run:
        kept = keep_copy(
            host,
            current,
            wanted.reason,
            [entry for change in changes for entry in _standing(change)],
            [change.path for change in changes if change.live is None],
            decided=wanted.decided,
        )
        etc = host.sysroot.deployment(current) / "etc"
        apply_changes(host.sysroot.disk, etc, temporary_name(etc), changes, wanted.contents)
    paths = [etc_path(change.path) for change in changes]
    removed = {
        etc_path(path)
        for change in changes
        if not isinstance(change.wanted, Directory)
        for path, _ in _standing(change)
        if change.wanted is None or path != change.path
    }
    decided = list(dict.fromkeys(one.conflict.path for one in wanted.decided))
    return EtcChangeDocument(
        dry_run=dry_run,
        decided=decided[:MAX_PATHS],
        changed=paths[:MAX_PATHS],
        removed=sorted(removed)[:MAX_PATHS],
        more_changed=max(0, len(paths) - MAX_PATHS),
        kept_as=None if kept is None else kept.name,
        not_kept=[] if kept is None else kept.left_out,
    )


def completed(changes: Iterable[Change], snapshot: Snapshot, defaults: Directory) -> list[Change]:
    """Return changes that can be made one after the other: each path once, its folders first.

    Args:
        changes: what is wanted, in any order.
        snapshot: of what stands.
        defaults: where the dress of folders comes from that are not there.

    Raises:
        InvalidArgumentError: something else is in a folder's place, which nobody asked to replace;
            or the kernel would refuse some of it. Nothing is to be changed then.
    """
    listed = _with_parents(_without_covered(changes), snapshot.root, defaults)
    _refuse_immutable(listed, snapshot)
    return listed


def relative(path: str) -> bytes:
    """Return a path that somebody wants to change, below ``/etc``.

    Raises:
        InvalidArgumentError: it is not below ``/etc``, or is ``/etc``, or a user database.
    """
    below = asked_below_etc(path)
    if not below:
        raise InvalidArgumentError("all of /etc at once is too much; name what is in it")
    if below in ACCOUNTS:
        raise InvalidArgumentError(
            f"{path} is not put back as a whole: its users and groups would be gone",
            hint="Change them with useradd, usermod, groupmod and their like.",
        )
    return below


def is_within(path: bytes, folder: bytes) -> bool:
    """Tell whether a path is another one, or below it."""
    return path == folder or path.startswith(folder + b"/")


def current_deployment(host: Host) -> DeploymentId:
    """Return the deployment whose ``/etc`` is the machine's: the one that runs, else what is next.

    Raises:
        NoSuchDeploymentError: there is none.
    """
    return current_of(host, take_survey(host.sysroot))


def current_of(host: Host, survey: Survey) -> DeploymentId:
    """Return the same of a machine that was surveyed.

    Raises:
        NoSuchDeploymentError: there is none.
    """
    if survey.current is None:
        hint = f"Its boot entries are not in {host.sysroot.boot}: mount the boot partition there."
        raise NoSuchDeploymentError(
            "this machine has no deployment yet"
            if not survey.records
            else "which deployment boots next is not known",
            hint=hint if survey.records else "",
        )
    return survey.current


def _without_covered(changes: Iterable[Change]) -> Iterator[Change]:
    """Leave out what is below a path at which no folder is to stand: it goes with that path."""
    by_path = {change.path: change for change in changes}
    whole = {path for path, one in by_path.items() if not isinstance(one.wanted, Directory)}
    for path in sorted(by_path):
        above = (path[:end] for end, letter in enumerate(path) if letter == ord("/"))
        if not any(folder in whole for folder in above):
            yield by_path[path]


def _refuse_immutable(changes: Iterable[Change], snapshot: Snapshot) -> None:
    """Change nothing if the kernel would refuse some of it."""
    fixed = set(snapshot.immutable)
    for change in changes:
        if fixed & {change.path, change.path.rpartition(b"/")[0]}:
            raise InvalidArgumentError(
                f"{etc_path(change.path)}, or its folder, is immutable; nothing was changed",
                hint="'chattr -i -a PATH' lets it be changed.",
            )


def _standing(change: Change) -> list[tuple[bytes, Node]]:
    """Return what a change takes away: a folder with all that is in it, if it does not stay."""
    if change.live is None:
        return []
    found: list[tuple[bytes, Node]] = [(change.path, change.live)]
    if isinstance(change.live, Directory) and not isinstance(change.wanted, Directory):
        found += walk(change.live, change.path + b"/")
    return found


def _with_parents(changes: Iterable[Change], live: Directory, defaults: Directory) -> list[Change]:
    """Let the folders come first that a path is in and that are not there.

    Raises:
        InvalidArgumentError: something else is in a folder's place, which nobody asked to replace.
    """
    made: dict[bytes, Change] = {}
    for change in changes:
        parts = change.path.split(b"/")
        for depth in range(1, len(parts)):
            path = b"/".join(parts[:depth])
            if change.wanted is None or path in made:
                continue
            there = lookup(live, path)
            if there is not None and not isinstance(there, Directory):
                what = "a symbolic link" if isinstance(there, Symlink) else "no folder"
                raise InvalidArgumentError(
                    f"{etc_path(path)} is {what} here, so {etc_path(change.path)} is not in /etc; "
                    "nothing was changed",
                    hint=f"Change it where it is, or name {etc_path(path)} itself.",
                )
            if there is None:
                default = lookup(defaults, path)
                dress = default.metadata if isinstance(default, Directory) else Metadata()
                made[path] = Change(path, there, Directory(dress))
        made[change.path] = change
    return list(made.values())
