"""An image's tree as a host's root: what moves, what becomes a mount point (design section 4).

Pure. The pristine ``/etc`` is ``/usr/etc``; the machine's own ``/etc``, ``/var`` and the rest of
`MOUNT_POINTS` are mounted over empty folders. Hard links need no care: a file that an image built
for ostree links into ``sysroot/ostree`` keeps its content under its other names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from bootd.model.errors import InvalidTreeError
from bootd.model.tree import Directory, Metadata

MOUNT_POINTS: Final = (
    b"etc",
    b"var",
    b"sysroot",
    b"boot",
    b"run",
    b"proc",
    b"sys",
    b"dev",
    b"tmp",
)
_DEFAULT_PERMISSIONS: Final = {b"tmp": 0o1777}


@dataclass(frozen=True, slots=True)
class HostLayout:
    """A host's root, and the ``/var`` of the image, which fills the machine's at installation."""

    root: Directory
    var: Directory


def to_host_layout(root: Directory) -> HostLayout:
    """Lay an image's tree out for a host; the tree is changed in place.

    A mount point keeps the image's own metadata where the image has such a folder.

    Raises:
        InvalidTreeError: the image has defaults both in ``/etc`` and in ``/usr/etc``, or one of
            ``/usr``, ``/etc`` and ``/usr/etc`` is something else than a folder.
    """
    usr = _folder(root, b"usr", "/usr")
    etc = _folder(root, b"etc", "/etc")
    defaults = _folder(usr, b"etc", "/usr/etc")
    if etc.entries and defaults.entries:
        raise InvalidTreeError(
            f"the image has {len(etc.entries)} entries in /etc and {len(defaults.entries)} in "
            "/usr/etc: which are the defaults?"
        )
    usr.entries[b"etc"] = etc if etc.entries else defaults
    var = root.entries.get(b"var")
    for name in MOUNT_POINTS:
        root.entries[name] = _empty(root, name)
    return HostLayout(root, var if isinstance(var, Directory) else _empty(root, b"var"))


def _folder(parent: Directory, name: bytes, shown: str) -> Directory:
    """Return a folder, made when it is missing."""
    node = parent.entries.get(name)
    if node is None:
        node = parent.entries[name] = Directory(Metadata())
    if not isinstance(node, Directory):
        raise InvalidTreeError(f"{shown} in the image is a {type(node).__name__}, not a folder")
    return node


def _empty(root: Directory, name: bytes) -> Directory:
    there = root.entries.get(name)
    if isinstance(there, Directory):
        return Directory(replace(there.metadata, xattrs=dict(there.metadata.xattrs)))
    return Directory(Metadata(permissions=_DEFAULT_PERMISSIONS.get(name, 0o755)))
