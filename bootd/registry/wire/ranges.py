"""What a server made of a Range request (RFC 9110 sections 14.4 and 15.3.7, 15.5.17)."""

from __future__ import annotations

import re
from typing import Final

from bootd.model.errors import SizeMismatchError
from bootd.model.registry.image import Descriptor
from bootd.registry.wire.http import HttpResponse

NO_RANGE: Final = -1
"""Says that the answer's bytes are not those that were asked for."""

_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII)
_OK: Final = 200
_PARTIAL: Final = 206


def first_byte(response: HttpResponse, blob: Descriptor, offset: int) -> int:
    """Return where in the blob the body begins: at `offset`, at 0, or `NO_RANGE`.

    Raises:
        SizeMismatchError: the server has a blob of another size.
    """
    if response.status == _OK:
        length = response.content_length
        if length is not None and length != blob.size:
            raise SizeMismatchError(f"{blob.digest} is served with {length} of {blob.size} bytes")
        return 0
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if response.status != _PARTIAL or match is None or int(match[1]) != offset:
        return NO_RANGE
    if response.is_packed(int(match[2]) + 1 - offset):
        # Nobody knows whether this is a part that was packed, or a part of what was packed.
        return NO_RANGE
    if match[3] != "*" and int(match[3]) != blob.size:
        raise SizeMismatchError(f"{blob.digest} is served with {match[3]} of {blob.size} bytes")
    return offset


def strong_etag(response: HttpResponse) -> str:
    """Return the entity tag if it may stand in If-Range (RFC 9110 section 13.1.5), or nothing."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') and len(etag) < 1_000 else ""  # noqa: PLR2004 - sane
