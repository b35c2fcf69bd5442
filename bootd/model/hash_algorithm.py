"""The hash algorithms of fs-verity: by one of them a store names all that it holds.

A digest's length says which one made it, as in composefs, so a tree, an image or a record that is
read needs no other word for it. Source: Linux, include/uapi/linux/fsverity.h; composefs-rs 0.9.0,
``fsverity::hashvalue``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hashlib import _Hash as Hash


@dataclass(frozen=True, slots=True)
class HashAlgorithm:
    """One algorithm.

    Attributes:
        name: as in ``format.json`` and in what fsverity(1) prints.
        number: fs-verity's, and so overlayfs's.
        digest_size: bytes of a digest.
        new: begins a hash, with what is to be hashed first.
    """

    name: str
    number: int
    digest_size: int
    new: Callable[[bytes | memoryview], Hash]


SHA256: Final = HashAlgorithm("sha256", 1, 32, hashlib.sha256)
SHA512: Final = HashAlgorithm("sha512", 2, 64, hashlib.sha512)

HASH_ALGORITHMS: Final = {one.name: one for one in (SHA256, SHA512)}
"""Those a store may have, by name; the first is what it has unless it is asked for another."""

BY_DIGEST_SIZE: Final = {one.digest_size: one for one in HASH_ALGORITHMS.values()}
"""The same, by the bytes of a digest."""

VERITY_HEX: Final = r"^(?:[0-9a-f]{64}|[0-9a-f]{128})$"
"""A digest of any of them, in hex."""
