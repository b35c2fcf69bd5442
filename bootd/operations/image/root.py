"""An image's tree as a folder, looked at as a host would see it: for the linter.

The folder may be ``/`` of a build container. So what is mounted in it is none of the image's, and a
symlink leads to where it would lead with the folder as the root. Nothing is changed, and nothing
outside of the folder is read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Final

from bootd.model.errors import InvalidTreeError
from bootd.model.links import steps
from bootd.model.tree import (
    INLINE_LIMIT,
    Directory,
    Metadata,
    Node,
    RegularFile,
    SpecialFile,
    Symlink,
)
from bootd.store.images.host_layout import os_release_file

_MOST_ENTRIES: Final = 5_000_000
_MAX_TEXT: Final = 4 << 20
_ANY_OBJECT: Final = bytes(32)
"""Stands for contents that nobody reads in a tree."""
_MOUNT_TABLE: Final = Path("/proc/self/mountinfo")
_MOUNT_POINT: Final = 4
"""Which field it is (proc_pid_mountinfo(5))."""


class ImageRoot:
    """An image's tree.

    Args:
        folder: its root.

    Attributes:
        folder: as given, without symlinks.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    @cached_property
    def _mounts(self) -> frozenset[str]:
        """What is mounted below the root, as paths from it."""
        prefix = "/" if self.folder == Path("/") else f"{self.folder}/"
        try:
            lines = _MOUNT_TABLE.read_text(errors="surrogateescape").splitlines()
        except OSError:
            return frozenset()
        points = (_unescaped(line.split()[_MOUNT_POINT]) for line in lines)
        return frozenset(point.removeprefix(prefix) for point in points if point.startswith(prefix))

    def path(self, name: str) -> Path:
        """Return where a path of the image really is; it need not exist.

        Raises:
            OSError: its links lead in circles (ELOOP), so that it is nowhere in the image.
        """
        place = b""
        try:
            for place, _ in steps(os.fsencode(name), self._link_at):  # noqa: B007 - the last counts
                pass
        except InvalidTreeError as error:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from error
        return self.folder / os.fsdecode(place)

    def _link_at(self, place: bytes) -> Node | None:
        path = self.folder / os.fsdecode(place)
        return Symlink(Metadata(), os.fsencode(path.readlink())) if path.is_symlink() else None

    def is_mounted(self, name: str) -> bool:
        """Tell whether something is mounted there, so that it is not the image's."""
        return name.strip("/") in self._mounts

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder but for what is mounted there; none if it is no folder."""
        try:
            found = sorted(os.listdir(self.path(folder)))  # noqa: PTH208 - names, not paths
        except OSError:
            return []
        return [name for name in found if not self.is_mounted(f"{folder}/{name}")]

    def kind(self, name: str) -> str:
        """Return ``folder``, ``file``, ``symlink``, ``other`` or ``nothing``; links stay links."""
        parent, _, last = name.strip("/").rpartition("/")
        try:
            mode = (self.path(parent) / last).lstat().st_mode
        except OSError:
            return "nothing"
        if stat.S_ISDIR(mode):
            return "folder"
        if stat.S_ISREG(mode):
            return "file"
        return "symlink" if stat.S_ISLNK(mode) else "other"

    def leads_to_file(self, name: str) -> bool:
        """Tell whether a path leads to a file, links followed."""
        try:
            return self.path(name).is_file()
        except OSError:
            return False

    def read(self, name: str) -> bytes:
        """Return the beginning of a file, 4 MiB at most; nothing if there is none."""
        try:
            with self.path(name).open("rb") as stream:
                return stream.read(_MAX_TEXT)
        except OSError:
            return b""

    def text(self, name: str) -> str:
        """Like `read`, as text."""
        return self.read(name).decode(errors="replace")

    @cached_property
    def tree(self) -> Directory:
        """The image as the tree that staging would make of it, without contents.

        What is mounted is left out, and so is whatever vanishes meanwhile.
        """
        root = Directory(_metadata(self.folder))
        known: dict[tuple[int, int], Node] = {}
        folders = [("", root)]
        seen = 0
        while folders and seen < _MOST_ENTRIES:
            here, directory = folders.pop()
            for name in self._here(here):
                seen += 1
                path = f"{here}/{name}".lstrip("/")
                try:
                    node = _node(self.folder / path, known)
                except OSError:
                    continue
                directory.entries[os.fsencode(name)] = node
                if isinstance(node, Directory):
                    folders.append((path, node))
        return root

    @property
    def os_release(self) -> bytes:
        """What `bootd.store.images.host_layout` takes for os-release(5); empty if there is none."""
        found = os_release_file(self.tree)
        return b"" if found is None else self.read(found[0])

    def _here(self, folder: str) -> list[str]:
        """Return the names in a folder, which is reached through no symlink."""
        try:
            names = sorted(os.listdir(self.folder / folder))  # noqa: PTH208 - names, not paths
        except OSError:
            return []
        return [name for name in names if not self.is_mounted(f"{folder}/{name}")]

    def leaves(self, folder: str) -> Iterator[str]:
        """Yield every path below a folder that is not a folder itself, from the root.

        Bytes that are not UTF-8 are surrogates; what is mounted is left out.
        """
        seen = 0
        folders = [folder.strip("/")]
        while folders and seen < _MOST_ENTRIES:
            here = folders.pop()
            for name in self.names(here):
                seen += 1
                path = f"{here}/{name}".lstrip("/")
                if self.kind(path) == "folder":
                    folders.append(path)
                else:
                    yield path

    def owners(self, folder: str) -> Iterator[tuple[str, int, int]]:
        """Yield path, user and group of each entry below a folder; what is mounted is left out."""
        seen = 0
        folders = [folder.strip("/")]
        while folders and seen < _MOST_ENTRIES:
            here = folders.pop()
            try:
                entries = list(os.scandir(self.folder / here))
            except OSError:
                continue
            for entry in entries:
                path = f"{here}/{entry.name}"
                if self.is_mounted(path):
                    continue
                seen += 1
                status = entry.stat(follow_symlinks=False)
                yield path, status.st_uid, status.st_gid
                if stat.S_ISDIR(status.st_mode):
                    folders.append(path)


def _node(path: Path, known: dict[tuple[int, int], Node]) -> Node:
    """Return what stands at a path; hard links are one node."""
    found = path.lstat()
    inode = found.st_dev, found.st_ino
    if inode in known:
        return known[inode]
    node: Node
    match stat.S_IFMT(found.st_mode):
        case stat.S_IFDIR:
            return Directory(_metadata(path))
        case stat.S_IFREG if found.st_size <= INLINE_LIMIT:
            node = RegularFile(_metadata(path), found.st_size, content=b"")
        case stat.S_IFREG:
            node = RegularFile(_metadata(path), found.st_size, verity=_ANY_OBJECT)
        case stat.S_IFLNK:
            node = Symlink(_metadata(path), os.fsencode(path.readlink()))
        case kind:
            node = SpecialFile(_metadata(path), kind, found.st_rdev)
    known[inode] = node
    return node


def _metadata(path: Path) -> Metadata:
    """Return the extended attributes of what stands at a path; nobody asks for more here."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
        values = [os.getxattr(path, name, follow_symlinks=False) for name in names]
    except OSError:
        # The file system has none, or they are not for whoever looks.
        return Metadata()
    return Metadata(xattrs=dict(zip(map(os.fsencode, names), values, strict=True)))


def _unescaped(field: str) -> str:
    """Return a field of the mount table with its octal escapes resolved."""
    head, *pieces = field.split("\\")
    return head + "".join(chr(int(piece[:3], 8)) + piece[3:] for piece in pieces)
