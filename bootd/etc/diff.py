"""What a machine changed in its ``/etc`` against the defaults it runs with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bootd.etc.compare import same_content, same_metadata, same_type
from bootd.etc.contents import Contents
from bootd.etc.decide import NEVER_CARRIED
from bootd.etc.report import describe
from bootd.etc.snapshot import scan_folder
from bootd.model.etc_report import MAX_CHANGES, ChangeKind, EtcChange, EtcDiff, etc_path
from bootd.model.tree import Directory, Node


def diff(base: Directory, mine: Path, contents: Contents) -> EtcDiff:
    """Compare a machine's ``/etc`` with its defaults.

    Of an added folder every entry is listed, of a removed one only the folder.

    Raises:
        EtcTooLargeError: see `scan_folder`.
        WriteFailedError: the kernel refused to read.
    """
    return diff_trees(base, scan_folder(mine, contents, (base,)).root, mine, contents)


def diff_trees(base: Directory, mine: Directory, folder: Path, contents: Contents) -> EtcDiff:
    """Compare a tree with its defaults, as `diff` does.

    Args:
        base: the defaults.
        mine: the tree, with the contents known that could be those of the defaults.
        folder: where contents can be read that are not known.
        contents: how contents are measured.
    """
    changes: list[EtcChange] = []
    truncated = 0
    for path, kind, before, after in _changes(b"", base, mine):
        if len(changes) == MAX_CHANGES:
            truncated += 1
            continue
        changes.append(
            EtcChange(
                path=etc_path(path),
                kind=kind,
                base=describe(before, path, folder, contents),
                mine=describe(after, path, folder, contents),
            )
        )
    return EtcDiff(changes=changes, truncated=truncated)


def _changes(
    path: bytes, base: Node | None, mine: Node | None
) -> Iterator[tuple[bytes, ChangeKind, Node | None, Node | None]]:
    kind = _kind(base, mine)
    if kind is not None:
        yield path, kind, base, mine
    if not isinstance(mine, Directory):
        return
    defaults = base.entries if isinstance(base, Directory) else {}
    for name in sorted(defaults.keys() | mine.entries.keys()):
        if path or name not in NEVER_CARRIED:
            below = path + b"/" + name if path else name
            yield from _changes(below, defaults.get(name), mine.entries.get(name))


def _kind(base: Node | None, mine: Node | None) -> ChangeKind | None:
    if base is None:
        return ChangeKind.ADDED
    if mine is None:
        return ChangeKind.REMOVED
    if not same_type(base, mine):
        return ChangeKind.TYPE
    content, metadata = same_content(base, mine), same_metadata(base, mine)
    if content:
        return None if metadata else ChangeKind.METADATA
    return ChangeKind.CONTENT if metadata else ChangeKind.CONTENT_AND_METADATA
