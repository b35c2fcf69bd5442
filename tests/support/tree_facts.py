"""What is known of every file below a folder, to compare two trees."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_HIDDEN_XATTRS = ("trusted.overlay.", "user.overlay.")
_EMPTIED = ("boot", "dev", "proc", "run", "sys", "sysroot", "tmp", "var")
"""Mount points of a deployment (docs/architecture.md, "On disk"): what an image has below them is
not in it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One file: what stat(2) says, a link's target, a file's content, the extended attributes."""

    mode: str
    owner: tuple[int, int]
    mtime: int
    device: int
    links: int
    target: str
    content: str
    xattrs: tuple[tuple[str, bytes], ...]


def tree_facts(root: Path) -> dict[str, Facts]:
    """The facts of all files below a folder by relative path; the folder itself is ``.``."""
    return {os.path.relpath(path, root): _facts(path) for path in _walk(root)}


def as_deployed(facts: Mapping[str, Facts]) -> dict[str, Facts]:
    """What an image's files are to become: ``/etc`` in ``/usr/etc``, no mount points."""
    return {
        "usr/" + path if path.partition("/")[0] == "etc" else path: one
        for path, one in facts.items()
        if path.partition("/")[0] not in _EMPTIED
    }


def without_mount_points(facts: Mapping[str, Facts]) -> dict[str, Facts]:
    """The files of a deployment's root that come from the image."""
    left_out = (*_EMPTIED, "etc")
    return {path: one for path, one in facts.items() if path.partition("/")[0] not in left_out}


def differences(expected: Mapping[str, Facts], found: Mapping[str, Facts]) -> list[str]:
    """A line for each path that is missing, too many, or not the same."""
    lines = []
    for path in sorted(expected.keys() | found.keys()):
        one, other = expected.get(path), found.get(path)
        if one is None or other is None:
            lines.append(f"{path}: {'too many' if one is None else 'missing'}")
        elif one != other:
            names = [name for name in one.__slots__ if getattr(one, name) != getattr(other, name)]
            pairs = [f"{name} {getattr(one, name)!r} != {getattr(other, name)!r}" for name in names]
            lines.append(f"{path}: {', '.join(pairs)}")
    return lines


def _walk(root: Path) -> Iterator[Path]:
    yield root
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            yield Path(folder, name)


def _facts(path: Path) -> Facts:
    found = path.lstat()
    is_file = stat.S_ISREG(found.st_mode)
    is_node = stat.S_ISBLK(found.st_mode) or stat.S_ISCHR(found.st_mode)
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return Facts(
        mode=stat.filemode(found.st_mode),
        owner=(found.st_uid, found.st_gid),
        mtime=int(found.st_mtime),
        device=found.st_rdev if is_node else 0,
        links=found.st_nlink if is_file else 0,
        target=str(path.readlink()) if path.is_symlink() else "",
        content=_content(path) if is_file else "",
        xattrs=tuple(
            (name, os.getxattr(path, name, follow_symlinks=False))
            for name in names
            if not name.startswith(_HIDDEN_XATTRS)
        ),
    )


def _content(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
