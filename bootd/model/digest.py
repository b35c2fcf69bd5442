"""Content digests as OCI writes them: ``algorithm:hex``.

Source: OCI Image Specification 1.1, descriptor.md, "Digests".
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final, Self

from bootd.model.errors import InvalidDigestError
from bootd.startup import later

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

with later():
    from pydantic_core import core_schema  # only where pydantic already is

_HEX_LENGTH: Final = {"sha256": 64, "sha512": 128}
_PATTERN: Final = re.compile(r"(sha256|sha512):([0-9a-f]+)", re.ASCII)


class Digest(str):
    """A checked digest; it is a string, so it prints, sorts, hashes and serialises as one.

    Raises:
        InvalidDigestError: the text is not ``sha256:`` and 64 or ``sha512:`` and 128 lower-case
            hex digits.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check the text."""
        match = _PATTERN.fullmatch(text)
        if match is None or len(match[2]) != _HEX_LENGTH[match[1]]:
            raise InvalidDigestError(f"{text[:200]!r} is not a digest")
        return super().__new__(cls, text)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the SHA-256 digest of some bytes."""
        return cls("sha256:" + hashlib.sha256(data).hexdigest())

    @property
    def algorithm(self) -> str:
        """``sha256`` or ``sha512``."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """The digits without the algorithm."""
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """The first 16 hex digits, as deployment IDs use them."""
        return self.hex[:16]

    def new_hash(self) -> Hash:
        """Return an empty running hash of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(max_length=200)
        )
