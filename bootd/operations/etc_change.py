"""Changing the running deployment's ``/etc``: resets, decisions of conflicts, restored copies.

Order of writes: a copy of what stands there, so that each change can be undone; what is to stand,
built and made durable beside; each path; then the record of what is undecided. A cut leaves some
paths changed and the copy of all of them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from bootd.durable import temporary_name
from bootd.etc.accounts.records import DATABASES
from bootd.etc.archive import opened_archive
from bootd.etc.change import Change, apply_changes, changes_to
from bootd.etc.contents import Openable
from bootd.etc.folder_contents import FolderContents
from bootd.etc.settle_text import NEW_SUFFIX
from bootd.etc.snapshot import Snapshot, scan_folder
from bootd.model.deployment import DeploymentId
from bootd.model.errors import (
    InvalidArgumentError,
    NoSuchDeploymentError,
)
from bootd.model.etc_change import (
    MAX_PATHS,
    Choice,
    CopyReason,
    EtcChangeDocument,
    Undecided,
)
from bootd.model.etc_report import ConflictKind, etc_path, unescape
from bootd.model.tree import (
    Directory,
    Metadata,
    Node,
    RegularFile,
    SpecialFile,
    Symlink,
    lookup,
    walk,
)
from bootd.operations.etc_copies import archive_path, keep_copy, read_copy
from bootd.operations.etc_merge import defaults_in
from bootd.operations.etc_undecided import read_undecided, write_undecided
from bootd.operations.host import Host
from bootd.operations.progress import Phase, Progress
from bootd.operations.survey import survey
from bootd.store.contents import StoreContents
from bootd.store.image import EROFS_NAME

MAX_EDITED: Final = 512 << 10
"""Largest text, in bytes, that a conflict can be resolved with by hand."""
_ACCOUNTS: Final = frozenset(name.encode() for name in DATABASES)


def reset(host: Host, progress: Progress, *, paths: Sequence[str]) -> EtcChangeDocument:
    """Put paths back to what the running deployment's image ships.

    Args:
        host: the machine.
        progress: told what is done.
        paths: absolute, as reports print them; a folder stands for all that is in it.

    Raises:
        InvalidArgumentError: a path is not below ``/etc``, or is ``/etc``, or a user database, or
            below a symbolic link or file that would have to make room.
        NoSuchDeploymentError: no deployment runs or is next.
        NoSpaceError, WriteFailedError, DamagedObjectError: nothing, or not all, was changed.
        BusyError: another process changes the store.
    """
    wanted = [_relative(path) for path in paths]
    with host.sysroot.lock(exclusive=True):
        progress.report(Phase.FINALIZING)
        current = _current(host)
        folder = host.sysroot.deployment(current)
        contents = StoreContents(host.sysroot)
        with defaults_in(folder / EROFS_NAME) as defaults:
            snapshot = scan_folder(folder / "etc", contents, (defaults,))
            live = snapshot.root
            changes = [
                change
                for path in wanted
                for change in _with_parents(
                    changes_to(path, lookup(live, path), lookup(defaults, path)), live, defaults
                )
            ]
            _refuse_immutable(changes, snapshot)
            return _change(host, current, CopyReason.RESET, changes, contents)


def restore(
    host: Host, progress: Progress, *, copy: str, paths: Sequence[str] = ()
) -> EtcChangeDocument:
    """Put what a copy holds back into the running deployment's ``/etc``.

    Args:
        host: the machine.
        progress: told what is done.
        copy: its name.
        paths: only these, with what is below them; none for all but the user databases.

    Raises:
        InvalidArgumentError: there is no such copy, or it has nothing at a path.
        NoSuchDeploymentError, NoSpaceError, WriteFailedError, DamagedObjectError, BusyError: see
            `reset`.
    """
    with host.sysroot.lock(exclusive=True):
        progress.report(Phase.FINALIZING)
        record = read_copy(host, copy)
        current = _current(host)
        folder = host.sysroot.deployment(current)
        with opened_archive(archive_path(host, copy), folder) as archive:
            absent = {unescape(path).removeprefix(b"/etc/"): None for path in record.absent}
            held: dict[bytes, Node | None] = {**archive.entries, **absent}
            chosen = _chosen(held, [_relative(path) for path in paths])
            snapshot = scan_folder(folder / "etc")
            live = snapshot.root
            changes = [Change(path, lookup(live, path), node) for path, node in chosen.items()]
            changes = _with_parents(changes, live, Directory(Metadata()))
            _refuse_immutable(changes, snapshot)
            document = _change(host, current, CopyReason.RESTORED, changes, archive)
            skipped = [] if paths else sorted(etc_path(one) for one in held.keys() & _ACCOUNTS)
            return document.model_copy(update={"skipped": skipped})


def resolve(
    host: Host, progress: Progress, *, path: str, choice: str, content: str = ""
) -> EtcChangeDocument:
    """Decide a conflict that the last merge of the running deployment's ``/etc`` left.

    Args:
        host: the machine.
        progress: told what is done.
        path: as reports print it.
        choice: ``mine`` leaves what stands; ``theirs`` takes the image's; ``edit`` takes `content`.
        content: a text in base64.

    Raises:
        InvalidArgumentError: nothing is undecided there, or the choice cannot be made.
        NoSuchDeploymentError, NoSpaceError, WriteFailedError, DamagedObjectError, BusyError: see
            `reset`.
    """
    chosen = _parse_choice(choice)
    edited = _decoded(content) if chosen is Choice.EDIT else None
    with host.sysroot.lock(exclusive=True):
        progress.report(Phase.FINALIZING)
        current = _current(host)
        undecided = read_undecided(host.sysroot, current)
        here = [one for one in undecided.conflicts if one.conflict.path == path]
        if not here:
            raise InvalidArgumentError(
                f"nothing is undecided at {path[:200]}",
                hint="'bootctl-py etc conflicts' lists what is; what is staged has to run first.",
            )
        document = _decide(host, current, here, chosen, edited)
        rest = [one for one in undecided.conflicts if one.conflict.path != path]
        write_undecided(host.sysroot, host.sysroot.deployment(current), rest)
        return document


def _decide(
    host: Host,
    current: DeploymentId,
    undecided: Sequence[Undecided],
    choice: Choice,
    edited: bytes | None,
) -> EtcChangeDocument:
    path = unescape(undecided[0].conflict.path).removeprefix(b"/etc/").removeprefix(b"/etc")
    kinds = {one.conflict.kind for one in undecided}
    if ConflictKind.ACCOUNT in kinds and choice is not Choice.MINE:
        raise InvalidArgumentError(
            "users and groups are decided with useradd, usermod, groupmod and their like",
            hint=f"Then 'bootctl-py etc resolve {undecided[0].conflict.path} mine'.",
        )
    folder = host.sysroot.deployment(current)
    contents = StoreContents(host.sysroot)
    with defaults_in(folder / EROFS_NAME) as defaults:
        snapshot = scan_folder(folder / "etc", contents, (defaults,))
        live = snapshot.root
        there = lookup(live, path)
        default = lookup(defaults, path)
        wanted = there
        if choice is Choice.THEIRS:
            wanted = _theirs(there, default, kinds)
        elif edited is not None:
            wanted = _edited(path, there, edited, host.clock.now().timestamp())
        changes = [] if choice is Choice.MINE else [*changes_to(path, there, wanted)]
        beside = lookup(live, path + NEW_SUFFIX)
        if beside is not None:
            changes.append(Change(path + NEW_SUFFIX, beside, None))
        changes = _with_parents(changes, live, defaults)
        _refuse_immutable(changes, snapshot)
        # What keeps its content but for metadata is read from where it lies.
        own = [(path, wanted)] if isinstance(wanted, RegularFile) and wanted.verity is None else []
        sources = FolderContents(folder / "etc", own, contents)
        return _change(host, current, CopyReason.RESOLVED, changes, sources)


def _edited(path: bytes, live: Node | None, text: bytes, now: float) -> Node:
    if not isinstance(live, RegularFile):
        raise InvalidArgumentError(f"{etc_path(path)} is no file that could be edited")
    dress = replace(live.metadata, mtime_seconds=int(now), mtime_nanoseconds=0)
    return RegularFile(dress, len(text), text)


def _theirs(live: Node | None, default: Node | None, kinds: set[ConflictKind]) -> Node | None:
    """Return the image's node; of content and metadata only what is undecided."""
    if live is None or default is None or type(live) is not type(default):
        return default
    if kinds == {ConflictKind.METADATA}:
        return _with_metadata(live, default.metadata, time=live.metadata)
    if ConflictKind.METADATA not in kinds:
        return _with_metadata(default, live.metadata, time=default.metadata)
    return default


