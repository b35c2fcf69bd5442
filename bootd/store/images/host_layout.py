"""An image's tree as a host's root: what moves, what becomes a mount point.

Pure. The pristine ``/etc`` is ``/usr/etc`` (docs/images.md, "/etc and /usr/etc"); the machine's own
``/etc``, ``/var`` and the rest of `MOUNT_POINTS` are mounted over empty folders. Hard links need no
care: a file that an image built for ostree links into ``sysroot/ostree`` keeps its content under
its other names.

openSUSE and what descends from it keep the packages' settings in ``/usr/etc``, which programs read
below those of ``/etc``. Such an image has both, and both stay what they are: its ``/usr/etc`` keeps
its place, and the pristine ``/etc`` is in `SEPARATE_DEFAULTS`. Of any other image with both nobody
knows which are the defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from bootd.model.errors import InvalidTreeError
from bootd.model.registry.refusal import Refusal
from bootd.model.tree import Directory, Metadata, Node, RegularFile, Symlink, lookup

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
SEPARATE_DEFAULTS: Final = b"usr/lib/bootd/defaults/etc"
"""Where the pristine ``/etc`` is in a host's root whose ``/usr/etc`` is the packages'."""
DEFAULT_PLACES: Final = (SEPARATE_DEFAULTS, b"usr/etc")
"""Where the pristine ``/etc`` is in a host's root: in the first of these that is there."""

_DEFAULT_PERMISSIONS: Final = {b"tmp": 0o1777}
_ENGINES_ETC: Final = (b"hostname", b"hosts", b"mtab", b"resolv.conf")
_ENGINES_ROOT: Final = (b".containerenv", b".dockerenv", b".dockerinit")
"""What engines mount over, or put into, a container that a build runs in; of each an empty file is
left in the layer (buildah, podman, Docker)."""
_MOUNT_TABLE: Final = b"mtab"
_OS_RELEASE: Final = (b"usr/lib/os-release", b"etc/os-release")
_OS_RELEASE_LIMIT: Final = 64 << 10
_VENDOR_ETC: Final = "suse"
"""In ID or ID_LIKE of os-release(5): the family whose packages have settings in ``/usr/etc``."""


@dataclass(frozen=True, slots=True)
class HostLayout:
    """A host's root, and the ``/var`` of the image, which fills the machine's at installation."""

    root: Directory
    var: Directory


def to_host_layout(root: Directory, os_release: bytes = b"") -> HostLayout:
    """Lay an image's tree out for a host; the tree is changed in place.

    A mount point keeps the image's own metadata where the image has such a folder.

    Args:
        root: the image's tree.
        os_release: the content of `os_release_file`.

    Raises:
        InvalidTreeError: see `layout_refusals`.
    """
    for refusal in layout_refusals(root, os_release):
        raise refusal.error
    for folder, name, _ in engine_leftovers(root):
        del folder.entries[name]
    usr = _made(root, b"usr")
    etc, defaults = _made(root, b"etc"), _made(usr, b"etc")
    _drop(root, SEPARATE_DEFAULTS)
    if _own(etc) and _own(defaults):
        _put(root, SEPARATE_DEFAULTS, etc)
    elif etc.entries and not _own(defaults):
        usr.entries[b"etc"] = etc
    var = root.entries.get(b"var")
    for name in MOUNT_POINTS:
        root.entries[name] = _empty(root, name)
    return HostLayout(root, var if isinstance(var, Directory) else _empty(root, b"var"))


def default_etc(root: Directory) -> Directory:
    """Return the pristine ``/etc`` in a host's root."""
    places = (lookup(root, place) for place in DEFAULT_PLACES)
    return next(node for node in places if isinstance(node, Directory))


