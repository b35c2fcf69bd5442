"""Deciding conflicts: what stands from now on at paths where both sides disagree.

One call decides any number of them, all or none. Order of writes: as for every change
(`bootd.operations.etc.apply`), then the record of what is undecided.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from bootd.etc.disk.change import Change, changes_to
from bootd.etc.disk.folder_contents import FolderContents
from bootd.etc.disk.snapshot import scan_folder
from bootd.etc.rules.selection import Selection
from bootd.etc.rules.settle_text import NEW_SUFFIX
from bootd.model.errors import InvalidArgumentError
from bootd.model.etc.change import (
    MAX_PATHS,
    Choice,
    CopyReason,
    EtcChangeDocument,
    Undecided,
)
from bootd.model.etc.report import ConflictKind, below_etc, etc_path
from bootd.model.tree import Directory, Metadata, Node, RegularFile, SpecialFile, Symlink, lookup
from bootd.operations.etc.apply import Wanted, completed, current_deployment, make_change
from bootd.operations.etc.merge import defaults_in
from bootd.operations.etc.undecided import read_undecided, write_undecided
from bootd.operations.host import Host
from bootd.operations.machine.message_of_the_day import show_undecided
from bootd.operations.progress import Phase, Progress
from bootd.store.contents import StoreContents
from bootd.store.images.image import EROFS_NAME

MAX_EDITED: Final = 512 << 10
"""Largest text, in bytes, that a conflict can be resolved with by hand."""


def resolve(
    host: Host,
    progress: Progress,
    *,
    path: str,
    choice: str,
    content: str = "",
    also: Sequence[str] = (),
    dry_run: bool = False,
) -> EtcChangeDocument:
    """Decide conflicts that the last merge of the running deployment's ``/etc`` left.

    Args:
        host: the machine.
        progress: told what is done.
        path: as reports print it, where something is undecided; or a folder, for all that is
            undecided below it; or a pattern, as in ``[etc.policy]`` of bootd.toml(5).
        choice: ``mine`` leaves what stands; ``theirs`` takes the image's; ``edit`` takes `content`.
        content: a text in base64.
        also: further paths and patterns.
        dry_run: tell what would be decided and changed, and change nothing.

    Raises:
        InvalidArgumentError: nothing is undecided at one of them, or the choice cannot be made;
            nothing was changed.
        NoSuchDeploymentError, NoSpaceError, WriteFailedError, DamagedObjectError, BusyError: see
            `bootd.operations.etc_change.reset`.
    """
    chosen = _parse_choice(choice)
    edited = _decoded(content) if chosen is Choice.EDIT else None
    selections = [Selection(one) for one in (path, *also)]
    with host.sysroot.lock(exclusive=not dry_run):
        progress.report(Phase.FINALIZING)
        current = current_deployment(host)
        undecided = read_undecided(host.sysroot, current).conflicts
        asked = _asked(undecided, selections, chosen)
        deciding = _Deciding(chosen, edited, host.clock.now().timestamp())
        folder = host.sysroot.deployment(current)
        contents = StoreContents(host.sysroot)
        with defaults_in(folder / EROFS_NAME) as defaults:
            snapshot = scan_folder(folder / "etc", contents, (defaults,))
            changes = [
                change
                for questions in asked.decided.values()
                for change in deciding.changes(questions, snapshot.root, defaults)
            ]
            sources = FolderContents(folder / "etc", deciding.own, contents)
            decided = [one for questions in asked.decided.values() for one in questions]
            wanted = Wanted(
                CopyReason.RESOLVED, completed(changes, snapshot, defaults), sources, decided
            )
            document = make_change(host, current, wanted, dry_run=dry_run)
        if not dry_run:
            rest = [one for one in undecided if one.conflict.path not in asked.decided]
            write_undecided(host.sysroot, folder, rest)
            show_undecided(host.sysroot)
        return document.model_copy(update={"undecided": asked.left[:MAX_PATHS]})


@dataclass(frozen=True, slots=True)
class _Asked:
    """The questions that are to be answered, by path, and paths that cannot be answered so."""

    decided: dict[str, list[Undecided]]
    left: list[str]


def _asked(
    undecided: Sequence[Undecided], selections: Sequence[Selection], choice: Choice
) -> _Asked:
    by_path: dict[str, list[Undecided]] = {}
    for one in undecided:
        by_path.setdefault(one.conflict.path, []).append(one)
    chosen: dict[str, list[Undecided]] = {}
    left: list[str] = []
    for selection in selections:
        named = selection.named in by_path
        paths = [selection.named] if named else [one for one in by_path if selection.takes(one)]
        if not paths:
            raise InvalidArgumentError(
                f"nothing is undecided at {selection.named[:200]}; nothing was changed",
                hint="'bootctl-py etc conflicts' lists what is; what is staged has to run first. "
                "A pattern has to be quoted, so that the shell leaves it alone.",
            )
        for path in paths:
            kinds = {one.conflict.kind for one in by_path[path]}
            if ConflictKind.ACCOUNT not in kinds or choice is Choice.MINE:
                chosen[path] = by_path[path]
            elif named or len(paths) == 1:
                raise InvalidArgumentError(
                    "users and groups are decided with useradd, usermod, groupmod and their like",
                    hint=f"Then 'bootctl-py etc resolve {path} mine'.",
                )
            elif path not in left:
                left.append(path)
    if choice is Choice.EDIT and len(chosen) > 1:
        raise InvalidArgumentError("one path at a time is edited; nothing was changed")
    return _Asked(dict(sorted(chosen.items())), left)


@dataclass(slots=True)
class _Deciding:
    """What each path is to hold; `own` are files whose content is read from where it lies."""

    choice: Choice
    edited: bytes | None
    now: float
    own: list[tuple[bytes, RegularFile]] = field(default_factory=list)

    def changes(
        self, questions: Sequence[Undecided], live: Directory, defaults: Directory
    ) -> Iterator[Change]:
        """Yield what changes at one path, and beside it."""
        path = below_etc(questions[0].conflict.path)
        there, default = lookup(live, path), lookup(defaults, path)
        if self.choice is not Choice.MINE:
            kinds = {one.conflict.kind for one in questions}
            wanted = self._wanted(path, there, default, kinds)
            if isinstance(wanted, RegularFile) and wanted.verity is None:
                self.own.append((path, wanted))
            yield from changes_to(path, there, wanted)
        beside = lookup(live, path + NEW_SUFFIX)
        if beside is not None:
            yield Change(path + NEW_SUFFIX, beside, None)

    def _wanted(
        self, path: bytes, there: Node | None, default: Node | None, kinds: set[ConflictKind]
    ) -> Node | None:
        if self.edited is None:
            return _theirs(there, default, kinds)
        return _edited(path, there, self.edited, self.now)


def _edited(path: bytes, live: Node | None, text: bytes, now: float) -> Node:
    if not isinstance(live, RegularFile):
        raise InvalidArgumentError(f"{etc_path(path)} is no file that could be edited")
    return RegularFile(live.metadata.with_mtime((int(now), 0)), len(text), text)


def _theirs(live: Node | None, default: Node | None, kinds: set[ConflictKind]) -> Node | None:
    """Return the image's node; of content and metadata only what is undecided."""
    if live is None or default is None or type(live) is not type(default):
        return default
    if kinds == {ConflictKind.METADATA}:
        return _with_metadata(live, default.metadata.with_mtime(live.metadata.mtime))
    if ConflictKind.METADATA not in kinds:
        return _with_metadata(default, live.metadata.with_mtime(default.metadata.mtime))
    return default


def _with_metadata(node: Node, metadata: Metadata) -> Node:
    match node:
        case RegularFile() | Directory() | Symlink() | SpecialFile():
            return replace(node, metadata=metadata)


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
