"""fs-verity digests: the names of objects, measured in user space and enforced by the kernel.

SHA-256 over blocks of 4096 bytes, without salt: what composefs uses. Source: Linux,
Documentation/filesystems/fsverity.rst, "File digest computation" and "FS_IOC_ENABLE_VERITY".
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import Final

from bootd.durable import storage_errors
from bootd.store.multi_buffer import BLOCK, hash_blocks, hash_one_by_one

DIGEST_SIZE: Final = 32

_DESCRIPTOR: Final = Struct("<BBBB4xQ32s208x")
"""version, hash algorithm, log2 of the block size, salt size, data size, root hash."""
_VERSION: Final = 1
_SHA256: Final = 1
_LOG_BLOCK: Final = 12
_ENABLE: Final = 0x40806685
"""``FS_IOC_ENABLE_VERITY``, which is ``_IOW('f', 133, struct fsverity_enable_arg)``."""
_ENABLE_ARGUMENT: Final = Struct("<IIII112x")
"""version, hash algorithm, block size, salt size; no salt and no signature."""
_UNSUPPORTED: Final = frozenset(
    {errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EROFS}
)
_ALREADY: Final = frozenset({errno.EEXIST, errno.EBUSY})


def verity_digest(data: bytes) -> bytes:
    """Return the 32-byte fs-verity digest of a content."""
    return verity_digests((data,))[0]


def verity_digests(contents: Sequence[bytes]) -> list[bytes]:
    """Return the 32-byte fs-verity digest of each content.

    For many small ones at once that takes half the time (`bootd.store.multi_buffer`).
    """
    hashes = _hash_all(contents)
    while tall := [number for number, joined in enumerate(hashes) if len(joined) > DIGEST_SIZE]:
        for number, joined in zip(tall, _hash_all([hashes[one] for one in tall]), strict=True):
            hashes[number] = joined
    return [_file_digest(len(data), root) for data, root in zip(contents, hashes, strict=True)]


class VerityHash:
    """The running digest of a content that comes in pieces; it holds one block per tree level."""

    __slots__ = ("_levels", "_rest", "_size")

    def __init__(self) -> None:
        self._rest = b""
        self._size = 0
        self._levels = [bytearray()]

    def update(self, data: bytes) -> None:
        """Take the next piece, of any length."""
        self._size += len(data)
        if self._rest:
            data = self._rest + data
        whole = len(data) & -BLOCK
        self._rest = data[whole:]
        if whole:
            self._push(0, _hash_blocks(data[:whole] if self._rest else data))

    def digest(self) -> bytes:
        """Return the 32-byte digest; nothing can be added afterwards."""
        if self._size == len(self._rest):
            return verity_digest(self._rest)
        if self._rest:
            self._push(0, _hash_blocks(self._rest))
            self._rest = b""
        level = 0
        while level + 1 < len(self._levels) or len(self._levels[level]) > DIGEST_SIZE:
            if self._levels[level]:
                hashes = _hash_blocks(bytes(self._levels[level]))
                self._levels[level].clear()
                self._push(level + 1, hashes)
            level += 1
        return _file_digest(self._size, bytes(self._levels[level]))

    def _push(self, level: int, hashes: bytes) -> None:
        """Add hashes to a level of the tree; each block that fills up is hashed into the next."""
        if level == len(self._levels):
            self._levels.append(bytearray())
        block = self._levels[level]
        block += hashes
        whole = len(block) & -BLOCK
        if whole:
            full = bytes(block[:whole])
            del block[:whole]
            self._push(level + 1, _hash_blocks(full))


def enable_verity(path: Path) -> bool:
    """Let the kernel guard a file's content from now on; the file becomes immutable.

    Returns:
        False where the kernel or the file system has no fs-verity; the file is as it was.

    Raises:
        NoSpaceError, WriteFailedError: it could be guarded, and the disk failed.
    """
    with storage_errors("enable fs-verity on", path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            argument = _ENABLE_ARGUMENT.pack(_VERSION, _SHA256, BLOCK, 0)
            fcntl.ioctl(descriptor, _ENABLE, argument)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return False
            if error.errno not in _ALREADY:
                raise
        finally:
            os.close(descriptor)
    return True


def _hash_blocks(data: bytes) -> bytes:
    """Return the hashes of all blocks, joined; the last block counts as if filled with zeros."""
    return _hash_all((data,))[0]


def _hash_all(contents: Sequence[bytes]) -> list[bytes]:
    """Do the same for each content."""
    return hash_blocks(contents) or [hash_one_by_one(data) for data in contents]


def _file_digest(size: int, root_hash: bytes) -> bytes:
    """Return the hash of the descriptor; an empty file has a root hash of zeros."""
    descriptor = _DESCRIPTOR.pack(_VERSION, _SHA256, _LOG_BLOCK, 0, size, root_hash)
    return sha256(descriptor).digest()
