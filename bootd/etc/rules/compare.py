"""When two nodes are equal in content, in metadata, or wholly. Pure.

The content of a folder is that it is one; what it holds is compared path by path. Times are never
compared. A file whose content is unknown (neither inline nor measured) equals no file but itself:
a snapshot leaves a content unknown only where the size already tells it from every other.
"""

from __future__ import annotations

import stat
from typing import Final

from bootd.model.tree import Directory, Metadata, Node, RegularFile, SpecialFile, Symlink, file_type

SELINUX: Final = b"security.selinux"
LABELS: Final = frozenset({SELINUX, b"security.SMACK64"})
"""Given by the machine's own policy, so they say nothing about who changed a file. They follow the
machine's file where there is one."""

KERNEL_OWNED: Final = frozenset({b"security.evm"})
"""Bound by the kernel to one inode of one machine: neither compared nor copied."""

NOT_COMPARED: Final = LABELS | KERNEL_OWNED
"""What says nothing about who changed a file."""


def same_type(one: Node | None, other: Node | None) -> bool:
    """Tell whether both are of one file type, or both absent."""
    if one is None or other is None:
        return one is other
    return file_type(one) == file_type(other)


def same_content(one: Node | None, other: Node | None) -> bool:
    """Tell whether type and content, link target or device number agree, or both are absent."""
    if one is other:
        return True
    match one, other:
        case Directory(), Directory():
            return True
        case RegularFile(), RegularFile():
            return _same_bytes(one, other)
        case Symlink(), Symlink():
            return one.target == other.target
        case SpecialFile(), SpecialFile():
            return one.file_type == other.file_type and _device(one) == _device(other)
        case _:
            return False


def same_metadata(one: Node, other: Node) -> bool:
    """Tell whether mode, owner, group and the comparable extended attributes agree.

    A symbolic link has no mode of its own on Linux, so its mode is not looked at.
    """
    mine, theirs = one.metadata, other.metadata
    return mine is theirs or (
        (mine.uid, mine.gid) == (theirs.uid, theirs.gid)
        and (mine.permissions == theirs.permissions or isinstance(one, Symlink))
        and (mine.xattrs == theirs.xattrs or comparable_xattrs(mine) == comparable_xattrs(theirs))
    )


def same_node(one: Node | None, other: Node | None) -> bool:
    """Tell whether content and metadata agree, or both are absent; a folder's entries aside."""
    if one is None or other is None:
        return one is other
    return same_content(one, other) and same_metadata(one, other)


def same_tree(one: Node | None, other: Node | None) -> bool:
    """Tell whether two nodes agree with all that is below them."""
    if not same_node(one, other):
        return False
    if not isinstance(one, Directory) or not isinstance(other, Directory):
        return True
    return one.entries.keys() == other.entries.keys() and all(
        same_tree(node, other.entries[name]) for name, node in one.entries.items()
    )


def comparable_xattrs(metadata: Metadata) -> dict[bytes, bytes]:
    """Return the extended attributes that say something about who changed a file."""
    return {name: value for name, value in metadata.xattrs.items() if name not in NOT_COMPARED}


def _same_bytes(one: RegularFile, other: RegularFile) -> bool:
    if one.content is not None and other.content is not None:
        return one.content == other.content
    return one.verity is not None and one.verity == other.verity


def _device(node: SpecialFile) -> int:
    return node.rdev if stat.S_ISCHR(node.file_type) or stat.S_ISBLK(node.file_type) else 0
