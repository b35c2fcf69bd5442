"""What a machine changed in its ``/etc`` against the defaults it runs with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bootd.etc.disk.contents import Contents
from bootd.etc.disk.snapshot import scan_folder
from bootd.etc.report import describe
from bootd.etc.rules.compare import same_content, same_metadata, same_type
from bootd.etc.rules.decide import NEVER_CARRIED
from bootd.etc.rules.selection import Selection
from bootd.model.etc.report import (
    MAX_CHANGES,
    ChangeKind,
    EtcChange,
    EtcDiff,
    EtcStep,
    etc_path,
)
from bootd.model.tree import Directory, Node


def diff(
    base: Directory, mine: Path, contents: Contents, chosen: Sequence[Selection] = ()
) -> EtcDiff:
    """Compare a machine's ``/etc`` with its defaults.

    Of an added folder every entry is listed, of a removed one only the folder.

    Args:
        base: the defaults.
        mine: the machine's ``/etc``.
        contents: how contents are measured.
        chosen: only what one of these takes; all of it where there are none.

    Raises:
        EtcTooLargeError: see `scan_folder`.
        WriteFailedError: the kernel refused to read.
    """
    tree = scan_folder(mine, contents, (base,)).root
    changes: list[EtcChange] = []
    truncated = 0
    for path, kind, before, after in changed_nodes(base, tree):
        if chosen and not any(_is_of(one, etc_path(path), kind) for one in chosen):
            continue
        if len(changes) == MAX_CHANGES:
            truncated += 1
            continue
        changes.append(
            EtcChange(
                path=etc_path(path),
                kind=kind,
                base=describe(before, path, mine, contents),
                mine=describe(after, path, mine, contents),
            )
        )
    return EtcDiff(changes=changes, truncated=truncated)


def _is_of(named: Selection, path: str, kind: ChangeKind) -> bool:
    is_whole = kind in (ChangeKind.REMOVED, ChangeKind.TYPE)
    return named.takes(path) or (is_whole and named.is_below(path))


def steps(mine: Directory, merged: Directory) -> tuple[list[EtcStep], int]:
    """Return what a merge makes of a machine's tree: so many paths, and how many more. Pure."""
    listed = [
        EtcStep(path=etc_path(path), kind=kind) for path, kind, _, _ in changed_nodes(mine, merged)
    ]
    return listed[:MAX_CHANGES], max(0, len(listed) - MAX_CHANGES)


def changed_nodes(
    base: Node | None, mine: Node | None, path: bytes = b""
) -> Iterator[tuple[bytes, ChangeKind, Node | None, Node | None]]:
    """Yield path, kind, default and what stands there for each difference, as `diff` lists them."""
    kind = _kind(base, mine)
    if kind is not None:
        yield path, kind, base, mine
    if not isinstance(mine, Directory):
        return
    defaults = base.entries if isinstance(base, Directory) else {}
    for name in sorted(defaults.keys() | mine.entries.keys()):
        before, after = defaults.get(name), mine.entries.get(name)
        if before is not after and (path or name not in NEVER_CARRIED):
            yield from changed_nodes(before, after, path + b"/" + name if path else name)


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
