"""fs-verity digests: the names of objects, measured in user space and enforced by the kernel.

SHA-256 or SHA-512 over blocks of 4096 bytes, without salt: what composefs uses. Source: Linux,
Documentation/filesystems/fsverity.rst, "File digest computation" and "FS_IOC_ENABLE_VERITY".
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from struct import Struct
from typing import Final

from bootd.durable import storage_errors
from bootd.model.hash_algorithm import HashAlgorithm
from bootd.store.objects.multi_buffer import BLOCK, hash_blocks, hash_one_by_one

_DESCRIPTOR: Final = Struct("<BBBB4xQ64s176x")
"""version, hash algorithm, log2 of the block size, salt size, data size, root hash (zeros after a
shorter one)."""
_VERSION: Final = 1
_LOG_BLOCK: Final = 12
_ENABLE: Final = 0x40806685
"""``FS_IOC_ENABLE_VERITY``, which is ``_IOW('f', 133, struct fsverity_enable_arg)``."""
_ENABLE_ARGUMENT: Final = Struct("<IIII112x")
"""version, hash algorithm, block size, salt size; no salt and no signature."""
_UNSUPPORTED: Final = frozenset(
    {errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EROFS, errno.ENOPKG}
)
"""``ENOPKG``: the kernel knows the hash algorithm and has no module for it."""
_ALREADY: Final = frozenset({errno.EEXIST, errno.EBUSY})


def verity_digest(data: bytes, algorithm: HashAlgorithm) -> bytes:
    """Return the fs-verity digest of a content."""
    return verity_digests((data,), algorithm)[0]


def verity_digests(contents: Sequence[bytes], algorithm: HashAlgorithm) -> list[bytes]:
    """Return the fs-verity digest of each content.

    For many small ones at once that takes half the time (`bootd.store.objects.multi_buffer`).
    """
    hashes, size = _hash_all(contents, algorithm), algorithm.digest_size
    while tall := [number for number, joined in enumerate(hashes) if len(joined) > size]:
        above = _hash_all([hashes[one] for one in tall], algorithm)
        for number, joined in zip(tall, above, strict=True):
            hashes[number] = joined
    roots = zip(contents, hashes, strict=True)
    return [_file_digest(algorithm, len(data), root) for data, root in roots]


class VerityHash:
    """The running digest of a content that comes in pieces; it holds one block per tree level."""

    __slots__ = ("_algorithm", "_levels", "_rest", "_size")

    def __init__(self, algorithm: HashAlgorithm) -> None:
        self._algorithm = algorithm
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
            self._push(0, self._hash_blocks(data[:whole] if self._rest else data))

    def digest(self) -> bytes:
        """Return the digest; nothing can be added afterwards."""
        if self._size == len(self._rest):
            return verity_digest(self._rest, self._algorithm)
        if self._rest:
            self._push(0, self._hash_blocks(self._rest))
            self._rest = b""
        level, digest_size = 0, self._algorithm.digest_size
        while level + 1 < len(self._levels) or len(self._levels[level]) > digest_size:
            if self._levels[level]:
                hashes = self._hash_blocks(bytes(self._levels[level]))
                self._levels[level].clear()
                self._push(level + 1, hashes)
            level += 1
        return _file_digest(self._algorithm, self._size, bytes(self._levels[level]))

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
            self._push(level + 1, self._hash_blocks(full))

    def _hash_blocks(self, data: bytes) -> bytes:
        """Return the hashes of all blocks, joined; the last one counts as if filled with zeros."""
        return _hash_all((data,), self._algorithm)[0]


def enable_verity(path: Path, algorithm: HashAlgorithm) -> bool:
    """Let the kernel guard a file's content from now on; the file becomes immutable.

    Returns:
        False where the kernel or the file system has no fs-verity, or not with this algorithm; the
        file is as it was.

    Raises:
        NoSpaceError, WriteFailedError: it could be guarded, and the disk failed.
    """
    with storage_errors("enable fs-verity on", path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            argument = _ENABLE_ARGUMENT.pack(_VERSION, algorithm.number, BLOCK, 0)
            fcntl.ioctl(descriptor, _ENABLE, argument)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return False
            if error.errno not in _ALREADY:
                raise
        finally:
            os.close(descriptor)
    return True


def _hash_all(contents: Sequence[bytes], algorithm: HashAlgorithm) -> list[bytes]:
    """Return the hashes of all blocks of each content, joined."""
    hashes = hash_blocks(contents, algorithm)
    return hashes or [hash_one_by_one(data, algorithm) for data in contents]


def _file_digest(algorithm: HashAlgorithm, size: int, root_hash: bytes) -> bytes:
    """Return the hash of the descriptor; an empty file has a root hash of zeros."""
    number = algorithm.number
    descriptor = _DESCRIPTOR.pack(_VERSION, number, _LOG_BLOCK, 0, size, root_hash)
    return algorithm.new(descriptor).digest()
