"""Changing a live ``/etc`` at a few paths: back to a default, to an image's version, to a copy.

What is to stand is built beside ``/etc``, made durable, and then moved in, a path at a time: a file
replaces a file in one step. What stood there is moved out and removed last; whoever calls this has
a copy of it. Folders are reached through descriptors, a name at a time, so that nothing is written
through a symbolic link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bootd.durable import Disk, storage_errors
from bootd.etc.disk.contents import Openable
from bootd.etc.disk.descriptors import closing, open_folder, open_parent, opened_folder
from bootd.etc.disk.write import Source, dress_folder, empty_folder, write_tree
from bootd.etc.rules.compare import LABELS, same_metadata, same_node
from bootd.etc.rules.decide import decide
from bootd.model.errors import WriteFailedError
from bootd.model.etc.report import etc_path
from bootd.model.tree import Directory, Metadata, Node, RegularFile, SpecialFile, Symlink

_NEW: Final = "new"
_OLD: Final = "old"


@dataclass(frozen=True, slots=True)
class Change:
    """What stands at a path and what is to, or None. A folder that stays means itself alone."""

    path: bytes
    live: Node | None
    wanted: Node | None


def changes_to(path: bytes, live: Node | None, wanted: Node | None) -> Iterator[Change]:
    """Yield what has to change so that `wanted` stands where `live` does. Pure."""
    if isinstance(live, Directory) and isinstance(wanted, Directory):
        if not same_metadata(live, wanted):
            yield Change(path, live, wanted)
        prefix = path + b"/" if path else b""
        for name in sorted(live.entries.keys() | wanted.entries.keys()):
            yield from changes_to(prefix + name, live.entries.get(name), wanted.entries.get(name))
    elif not same_node(live, wanted) and not isinstance(wanted, SpecialFile):
        yield Change(path, live, wanted)


def apply_changes(
    disk: Disk, etc: Path, work: Path, changes: Sequence[Change], contents: Openable
) -> None:
    """Make the changes durable, in their order.

    Args:
        disk: the gateway.
        etc: the live ``/etc``.
        work: a folder on the same file system that does not exist; it is removed in the end.
        changes: at paths whose folder is there, or comes by an earlier change.
        contents: where the contents of what is wanted come from.

    Raises:
        NoSpaceError: there is no room; nothing was changed.
        WriteFailedError: the kernel refused, or somebody changed the folders meanwhile.
        DamagedObjectError: a content is missing; nothing was changed.
    """
    disk.make_directory(work)
    _build(work / _NEW, changes, contents)
    disk.sync_filesystem(work)
    with opened_folder(etc) as root:
        applying = _Applying(disk, root, etc, work)
        for number, change in enumerate(changes):
            applying.apply(number, change)
    disk.remove_tree(work)


def _build(folder: Path, changes: Sequence[Change], contents: Openable) -> None:
    wanted = Directory(
        Metadata(permissions=0o700, uid=os.getuid(), gid=os.getgid()),
        {
            b"%d" % number: _labelled(change.wanted, change.live)
            for number, change in enumerate(changes)
            if change.wanted is not None
        },
    )
    nothing = Directory(wanted.metadata)
    plan = decide(nothing, nothing, wanted)
    with empty_folder(folder) as descriptor:
        write_tree(plan.root, descriptor, folder, Source(None, contents))


def _labelled(wanted: Node, live: Node | None) -> Node:
    """Give what replaces a path the label that the machine's own policy gave it."""
    if live is None:
        return wanted
    labels = {name: value for name, value in live.metadata.xattrs.items() if name in LABELS}
    if not labels:
        return wanted
    dress = replace(wanted.metadata, xattrs=wanted.metadata.xattrs | labels)
    match wanted:
        case RegularFile() | Directory() | Symlink() | SpecialFile():
            return replace(wanted, metadata=dress)


@dataclass(frozen=True, slots=True)
class _Applying:
    disk: Disk
    root: int
    etc: Path
    work: Path

    def apply(self, number: int, change: Change) -> None:
        wanted = change.wanted
        if not change.path:
            if wanted is not None:
                dress_folder(self.root, self.etc, change.path, wanted.metadata)
            return
        place = self.etc / os.fsdecode(change.path)
        with _parent(self.root, change.path) as parent:
            kind = _kind(parent, place)
            there = kind is not None and stat.S_ISDIR(kind)
            if there and isinstance(wanted, Directory):
                with closing(open_folder(os.fsencode(place.name), parent)) as folder:
                    if folder is not None:
                        dress_folder(folder, self.etc, change.path, wanted.metadata)
                return
            if kind is not None and (wanted is None or there or isinstance(wanted, Directory)):
                self.disk.move_out(parent, place, self.work / f"{_OLD}-{number}")
            if wanted is not None:
                self.disk.move_in(self.work / _NEW / str(number), parent, place)


@contextmanager
def _parent(root: int, path: bytes) -> Iterator[int]:
    with closing(open_parent(root, path)) as parent:
        if parent is None:
            raise WriteFailedError(
                f"the folder of {etc_path(path)} is no longer one",
                hint="Somebody changed /etc at the same time. Try again.",
            )
        yield parent


def _kind(parent: int, place: Path) -> int | None:
    try:
        with storage_errors("look at", place):
            return os.stat(place.name, dir_fd=parent, follow_symlinks=False).st_mode
    except WriteFailedError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
