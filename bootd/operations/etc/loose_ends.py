"""What a merged ``/etc`` asks for and does not get in the new image.

A symbolic link that led to something under the old image may lead nowhere under the new one: an
alternative, a unit, a certificate that is gone. And systemd applies presets only when a machine
starts for the first time, so a unit that comes later, and that a preset says to enable, is not
enabled. Neither is a question; both are told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Final

from bootd.etc.rules.compare import same_content
from bootd.model.errors import InvalidTreeError
from bootd.model.etc.report import MAX_NOTES, EtcNote, NoteKind, escape, etc_path
from bootd.model.links import steps
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
from bootd.operations.etc.undecided import own_text
from bootd.store.contents import StoreContents
from bootd.store.erofs.reader import ErofsImage

_OF_THE_IMAGE: Final = re.compile(rb"usr|bin|sbin|lib[0-9a-z]*")
"""Folders right below ``/`` of which an image holds all there is."""
_ELSEWHERE: Final = SpecialFile(Metadata(), 0)
"""Stands for what is in the machine's own folders: it may be there."""
_MAX_UNIT: Final = 65_536
_PULLS: Final = (b".wants", b".requires", b".upholds")
_INSTALL: Final = re.compile(rb"^\s*(WantedBy|RequiredBy|UpheldBy|Alias)\s*=", re.MULTILINE)


def loose_ends(
    merged: Directory,
    mine: tuple[Path, Directory],
    theirs: Directory,
    images: tuple[Path, Path],
    contents: StoreContents,
) -> list[EtcNote]:
    """Return notes of links to nowhere, and of units that only a preset would enable.

    Args:
        merged: the new deployment's ``/etc``.
        mine: the machine's ``/etc``, as a folder and as it was read.
        theirs: the new image's ``/etc``.
        images: the EROFS files of the image that runs, and of the new one.
        contents: where the contents of images come from.

    Raises:
        DamagedImageError, DamagedObjectError: an image cannot be read.
        WriteFailedError: the machine's own cannot be read.
    """
    with ErofsImage.open(images[0]) as old, ErofsImage.open(images[1]) as new:
        notes = [
            EtcNote(path=etc_path(path), kind=NoteKind.LEADS_NOWHERE, detail=escape(target))
            for path, target in _dangling(merged, theirs, mine[1], (old, new))
        ]
        for kind in ("system", "user"):
            for unit in _not_enabled(kind, merged, mine[0], (old, new), contents):
                option = "" if kind == "system" else "--global "
                notes.append(
                    EtcNote(
                        path=f"/etc/systemd/{kind}/{escape(unit)}",
                        kind=NoteKind.PRESET,
                        detail=f"'systemctl {option}enable {escape(unit)}' does",
                    )
                )
        return notes[:MAX_NOTES]


def follow(path: bytes, look: Callable[[bytes], Node | None]) -> Node | None:
    """Return what stands where a path leads, symbolic links followed; None: nothing.

    Args:
        path: from the root.
        look: returns what stands at a path, links not followed.
    """
    node: Node | None = Directory(Metadata())
    try:
        for _, below in steps(path, look):
            if not isinstance(node, Directory):
                return node if isinstance(node, SpecialFile) else None
            node = below
    except InvalidTreeError:
        return None
    return node


def _dangling(
    merged: Directory,
    theirs: Directory,
    mine: Directory,
    images: tuple[ErofsImage, ErofsImage],
) -> Iterator[tuple[bytes, bytes]]:
    """Yield links that lead nowhere any more; those that the new image has itself are its own."""
    before, after = (_looking(*one) for one in zip((mine, merged), images, strict=True))
    for path, node in walk(merged):
        if not isinstance(node, Symlink) or same_content(lookup(theirs, path), node):
            continue
        whole = b"etc/" + path
        if follow(whole, after) is None and follow(whole, before) is not None:
            yield path, node.target


def _looking(etc: Directory, image: ErofsImage) -> Callable[[bytes], Node | None]:
    @cache
    def look(path: bytes) -> Node | None:
        first, _, below = path.partition(b"/")
        if first == b"etc":
            return lookup(etc, below)
        return image.lookup(path, levels=1) if _OF_THE_IMAGE.fullmatch(first) else _ELSEWHERE

    return look


def _not_enabled(
    kind: str,
    merged: Directory,
    mine: Path,
    images: tuple[ErofsImage, ErofsImage],
    contents: StoreContents,
) -> Iterator[bytes]:
    """Yield the units that are new, and that a preset names, and nothing pulls in."""
    old, new = (_folder(one.lookup(_units(kind), levels=2)) for one in images)
    coming = {name: node for name, node in new.items() if name not in old}
    local = _folder(lookup(merged, b"systemd/" + kind.encode()))
    pulled = {
        name
        for units in (new, local)
        for folder, node in units.items()
        if folder.endswith(_PULLS)
        for name in _folder(node)
    }
    if not coming.keys() - pulled:
        return
    rules = _presets(kind, merged, mine, images[1], contents)
    for name, node in sorted(coming.items()):
        # A template needs to know of what; what stands in /etc replaces or masks the unit.
        if name in pulled or name in local or b"@." in name:
            continue
        if not isinstance(node, RegularFile) or node.size > _MAX_UNIT or not _enables(rules, name):
            continue
        if _INSTALL.search(contents.read(node)):
            yield name


def _presets(
    kind: str, merged: Directory, mine: Path, image: ErofsImage, contents: StoreContents
) -> list[tuple[str, str]]:
    """Return the lines of the presets as words and patterns, in the order they count."""
    folder = f"{kind}-preset".encode()
    texts: dict[bytes, bytes] = {}
    shipped = _folder(image.lookup(b"usr/lib/systemd/" + folder, levels=1))
    for name, node in shipped.items():
        if isinstance(node, RegularFile) and node.size <= _MAX_UNIT:
            texts[name] = contents.read(node)
    for name in _folder(lookup(merged, b"systemd/" + folder)):
        # Read as it is here: what the image changed about it is its own matter.
        texts[name] = own_text(mine, b"systemd/" + folder + b"/" + name) or b""
    lines = [
        line.split()
        for name in sorted(texts)
        if name.endswith(b".preset")
        for line in texts[name].decode(errors="replace").splitlines()
    ]
    return [(words[0], words[1]) for words in lines if len(words) > 1 and words[0][0] not in "#;"]


def _enables(rules: list[tuple[str, str]], unit: bytes) -> bool:
    """Tell whether a preset says so; that none says anything is no word for it."""
    name = unit.decode(errors="surrogateescape")
    return next((word == "enable" for word, pattern in rules if fnmatchcase(name, pattern)), False)


def _units(kind: str) -> bytes:
    return f"usr/lib/systemd/{kind}".encode()


def _folder(node: Node | None) -> dict[bytes, Node]:
    return node.entries if isinstance(node, Directory) else {}