def _with_metadata(node: Node, dress: Metadata, time: Metadata) -> Node:
    dress = replace(
        dress, mtime_seconds=time.mtime_seconds, mtime_nanoseconds=time.mtime_nanoseconds
    )
    match node:
        case RegularFile() | Directory() | Symlink() | SpecialFile():
            return replace(node, metadata=dress)


def _change(
    host: Host,
    current: DeploymentId,
    reason: CopyReason,
    changes: Sequence[Change],
    contents: Openable,
) -> EtcChangeDocument:
    """Keep what stands, then change it."""
    if not changes:
        return EtcChangeDocument(changed=[], kept_as=None)
    kept = keep_copy(
        host,
        current,
        reason,
        [entry for change in changes for entry in _standing(change)],
        [change.path for change in changes if change.live is None],
    )
    etc = host.sysroot.deployment(current) / "etc"
    apply_changes(host.sysroot.disk, etc, temporary_name(etc), changes, contents)
    paths = [etc_path(change.path) for change in changes]
    removed = {
        etc_path(path)
        for change in changes
        if not isinstance(change.wanted, Directory)
        for path, _ in _standing(change)
        if change.wanted is None or path != change.path
    }
    return EtcChangeDocument(
        changed=paths[:MAX_PATHS],
        removed=sorted(removed)[:MAX_PATHS],
        more_changed=max(0, len(paths) - MAX_PATHS),
        kept_as=None if kept is None else kept.name,
        not_kept=[] if kept is None else kept.left_out,
    )


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