def layout_refusals(root: Directory, os_release: bytes = b"") -> Iterator[Refusal]:
    """Yield what keeps an image's tree from being laid out for a host; it is not changed.

    It has defaults both in ``/etc`` and in ``/usr/etc`` and is not of the family that does so, or
    one of the folders that this is about is something else.
    """
    for path in (b"usr", b"etc", b"usr/etc"):
        node = lookup(root, path)
        if node is not None and not isinstance(node, Directory):
            yield _no_folder(path, node)
    own, defaults = (_own(lookup(root, path)) for path in (b"etc", b"usr/etc"))
    if not own or not defaults:
        return
    if not _has_vendor_etc(os_release):
        error = InvalidTreeError(
            f"the image has {own} entries in /etc and {defaults} in /usr/etc: "
            "which are the defaults?"
        )
        yield Refusal("/usr/etc", error)
        return
    names = SEPARATE_DEFAULTS.split(b"/")[:-1]
    for depth in range(2, len(names) + 1):
        path = b"/".join(names[:depth])
        node = lookup(root, path)
        if node is not None and not isinstance(node, Directory):
            yield _no_folder(path, node)


def engine_leftovers(root: Directory) -> Iterator[tuple[Directory, bytes, str]]:
    """Yield the empty files that engines leave where they build: folder, name, path in the image.

    On a host such a ``resolv.conf`` would stand in the way of what systemd-resolved puts there. One
    that has content, or is a link, was meant.
    """
    for path, names in ((b"", _ENGINES_ROOT), (b"etc", _ENGINES_ETC), (b"usr/etc", _ENGINES_ETC)):
        folder = lookup(root, path)
        if not isinstance(folder, Directory):
            continue
        before = f"/{path.decode()}" if path else ""
        for name in names:
            if _is_empty_file(folder.entries.get(name)):
                yield folder, name, f"{before}/{name.decode()}"


def os_release_file(root: Directory) -> tuple[str, RegularFile] | None:
    """Return path and node of the file that says which distribution an image is (os-release(5)).

    None: there is none, or one of more than 64 KiB.
    """
    for path in _OS_RELEASE:
        node = lookup(root, path)
        if isinstance(node, RegularFile) and node.size <= _OS_RELEASE_LIMIT:
            return path.decode(), node
    return None


def _own(folder: Node | None) -> int:
    """Return how many entries of a folder are not an engine's."""
    entries = folder.entries if isinstance(folder, Directory) else {}
    return sum(not _is_engines(name, node) for name, node in entries.items())


def _is_engines(name: bytes, node: Node) -> bool:
    if name == _MOUNT_TABLE and isinstance(node, Symlink):
        # Docker makes it in each container that has none.
        return True
    return name in _ENGINES_ETC and _is_empty_file(node)


def _is_empty_file(node: Node | None) -> bool:
    return isinstance(node, RegularFile) and node.size == 0


def _has_vendor_etc(os_release: bytes) -> bool:
    words: list[str] = []
    for line in os_release.decode(errors="replace").splitlines():
        key, _, value = line.strip().partition("=")
        if key in ("ID", "ID_LIKE"):
            words += value.strip("\"'").split()
    return _VENDOR_ETC in words


def _no_folder(path: bytes, node: Node) -> Refusal:
    shown = f"/{path.decode()}"
    error = InvalidTreeError(f"{shown} in the image is a {type(node).__name__}, not a folder")
    return Refusal(shown, error)


def _made(parent: Directory, name: bytes) -> Directory:
    """Return a folder, made when it is missing."""
    node = parent.entries.setdefault(name, Directory(Metadata()))
    assert isinstance(node, Directory)
    return node


def _put(root: Directory, path: bytes, node: Node) -> None:
    *folders, name = path.split(b"/")
    for folder in folders:
        root = _made(root, folder)
    root.entries[name] = node


def _drop(root: Directory, path: bytes) -> None:
    """Take out what an image brings at a place that is bootd's."""
    before, _, name = path.rpartition(b"/")
    folder = lookup(root, before)
    if isinstance(folder, Directory):
        folder.entries.pop(name, None)


def _empty(root: Directory, name: bytes) -> Directory:
    there = root.entries.get(name)
    if isinstance(there, Directory):
        return Directory(replace(there.metadata, xattrs=dict(there.metadata.xattrs)))
    return Directory(Metadata(permissions=_DEFAULT_PERMISSIONS.get(name, 0o755)))
