"""What a composefs image says to overlayfs, and how a tree's own such words survive in it.

The kernel mounts the image as the metadata layer over the objects: a regular file with content
elsewhere carries ``trusted.overlay.metacopy`` (its digest) and ``.redirect`` (its object). A tree
that holds overlay attributes or whiteouts itself (a container store inside an image) must show them
unchanged through that mount, so they are escaped. Source: Linux, filesystems/overlayfs.rst,
"Metadata only copy up", "Data-only lower layers", "Nesting overlayfs mounts"; composefs 1.0.8.
"""

from __future__ import annotations

import stat
from binascii import hexlify
from typing import Final

from bootd.model.hash_algorithm import BY_DIGEST_SIZE, HashAlgorithm
from bootd.model.tree import SpecialFile

PREFIX: Final = b"trusted.overlay."
ESCAPED_PREFIX: Final = b"trusted.overlay.overlay."
METACOPY: Final = b"trusted.overlay.metacopy"
REDIRECT: Final = b"trusted.overlay.redirect"
SELINUX: Final = b"security.selinux"

_METACOPY_HEADER_SIZE: Final = 4

OBJECTS_ROOT: Final = b"/"
"""Where overlayfs begins to look for the objects: at the root of the layer that has them."""

ROOT_ATTRIBUTES: Final = {b"trusted.overlay.opaque": b"y"}
WHITEOUT_ATTRIBUTES: Final = {ESCAPED_PREFIX + b"whiteout": b"", b"user.overlay.whiteout": b""}
"""On an empty regular file that stands for a whiteout of the tree."""
WHITEOUT_FOLDER_ATTRIBUTES: Final = {
    ESCAPED_PREFIX + b"whiteouts": b"",
    ESCAPED_PREFIX + b"opaque": b"x",
    b"user.overlay.whiteouts": b"",
    b"user.overlay.opaque": b"x",
}
"""On the folder of such a file."""

_FOLDER_MARKS: Final = {
    b"trusted.overlay.whiteouts": b"",
    b"trusted.overlay.opaque": b"x",
    b"user.overlay.whiteouts": b"",
    b"user.overlay.opaque": b"x",
}
"""The same, as `unescape` shows them."""

HIDING_NAMES: Final = frozenset(b"%02x" % number for number in range(256))
"""Whiteouts of these names in the image's root hide the folders of the object store."""
HIDING_PERMISSIONS: Final = 0o644


def is_whiteout(node: object) -> bool:
    """Tell whether overlayfs would take a node for a whiteout: a character device 0:0."""
    return isinstance(node, SpecialFile) and node.file_type == stat.S_IFCHR and not node.rdev


def escape(xattrs: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return a tree's attributes with those of overlayfs hidden from it by one more prefix."""
    return {
        ESCAPED_PREFIX + name.removeprefix(PREFIX) if name.startswith(PREFIX) else name: value
        for name, value in xattrs.items()
    }


def unescape(xattrs: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Undo `escape`, and leave out what composefs itself said to overlayfs."""
    return {
        PREFIX + name.removeprefix(ESCAPED_PREFIX)
        if name.startswith(ESCAPED_PREFIX)
        else name: value
        for name, value in xattrs.items()
        if name.startswith(ESCAPED_PREFIX) or not name.startswith(PREFIX)
    }


def metacopy_header(algorithm: HashAlgorithm) -> bytes:
    """Return what `METACOPY` has before a digest.

    Version 0, length of the value, no flags, fs-verity's number of the algorithm: ``struct
    ovl_metacopy`` (Linux, fs/overlayfs/overlayfs.h).
    """
    return bytes([0, _METACOPY_HEADER_SIZE + algorithm.digest_size, 0, algorithm.number])


def metacopy(verity: bytes) -> bytes:
    """Return the value of `METACOPY` for an object's digest."""
    return _METACOPY_HEADERS[len(verity)] + verity


def redirect(verity: bytes) -> bytes:
    """Return the value of `REDIRECT` for an object's digest."""
    return OBJECTS_ROOT + object_path(verity)


def object_path(verity: bytes) -> bytes:
    """Return where an object is in the store."""
    return hexlify(verity, b"/", len(verity) - 1)


def object_attributes(verity: bytes) -> dict[bytes, bytes]:
    """Return the attributes that name an object, sorted by name."""
    return {METACOPY: metacopy(verity), REDIRECT: redirect(verity)}


def object_of(xattrs: dict[bytes, bytes]) -> bytes | None:
    """Return the digest of the object that stored attributes name; None unless they do it alike."""
    verity = xattrs.get(METACOPY, b"")[_METACOPY_HEADER_SIZE:]
    if len(verity) not in _METACOPY_HEADERS:
        return None
    named = xattrs[METACOPY] == metacopy(verity) and xattrs.get(REDIRECT) == redirect(verity)
    return verity if named else None


def unmark_whiteouts(xattrs: dict[bytes, bytes]) -> None:
    """Take the marks of a folder with whiteouts out of its unescaped attributes."""
    if _FOLDER_MARKS.items() <= xattrs.items():
        for name in _FOLDER_MARKS:
            del xattrs[name]


_METACOPY_HEADERS: Final = {size: metacopy_header(one) for size, one in BY_DIGEST_SIZE.items()}
