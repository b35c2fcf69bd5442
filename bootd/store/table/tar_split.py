"""tar-split data: a tar stream without the contents of its files. Pure.

Source: vbatts/tar-split, tar/storage/entry.go and packer.go. One JSON object a line: a segment
(type 2) has bytes of the stream in Base64; a file (type 1) stands where so many bytes of content
were. Its checksum is not for security and not looked at.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Iterable, Iterator
from typing import Final

from bootd.model.errors import InvalidLayerError
from bootd.store.table.rows import number

LINE_LIMIT: Final = 4 << 20

_FILE: Final = 1
_SEGMENT: Final = 2
_USUAL: Final = re.compile(rb'\{"type":2,"payload":"([0-9A-Za-z+/]*=*)","position":[0-9]+\}')


def parse_tar_split(pieces: Iterable[bytes]) -> Iterator[bytes | int]:
    """Yield segments of a tar stream, and for each file that is not empty its size.

    Raises:
        InvalidLayerError: it is no tar-split data.
    """
    for line in _lines(pieces):
        usual = _USUAL.fullmatch(line)
        if usual is not None:
            yield _bytes(usual[1])
        elif line:
            found = _record(line)
            if found:
                yield found


def _record(line: bytes) -> bytes | int:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidLayerError(f"a layer's tar-split data is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise InvalidLayerError("a layer's tar-split data has a line that is no object")
    match record.get("type"), record.get("payload"):
        case int(kind), _ if kind == _FILE:
            return number(record, "size")
        case int(kind), str(payload) if kind == _SEGMENT:
            return _bytes(payload.encode())
    raise InvalidLayerError("a layer's tar-split data has a record of an unknown type")


def _bytes(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise InvalidLayerError(f"a layer's tar-split data is not Base64: {error}") from error


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    begun: list[bytes] = []
    size = 0
    for piece in pieces:
        first, *more = piece.split(b"\n")
        begun.append(first)
        size += len(first)
        if size > LINE_LIMIT:
            raise InvalidLayerError(f"a layer's tar-split data has a line above {LINE_LIMIT} bytes")
        if more:
            yield b"".join(begun)
            yield from more[:-1]
            begun = more[-1:]
            size = len(more[-1])
    yield b"".join(begun)