def _chosen(held: dict[bytes, Node | None], paths: Sequence[bytes]) -> dict[bytes, Node | None]:
    if not paths:
        # As when one of them is named: the users of today would be gone.
        return {one: node for one, node in held.items() if one not in _ACCOUNTS}
    for path in paths:
        if not any(_is_within(one, path) for one in held):
            raise InvalidArgumentError(f"the copy has nothing at {etc_path(path)}")
    return {one: node for one, node in held.items() if any(_is_within(one, path) for path in paths)}


def _is_within(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder + b"/")


def _relative(path: str) -> bytes:
    found = unescape(path).rstrip(b"/")
    names = found.split(b"/")
    if names[:2] != [b"", b"etc"] or any(name in (b"", b".", b"..") for name in names[2:]):
        raise InvalidArgumentError(
            f"{path[:200]!r} is no path below /etc",
            hint="Write it from the root and without '..', such as /etc/ssh/sshd_config.",
        )
    relative = b"/".join(names[2:])
    if not relative:
        raise InvalidArgumentError("all of /etc at once is too much; name what is in it")
    if relative in _ACCOUNTS:
        raise InvalidArgumentError(
            f"{path} is not put back as a whole: its users and groups would be gone",
            hint="Change them with useradd, usermod, groupmod and their like.",
        )
    return relative


def _parse_choice(choice: str) -> Choice:
    try:
        return Choice(choice)
    except ValueError as error:
        raise InvalidArgumentError(
            f"{choice[:100]!r} decides nothing", hint="Write mine, theirs or edit."
        ) from error


def _decoded(content: str) -> bytes:
    try:
        text = base64.b64decode(content, validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidArgumentError("the text is not in base64") from error
    if len(text) > MAX_EDITED:
        raise InvalidArgumentError(f"the text has more than {MAX_EDITED >> 10} KiB")
    return text


def _current(host: Host) -> DeploymentId:
    current = survey(host.sysroot).current
    if current is None:
        raise NoSuchDeploymentError("this machine has no deployment yet")
    return current
