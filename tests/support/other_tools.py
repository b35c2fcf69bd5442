"""What other programs make of an image: umoci, and containers/storage, which podman stands on."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

_TIMEOUT = 120


@dataclass
class Seen:
    """One file of a tree, as far as all tools keep it.

    Attributes:
        mode: type and permissions.
        what: the content of a file, or where a link leads.
        time: of what is no folder; that of a folder is the moment of unpacking in some.
        names: all names of the same file.
    """

    mode: int
    owner: tuple[int, int]
    what: bytes
    time: int
    xattrs: dict[bytes, bytes]
    names: list[bytes] = field(default_factory=list)


Tree = dict[bytes, Seen]


class RefusedError(Exception):
    """The tool does not take the image."""


def umoci_tree(layout: Path, target: Path) -> Tree:
    """What umoci unpacks."""
    _run("umoci", "raw", "unpack", "--image", f"{layout}:latest", str(target))
    return folder_tree(target)


class ContainersStorage:
    """A store as podman and buildah have it, in a folder; skopeo puts images into it."""

    def __init__(self, folder: Path) -> None:
        self._graph = folder / "graph"
        self._where = f"containers-storage:[vfs@{self._graph}+{folder / 'run'}]localhost/image"

    def tree(self, layout: Path, name: str) -> Tree:
        """What is in the top layer of an image, which has all below it."""
        tag = f"{self._where}:{name}"
        _run("skopeo", "copy", "--quiet", "--insecure-policy", f"oci:{layout}:latest", tag)
        images = json.loads((self._graph / "vfs-images/images.json").read_bytes())
        [top] = [one["layer"] for one in images if f"localhost/image:{name}" in one["names"]]
        return folder_tree(self._graph / "vfs/dir" / top)


def folder_tree(root: Path) -> Tree:
    """What is in a folder."""
    tree: Tree = {}
    names = defaultdict(list)
    top = os.fsencode(root) + b"/"
    waiting = [b""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(top + folder) as entries:
            for entry in entries:
                path = folder + entry.name
                found = entry.stat(follow_symlinks=False)
                tree[path] = _seen(top + path, found)
                if stat.S_ISDIR(found.st_mode):
                    waiting.append(path + b"/")
                else:
                    names[found.st_ino].append(path)
    for same in names.values():
        for path in same:
            tree[path].names = sorted(same)
    return tree


def _seen(path: bytes, found: os.stat_result) -> Seen:
    what = b""
    if stat.S_ISREG(found.st_mode):
        what = Path(os.fsdecode(path)).read_bytes()
    elif stat.S_ISLNK(found.st_mode):
        what = os.readlink(path)  # noqa: PTH115 - a `Path` would lose what is odd in it
    names = os.listxattr(path, follow_symlinks=False)
    return Seen(
        found.st_mode,
        (found.st_uid, found.st_gid),
        what,
        0 if stat.S_ISDIR(found.st_mode) else found.st_mtime_ns,
        {os.fsencode(name): os.getxattr(path, name, follow_symlinks=False) for name in names},
    )


def _run(*command: str) -> None:
    done = subprocess.run(
        command, capture_output=True, timeout=_TIMEOUT, check=False, umask=0o022, errors="replace"
    )
    if done.returncode:
        raise RefusedError(done.stderr.strip()[-400:])
