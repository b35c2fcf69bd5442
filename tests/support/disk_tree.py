"""Reads a folder on disk into a tree; as a program it prints the tree's lines."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from bootd.model.tree import (
    INLINE_LIMIT,
    Directory,
    Metadata,
    Node,
    RegularFile,
    SpecialFile,
    Symlink,
)
from support.dumped_tree import dump_tree
from support.verity import verity_digest

_NANOSECONDS = 1_000_000_000


def tree_of_folder(folder: Path) -> Directory:
    """The tree below a folder; files with several names are one node."""
    root = _node(os.fsencode(folder), {})
    assert isinstance(root, Directory)
    return root


def _node(path: bytes, known: dict[int, Node]) -> Node:
    facts = os.lstat(path)
    node = known.get(facts.st_ino)
    if node is None:
        node = known[facts.st_ino] = _new_node(path, facts)
    if isinstance(node, Directory):
        for entry in os.scandir(path):
            node.entries[entry.name] = _node(entry.path, known)
    return node


def _new_node(path: bytes, facts: os.stat_result) -> Node:
    names = map(os.fsencode, os.listxattr(path, follow_symlinks=False))
    metadata = Metadata(
        stat.S_IMODE(facts.st_mode),
        facts.st_uid,
        facts.st_gid,
        facts.st_mtime_ns // _NANOSECONDS,
        facts.st_mtime_ns % _NANOSECONDS,
        {name: os.getxattr(path, name, follow_symlinks=False) for name in names},
    )
    kind = stat.S_IFMT(facts.st_mode)
    if kind == stat.S_IFDIR:
        return Directory(metadata)
    if kind == stat.S_IFLNK:
        return Symlink(metadata, os.readlink(path))  # noqa: PTH115 - Path would tidy the target
    if kind != stat.S_IFREG:
        return SpecialFile(metadata, kind, facts.st_rdev)
    content = Path(os.fsdecode(path)).read_bytes()
    if len(content) <= INLINE_LIMIT:
        return RegularFile(metadata, len(content), content)
    return RegularFile(metadata, len(content), verity=verity_digest(content))


if __name__ == "__main__":
    sys.stdout.buffer.writelines(dump_tree(tree_of_folder(Path(sys.argv[1]))))
