"""Gives the inodes of an image other owners, where they stand.

An image is written once for the image's own numbers; a machine may know the same users and groups
by others. Only owners, modes and access control lists change, so nothing moves: the inodes are
looked at one after the other, as they were written (`bootd.store.erofs.placing`). That takes a
tenth of the time of reading and writing the image; only a number that does not fit into the inode
that stands there, one above 65,535, makes that necessary, and a list that only some of the inodes
may keep which share it.

What has an owner that nobody here is becomes root's, and loses the permissions of group and others
and its set-ID bits with it, in its access control lists, too: they were meant for somebody else.

Sources: as layout.py; of access control lists Linux, include/uapi/linux/posix_acl_xattr.h.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is a class
from typing import Final

from bootd.model.errors import DamagedImageError
from bootd.model.tree import Metadata, walk
from bootd.store.erofs.layout import (
    BLOCK,
    BLOCK_BITS,
    CHUNK_ADDRESS,
    CHUNK_BASED,
    COMPACT_INODE,
    COMPOSEFS_HEADER,
    DATA_LAYOUT_SHIFT,
    EXTENDED,
    EXTENDED_INODE,
    FLAT_INLINE,
    INODES_START,
    SLOT,
    SUPERBLOCK,
    SUPERBLOCK_OFFSET,
    UINT16_MAX,
    XATTR_ALIGNMENT,
    XATTR_ENTRY,
    XATTR_HEADER,
    round_up,
)
from bootd.store.erofs.reader import ErofsImage
from bootd.store.erofs.writer import encode_erofs
from bootd.store.erofs.xattrs import NAME_PREFIXES

Target = Callable[[int], int | None]
"""Says what a number of the image is here; None: nobody."""

_HEAD: Final = Struct("<HHH")
"""format, xattr count, mode: the same in both forms."""
_SIZE_COMPACT: Final = Struct("<I")
_SIZE_EXTENDED: Final = Struct("<Q")
_ADDRESS: Final = Struct("<I")
_COMPACT_OWNERS: Final = Struct("<HH")
_EXTENDED_OWNERS: Final = Struct("<II")
_MODE: Final = Struct("<H")
_WORD: Final = Struct("<I")
_SIZE_AT: Final = 8
_ADDRESS_AT: Final = 16
_OWNERS_AT: Final = 24
_MODE_AT: Final = 4
_CHUNK_BITS_MASK: Final = 0x1F
_INODES_FIELD: Final = 6
_SHARED_FIELD: Final = 11
_VERSION_FIELD: Final = 3
_ACL_INDEXES: Final = frozenset({2, 3})
"""``system.posix_acl_access`` and ``system.posix_acl_default`` (Linux, fs/erofs/erofs_fs.h)."""
_ACL_NAMES: Final = frozenset(NAME_PREFIXES[index] for index in _ACL_INDEXES)
_ACL_HEADER: Final = Struct("<I")
"""version, of which there is one."""
_ACL_ENTRY: Final = Struct("<HHI")
"""tag, permissions, id."""
_ACL_OWNER: Final = 0x01
_ACL_USER: Final = 0x02
_ACL_GROUP: Final = 0x08
_OWNER_ONLY: Final = ~0o6077
"""What is left of a mode that was meant for nobody here: no set-ID bit, nothing for others."""


class _DoesNotFitError(Exception):
    """A number does not fit into the inode that stands there, or a list not the others of it."""


@dataclass(frozen=True, slots=True)
class MappedOwners:
    """An image with other owners.

    Attributes:
        content: its bytes.
        mapped: how many inodes have another owner, group or access control list than they had.
        unknown: how many of those were of somebody who is nobody here.
    """

    content: bytes
    mapped: int
    unknown: int


def map_owners(image: bytes, users: Target, groups: Target) -> MappedOwners:
    """Return an image with the owners that a machine knows them by.

    Args:
        image: as `encode_erofs` makes it, whole.
        users: of numbers of users.
        groups: of numbers of groups.

    Raises:
        DamagedImageError: the inodes do not follow each other.
    """
    users, groups = _cached(users), _cached(groups)
    mapping = _Mapping(bytearray(image), users, groups)
    try:
        mapping.run()
    except _DoesNotFitError:
        return _map_anew(image, users, groups)
    except StructError as error:
        raise DamagedImageError(f"an EROFS image is cut short: {error}") from error
    return MappedOwners(bytes(mapping.image), mapping.mapped, mapping.unknown)


def _cached(target: Target) -> Target:
    known: dict[int, int | None] = {0: 0}

    def answer(number: int) -> int | None:
        if number not in known:
            known[number] = target(number)
        return known[number]

    return answer


class _Mapping:
    def __init__(self, image: bytearray, users: Target, groups: Target) -> None:
        self.image = image
        self.mapped = 0
        self.unknown = 0
        self._users = users
        self._groups = groups
        fields = SUPERBLOCK.unpack_from(image, SUPERBLOCK_OFFSET)
        self._inodes = fields[_INODES_FIELD]
        self._shared = fields[_SHARED_FIELD] << BLOCK_BITS
        self._shared_lists: dict[int, bool] = {}
        """Whether the access control list at a word of the shared area was changed."""

    def run(self) -> None:
        image, position = self.image, INODES_START
        empty = bytes(SLOT)
        for _ in range(self._inodes):
            while image[position : position + SLOT] == empty:
                position += SLOT
            if position + SLOT > len(image):
                raise DamagedImageError("the inodes of an EROFS image do not follow each other")
            position = self._inode(position)

    def _inode(self, start: int) -> int:
        """Map one inode; return where the next may be."""
        image = self.image
        form, count, mode = _HEAD.unpack_from(image, start)
        extended = form & EXTENDED
        if extended:
            (size,) = _SIZE_EXTENDED.unpack_from(image, start + _SIZE_AT)
            uid, gid = _EXTENDED_OWNERS.unpack_from(image, start + _OWNERS_AT)
            end = start + EXTENDED_INODE.size
        else:
            (size,) = _SIZE_COMPACT.unpack_from(image, start + _SIZE_AT)
            uid, gid = _COMPACT_OWNERS.unpack_from(image, start + _OWNERS_AT)
            end = start + COMPACT_INODE.size
        attributes = XATTR_HEADER.size + XATTR_ALIGNMENT * (count - 1) if count else 0
        nobodys = self._users(uid) is None or self._groups(gid) is None
        changed = self._attributes(end, attributes, nobodys=nobodys) if attributes else False
        if uid or gid:
            changed |= self._own(start, mode, (uid, gid), extended=bool(extended))
        self.mapped += changed
        layout = form >> DATA_LAYOUT_SHIFT
        tail = 0
        if layout == FLAT_INLINE:
            tail = size % BLOCK
        elif layout == CHUNK_BASED:
            (address,) = _ADDRESS.unpack_from(image, start + _ADDRESS_AT)
            bits = (address & _CHUNK_BITS_MASK) + BLOCK_BITS
            tail = CHUNK_ADDRESS * -(-size >> bits)
        return round_up(end + attributes + tail, SLOT)

    def _own(self, start: int, mode: int, owners: tuple[int, int], *, extended: bool) -> bool:
        uid, gid = self._users(owners[0]), self._groups(owners[1])
        if (uid, gid) == owners:
            return False
        if uid is None or gid is None:
            self.unknown += 1
            _MODE.pack_into(self.image, start + _MODE_AT, mode & _OWNER_ONLY)
        new = uid or 0, gid or 0
        if not extended and max(new) > UINT16_MAX:
            raise _DoesNotFitError
        owners_form = _EXTENDED_OWNERS if extended else _COMPACT_OWNERS
        owners_form.pack_into(self.image, start + _OWNERS_AT, *new)
        return True

    def _attributes(self, start: int, size: int, *, nobodys: bool) -> bool:
        """Map the access control lists of an inode; return whether one changed."""
        _, shared = XATTR_HEADER.unpack_from(self.image, start)
        position = start + XATTR_HEADER.size
        changed = False
        for _ in range(shared):
            (word,) = _WORD.unpack_from(self.image, position)
            place = self._shared + word * XATTR_ALIGNMENT
            if nobodys and self._is_list(place):
                raise _DoesNotFitError
            if word not in self._shared_lists:
                self._shared_lists[word] = self._attribute(place, nobodys=False)[0]
            changed |= self._shared_lists[word]
            position += XATTR_ALIGNMENT
        while position < start + size:
            one, position = self._attribute(position, nobodys=nobodys)
            changed |= one
        return changed

    def _is_list(self, position: int) -> bool:
        name_size, index, _ = XATTR_ENTRY.unpack_from(self.image, position)
        return index in _ACL_INDEXES and not name_size

    def _attribute(self, position: int, *, nobodys: bool) -> tuple[bool, int]:
        """Map one attribute; return whether it changed, and where the next one is."""
        name_size, _, value_size = XATTR_ENTRY.unpack_from(self.image, position)
        value = position + XATTR_ENTRY.size + name_size
        following = round_up(value + value_size, XATTR_ALIGNMENT)
        if not self._is_list(position):
            return False, following
        before = bytes(self.image[value : value + value_size])
        after = _mapped_list(before, self._users, self._groups, nobodys=nobodys)
        self.image[value : value + value_size] = after
        return after != before, following


def _mapped_list(value: bytes, users: Target, groups: Target, *, nobodys: bool) -> bytes:
    """Return an access control list with other numbers; what is no whole entry stays.

    That of a file whose owner is nobody here gives the owner alone something.
    """
    mapped = bytearray(value)
    last = len(value) - _ACL_ENTRY.size
    for place in range(_ACL_HEADER.size, last + 1, _ACL_ENTRY.size):
        tag, permissions, number = _ACL_ENTRY.unpack_from(value, place)
        if nobodys and tag != _ACL_OWNER:
            permissions = 0
        if tag in (_ACL_USER, _ACL_GROUP):
            target = users(number) if tag == _ACL_USER else groups(number)
            # Whoever is nobody here is given nothing; the entry stays, so that the list is whole.
            permissions, number = (0, 0) if target is None else (permissions, target)
        _ACL_ENTRY.pack_into(mapped, place, tag, permissions, number)
    return bytes(mapped)


def _map_anew(image: bytes, users: Target, groups: Target) -> MappedOwners:
    """Read the image, map its tree, and write that."""
    with ErofsImage.from_bytes(image) as read:
        root = read.root()
    nodes = {id(node): node for node in (root, *(node for _, node in walk(root)))}
    mapped = unknown = 0
    for node in nodes.values():
        before = node.metadata
        uid, gid = users(before.uid), groups(before.gid)
        is_unknown = uid is None or gid is None
        node.metadata = Metadata(
            before.permissions & _OWNER_ONLY if is_unknown else before.permissions,
            uid or 0,
            gid or 0,
            before.mtime_seconds,
            before.mtime_nanoseconds,
            {
                name: _mapped_list(value, users, groups, nobodys=is_unknown)
                if name in _ACL_NAMES
                else value
                for name, value in before.xattrs.items()
            },
        )
        mapped += node.metadata != before
        unknown += is_unknown
    version = COMPOSEFS_HEADER.unpack_from(image)[_VERSION_FIELD]
    return MappedOwners(b"".join(encode_erofs(root, version)), mapped, unknown)
