"""Trees of /etc for tests: built by hand, laid out on disk, read back; nothing of bootd.etc."""

# Names here are bytes, which pathlib does not take.
# ruff: noqa: PTH101, PTH102, PTH115, PTH123, PTH208, PTH211

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bootd.model.hash_algorithm import SHA256
from bootd.model.tree import (
    INLINE_LIMIT,
    Directory,
    Metadata,
    Node,
    RegularFile,
    SpecialFile,
    Symlink,
)
from bootd.store.objects.verity import VerityHash
from support.verity import verity_digest

UID, GID = os.getuid(), os.getgid()
EPOCH = 1_700_000_000

Flat = dict[bytes, tuple[object, ...]]


class MemoryContents:
    """Image contents in a dictionary, served through anonymous files."""

    def __init__(self) -> None:
        self.objects: dict[bytes, bytes] = {}

    def measure(self, chunks: Iterable[bytes]) -> bytes:
        running = VerityHash(SHA256)
        for chunk in chunks:
            running.update(chunk)
        return running.digest()

    def open(self, file: RegularFile) -> int:
        assert file.verity is not None
        descriptor = os.memfd_create("object")
        os.write(descriptor, self.objects[file.verity])
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def file(self, content: bytes | str, mode: int = 0o644, **more: Any) -> RegularFile:
        data = content.encode() if isinstance(content, str) else content
        node = RegularFile(metadata(mode, **more), len(data))
        if len(data) <= INLINE_LIMIT:
            node.content = data
        else:
            node.verity = verity_digest(data)
            self.objects[node.verity] = data
        return node

    def bytes_of(self, file: RegularFile) -> bytes:
        if file.content is not None:
            return file.content
        assert file.verity is not None
        return self.objects[file.verity]


def metadata(
    mode: int = 0o644,
    *,
    time: int = EPOCH,
    uid: int = UID,
    gid: int = GID,
    xattrs: dict[bytes, bytes] | None = None,
) -> Metadata:
    return Metadata(mode, uid, gid, time, time % 1000 * 1_000_003 % 1_000_000_000, xattrs or {})


def folder(entries: Mapping[str, Node] | None = None, mode: int = 0o755, **more: Any) -> Directory:
    named = {os.fsencode(name): node for name, node in (entries or {}).items()}
    return Directory(metadata(mode, **more), named)


def link(target: str, **more: Any) -> Symlink:
    return Symlink(metadata(0o777, **more), target.encode())


def fifo(mode: int = 0o644, **more: Any) -> SpecialFile:
    return SpecialFile(metadata(mode, **more), stat.S_IFIFO)


def socket(mode: int = 0o644, **more: Any) -> SpecialFile:
    return SpecialFile(metadata(mode, **more), stat.S_IFSOCK)


def lay_out(tree: Directory, place: Path, contents: MemoryContents) -> Path:
    """Write a tree to disk the plain way; a node under several names becomes hard links."""
    place.mkdir()
    _fill(tree, os.fsencode(place), contents, {})
    return place


def _fill(
    tree: Directory, place: bytes, contents: MemoryContents, written: dict[int, bytes]
) -> None:
    for name, node in tree.entries.items():
        path = place + b"/" + name
        if id(node) in written:
            os.link(written[id(node)], path, follow_symlinks=False)
            continue
        match node:
            case Directory():
                os.mkdir(path)
                _fill(node, path, contents, written)
                continue
            case RegularFile():
                with open(path, "wb") as stream:
                    stream.write(contents.bytes_of(node))
                written[id(node)] = path
            case Symlink():
                os.symlink(node.target, path)
            case SpecialFile():
                os.mknod(path, node.file_type | 0o600, node.rdev)
        _dress(path, node)
    _dress(place, tree)


def _dress(path: bytes, node: Node) -> None:
    values = node.metadata
    os.chown(path, values.uid, values.gid, follow_symlinks=False)
    for name, value in values.xattrs.items():
        os.setxattr(path, name, value, follow_symlinks=False)
    if not isinstance(node, Symlink):
        os.chmod(path, values.permissions)
    time = values.mtime_seconds * 1_000_000_000 + values.mtime_nanoseconds
    os.utime(path, ns=(time, time), follow_symlinks=False)


def read_back(place: Path, *, times: bool = True) -> Flat:
    """Return what is on disk: for each path type, content, mode, owner, xattrs and time."""
    found: Flat = {}
    _read(os.fsencode(place), b"", found, times=times)
    return found


def _read(place: bytes, relative: bytes, found: Flat, *, times: bool) -> None:
    path = place + b"/" + relative if relative else place
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    content: object = None
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as stream:
            content = stream.read()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    elif not stat.S_ISDIR(status.st_mode):
        content = status.st_rdev
    names = os.listxattr(path, follow_symlinks=False)
    xattrs = {
        os.fsencode(name): os.getxattr(path, name, follow_symlinks=False)
        for name in names
        if name != "security.selinux"
    }
    mode = None if stat.S_ISLNK(status.st_mode) else stat.S_IMODE(status.st_mode)
    time = status.st_mtime_ns if times else None
    found[relative] = (kind, content, mode, status.st_uid, status.st_gid, xattrs, time)
    if stat.S_ISDIR(status.st_mode):
        for name in os.listdir(path):
            _read(place, relative + b"/" + name if relative else name, found, times=times)


def flatten(tree: Directory, contents: MemoryContents, *, times: bool = True) -> Flat:
    """Return a tree the way `read_back` returns a folder."""
    found: Flat = {}
    _flatten(tree, b"", contents, found, times=times)
    return found


def _flatten(
    node: Node, relative: bytes, contents: MemoryContents, found: Flat, *, times: bool
) -> None:
    content: object = None
    kind = 0
    match node:
        case Directory():
            kind = stat.S_IFDIR
            for name, below in node.entries.items():
                path = relative + b"/" + name if relative else name
                _flatten(below, path, contents, found, times=times)
        case RegularFile():
            kind, content = stat.S_IFREG, contents.bytes_of(node)
        case Symlink():
            kind, content = stat.S_IFLNK, node.target
        case SpecialFile():
            kind, content = node.file_type, node.rdev
    values = node.metadata
    time = values.mtime_seconds * 1_000_000_000 + values.mtime_nanoseconds if times else None
    mode = None if isinstance(node, Symlink) else values.permissions
    found[relative] = (kind, content, mode, values.uid, values.gid, values.xattrs, time)


def read_tree(place: Path, contents: MemoryContents) -> Directory:
    """Return a folder on disk as an image would have it; its contents go into `contents`."""
    found = _read_node(os.fsencode(place), contents, {})
    assert isinstance(found, Directory)
    return found


def _read_node(path: bytes, contents: MemoryContents, known: dict[int, Node]) -> Node:
    status = os.lstat(path)
    if status.st_ino in known:
        return known[status.st_ino]
    seconds, nanoseconds = divmod(status.st_mtime_ns, 1_000_000_000)
    dress = Metadata(
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        seconds,
        nanoseconds,
        {
            os.fsencode(name): os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)
        },
    )
    node: Node
    if stat.S_ISDIR(status.st_mode):
        names = sorted(os.listdir(path))
        return Directory(
            dress, {name: _read_node(path + b"/" + name, contents, known) for name in names}
        )
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as stream:
            node = contents.file(stream.read())
        node.metadata = dress
    elif stat.S_ISLNK(status.st_mode):
        node = Symlink(dress, os.readlink(path))
    else:
        node = SpecialFile(dress, stat.S_IFMT(status.st_mode), status.st_rdev)
    known[status.st_ino] = node
    return node
