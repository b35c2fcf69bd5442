"""Writes a tree as the EROFS image that ``mkcomposefs`` 1.0.8 writes for it.

The image is header, superblock, inodes, shared attributes, then whole blocks of data in the order
of their inodes. Sources: as layout.py; the order is composefs 1.0.8's.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import accumulate, chain
from typing import BinaryIO, Final

from bootd.model.hash_algorithm import BY_DIGEST_SIZE, SHA256, HashAlgorithm
from bootd.model.tree import Directory, Metadata, RegularFile
from bootd.store.erofs import overlay
from bootd.store.erofs.encoding import Time, encode_inode
from bootd.store.erofs.inodes import Inode, check_metadata, tree_inodes
from bootd.store.erofs.layout import (
    BLOCK,
    BLOCK_BITS,
    CHUNK_BASED,
    COMPOSEFS_FORMAT,
    COMPOSEFS_HAS_ACL,
    COMPOSEFS_HEADER,
    COMPOSEFS_MAGIC,
    DIRENT,
    FEATURE_MTIME,
    FEATURE_XATTR_FILTER,
    FILE_TYPES,
    FLAT_INLINE,
    SUPERBLOCK,
    SUPERBLOCK_MAGIC,
    SUPERBLOCK_OFFSET,
    XATTR_ALIGNMENT,
    round_up,
)
from bootd.store.erofs.numbering import NumberedTree
from bootd.store.erofs.overlay import SELINUX
from bootd.store.erofs.placing import Entries, Place, Placed, place_inodes
from bootd.store.erofs.plain_files import WORD, PlainFiles
from bootd.store.erofs.xattrs import SharedAttributes

_ACL_NAMES: Final = {b"system.posix_acl_access", b"system.posix_acl_default"}
_PIECE: Final = 1 << 20


def write_erofs(root: Directory, output: BinaryIO, version: int = 0) -> int:
    """Write the image of a tree to a binary file and return its length in bytes.

    `version` is as for `encode_erofs`.

    Raises:
        InvalidTreeError: see `encode_erofs`; nothing was written.
    """
    return sum(output.write(piece) for piece in encode_erofs(root, version))


def encode_erofs(root: Directory, version: int = 0) -> Iterator[bytes]:
    """Yield the pieces of a tree's image.

    The tree's dump (`bootd.store.images.dumpfile`) given to ``mkcomposefs --from-file`` makes the
    same image, if its objects are named by SHA-256: for SHA-512 it is composefs-rs that makes the
    same one. Folders have one name each, other nodes one or more.

    Args:
        root: the tree.
        version: the least version of the format that the image is to be called, 0 or 1, as with
            ``--min-version``; one with whiteouts is always called 1.

    Raises:
        InvalidTreeError: the tree holds what the format or ``mkcomposefs`` cannot; raised before
            the first piece.
    """
    tree = NumberedTree(root)
    algorithm = _algorithm(tree)
    metadata, oldest = _metadata(tree)
    objects = _shared_objects(tree)
    labels = _shared_labels(tree, metadata)
    plain_files = PlainFiles(algorithm, metadata, oldest, labels)
    inodes = tree_inodes(tree, plain_files)
    shared = SharedAttributes((inode.attributes for inode in inodes.values()), objects, labels)
    placed = place_inodes(tree, plain_files, inodes, shared, oldest)
    data_start = round_up(placed.end + len(shared.area), BLOCK)
    blocks = data_start // BLOCK + sum(place.blocks for place in placed.places)
    yield _head(inodes.values(), version) + _superblock(placed, oldest, blocks)
    folders = FolderBlocks(placed.slots, inodes)
    _fill(placed, folders, placed.end % BLOCK // XATTR_ALIGNMENT, data_start // BLOCK)
    for start in range(0, len(placed.area), _PIECE):
        yield bytes(placed.area[start : start + _PIECE])
    yield shared.area + bytes(data_start - placed.end - len(shared.area))
    for place in placed.places:
        if place.blocks:
            yield _data(place, folders)


def _algorithm(tree: NumberedTree) -> HashAlgorithm:
    """Return what made the digest of the first object; `tree_inodes` refuses any other's."""
    files = (node for node in tree.nodes if type(node) is RegularFile and node.content is None)
    sizes = (len(node.verity) for node in files if node.verity is not None)
    return BY_DIGEST_SIZE.get(next(sizes, SHA256.digest_size), SHA256)


def _metadata(tree: NumberedTree) -> tuple[list[Metadata], Time]:
    """Return all there is, each once, and the earliest mtime."""
    numbers = {id(node.metadata): number for number, node in enumerate(tree.nodes)}
    for number in numbers.values():
        check_metadata(tree.names[number], tree.nodes[number].metadata)
    metadata = [tree.nodes[number].metadata for number in numbers.values()]
    return metadata, min((one.mtime_seconds, one.mtime_nanoseconds) for one in metadata)


