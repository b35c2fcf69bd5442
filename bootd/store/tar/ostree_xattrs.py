"""Extended attributes that an image built for ostree keeps beside its files and not on them.

ostree-ext wrote images like this until January 2025 (ostree-rs-ext, lib/src/tar/export.rs, mode
``bare-split-xattrs``): each file is a hard link to an object ``xx/yy….file`` in the repository, and
``xx/yy….file-xattrs-link`` beside that (``xx/yy….file.xattrs`` in the first of them) leads to the
file's attributes, file capabilities among them, as a GVariant of type ``a(ayay)``. Later images
have them in the tar headers as well.

``security.selinux`` is left aside: labels come from the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from bootd.model.errors import InvalidTreeError
from bootd.model.tree import Directory, Metadata, Node, RegularFile, Symlink, lookup

_OBJECTS: Final = b"sysroot/ostree/repo/objects"
_FILE: Final = b".file"
_LINKS: Final = (b".file-xattrs-link", b".file.xattrs")
"""What stands beside a file and holds what is kept of it: now, and in the first such images."""
_LIMIT: Final = 96 << 10
"""Bytes of the attributes of one file; as in a tar header."""
_LABEL: Final = b"security.selinux"
_OFFSET_SIZES: Final = ((0xFF, 1), (0xFFFF, 2), (0xFFFF_FFFF, 4))
"""Up to how many bytes of a container a framing offset takes one, two or four of them (GVariant
specification 1.0, section 2.5.2, "Framing Offsets")."""


def apply_split_xattrs(root: Directory, read: Callable[[RegularFile], bytes]) -> None:
    """Give the files of an image the attributes that its ostree repository keeps of them.

    What a file has itself stays. An image without a repository is left as it is.

    Args:
        root: the image's tree, before it is laid out for a host.
        read: returns the content of a file.

    Raises:
        InvalidTreeError: what is kept of a file cannot be understood; it is named.
    """
    known: dict[int, dict[bytes, bytes]] = {}
    for first, folder in _folders(lookup(root, _OBJECTS)):
        for name, node in folder.entries.items():
            suffix = next((suffix for suffix in _LINKS if name.endswith(suffix)), None)
            if suffix is None:
                continue
            file = folder.entries.get(name.removesuffix(suffix) + _FILE)
            if not isinstance(file, RegularFile | Symlink):
                continue
            if id(node) not in known:
                known[id(node)] = _kept_in(node, first + b"/" + name, read)
            _add(file.metadata, known[id(node)])


def _folders(node: Node | None) -> Iterator[tuple[bytes, Directory]]:
    for name, below in node.entries.items() if isinstance(node, Directory) else ():
        if isinstance(below, Directory):
            yield name, below


def _add(metadata: Metadata, xattrs: dict[bytes, bytes]) -> None:
    if xattrs:
        metadata.xattrs = {**xattrs, **metadata.xattrs}


def _kept_in(node: Node, name: bytes, read: Callable[[RegularFile], bytes]) -> dict[bytes, bytes]:
    shown = f"/{_OBJECTS.decode()}/{name.decode(errors='replace')}"
    if not isinstance(node, RegularFile) or node.size > _LIMIT:
        raise InvalidTreeError(f"{shown} in the image holds no extended attributes")
    try:
        attributes = dict(_pair(element) for element in _elements(read(node)))
    except ValueError as error:
        raise InvalidTreeError(f"{shown} in the image is damaged: {error}") from error
    attributes.pop(_LABEL, None)
    return attributes


def _pair(element: bytes) -> tuple[bytes, bytes]:
    """Return name and value of a GVariant of type ``(ayay)``; the name ends with a NUL."""
    size = _offset_size(element)
    end = _offset(element, len(element) - size, size)
    name, value = element[:end], element[end : len(element) - size]
    if end > len(element) - size or name[-1:] != b"\0" or len(name) == 1 or b"\0" in name[:-1]:
        raise ValueError("an attribute has no name")
    return name[:-1], value


def _elements(array: bytes) -> Iterator[bytes]:
    """Yield the elements of a GVariant array, none of which has a fixed size."""
    if not array:
        return
    size = _offset_size(array)
    table = _offset(array, len(array) - size, size)
    if table > len(array) - size or (len(array) - table) % size:
        raise ValueError("its offsets are not those of a list")
    begin = 0
    for at in range(table, len(array), size):
        end = _offset(array, at, size)
        if not begin < end <= table:
            raise ValueError("its offsets are not in order")
        yield array[begin:end]
        begin = end


def _offset_size(container: bytes) -> int:
    return next((size for limit, size in _OFFSET_SIZES if len(container) <= limit), 8)


def _offset(container: bytes, at: int, size: int) -> int:
    if at < 0:
        raise ValueError("it is too short")
    return int.from_bytes(container[at : at + size], "little")