def _shared_labels(tree: NumberedTree, metadata: list[Metadata]) -> set[bytes]:
    """Return the SELinux labels that several nodes have."""
    labels = {id(one): one.xattrs[SELINUX] for one in metadata if SELINUX in one.xattrs}
    if not labels:
        return set()
    uses: Counter[bytes] = Counter()
    for identity, count in Counter(id(node.metadata) for node in tree.nodes).items():
        if identity in labels:
            uses[labels[identity]] += count
    return {label for label, count in uses.items() if count > 1}


def _shared_objects(tree: NumberedTree) -> set[bytes]:
    """Return the objects that several nodes name."""
    once: set[bytes] = set()
    several: set[bytes] = set()
    for node in tree.nodes:
        if type(node) is RegularFile and node.content is None and node.verity:
            (several if node.verity in once else once).add(node.verity)
    return several


def _head(inodes: Collection[Inode], version: int) -> bytes:
    """Return what stands before the superblock, given all inodes but those of plain files."""
    has_acl = any(name in _ACL_NAMES for inode in inodes for name, _ in inode.attributes)
    version = max(version, any(overlay.is_whiteout(inode.node) for inode in inodes))
    header = COMPOSEFS_HEADER.pack(
        COMPOSEFS_MAGIC,
        COMPOSEFS_FORMAT,
        COMPOSEFS_HAS_ACL if has_acl else 0,
        version,
    )
    return header.ljust(SUPERBLOCK_OFFSET, b"\0")


def _superblock(placed: Placed, oldest: Time, blocks: int) -> bytes:
    return SUPERBLOCK.pack(
        SUPERBLOCK_MAGIC,
        0,
        FEATURE_MTIME | FEATURE_XATTR_FILTER,
        BLOCK_BITS,
        0,
        placed.slots[0],
        len(placed.slots),
        oldest[0],
        oldest[1],
        blocks,
        0,
        placed.end // BLOCK,
        0,
    )


class FolderBlocks:
    """Makes the bytes of folders.

    Args:
        slots: where each inode is.
        inodes: those of all but plain files, by number.
    """

    def __init__(self, slots: list[int], inodes: dict[int, Inode]) -> None:
        self._slots = slots
        self._kinds = bytearray([FILE_TYPES[stat.S_IFREG]]) * len(slots)
        for number, inode in inodes.items():
            self._kinds[number] = FILE_TYPES[stat.S_IFMT(inode.mode)]

    def encode(self, entries: Entries) -> bytes:
        """Return a block or tail of a folder: the fixed parts, then the names."""
        names, numbers = entries
        slots = map(self._slots.__getitem__, numbers)
        offsets = accumulate(map(len, names), initial=len(names) * DIRENT.size)
        kinds = map(self._kinds.__getitem__, numbers)
        return b"".join(chain(map(DIRENT.pack, slots, offsets, kinds), names))


def _fill(placed: Placed, folders: FolderBlocks, first_word: int, block: int) -> None:
    """Put inodes, attributes and tails where they go; plain files are there but for shared words.

    Args:
        placed: the inodes.
        folders: makes folders' entries.
        first_word: where the shared attributes start in their block, in words.
        block: the first block of data.
    """
    for start, words in placed.shared_words:
        for position, word in enumerate(words):
            WORD.pack_into(placed.area, start + position * WORD.size, first_word + word)
    for place in placed.places:
        pieces = [_encode_inode(place, block)]
        block += place.blocks
        if place.attributes.size:
            pieces.append(place.attributes.encode(first_word))
        if place.tail_size:
            pieces.append(folders.encode(place.folded[-1]) if place.folded else place.inode.tail)
        whole = b"".join(pieces)
        placed.area[place.start : place.start + len(whole)] = whole


def _encode_inode(place: Place, block: int) -> bytes:
    inode = place.inode
    layout = inode.data_layout
    if layout != CHUNK_BASED and place.tail_size:
        layout = FLAT_INLINE
    return encode_inode(
        inode,
        place.number,
        compact=place.compact,
        layout=layout,
        address=block if place.blocks else inode.address,
        attributes_size=place.attributes.size,
    )


def _data(place: Place, folders: FolderBlocks) -> bytes:
    if place.folded:
        contents = [folders.encode(entries) for entries in place.folded[: place.blocks]]
    else:
        contents = [place.inode.tail]
    return b"".join(content.ljust(BLOCK, b"\0") for content in contents)
