"""Where one message on the bus ends and the next begins, and what its header says.

Pure. A message is looked at by its header alone, and what nobody wants is passed over as it comes
in: unpacking a message costs a second a megabyte, and anybody may send one of 32 MiB. Source:
D-Bus specification, "Message Format" and "Header Fields".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from bootd.model.errors import InternalError

MAX_FIELDS: Final = 16 << 10
"""Bytes of the fields of a header; a message with longer names gets no answer."""
MAX_MESSAGE: Final = 128 << 20
"""Bytes of a message; no bus lets one pass that is longer."""

_FIXED: Final = 16
_ORDERS: Final = {ord("l"): "<", ord("B"): ">"}
_VERSION: Final = 1
_TEXT: Final = frozenset("so")
_SIGNATURE: Final = "g"
_NUMBER: Final = "u"
_NAMES: Final = {
    1: ("path", "o"),
    2: ("interface", "s"),
    3: ("member", "s"),
    4: ("error_name", "s"),
    5: ("reply_serial", "u"),
    7: ("sender", "s"),
    8: ("signature", "g"),
}
"""The fields that are looked at, each with its one type."""


class Kind(IntEnum):
    """What a message is."""

    CALL = 1
    RETURN = 2
    ERROR = 3
    SIGNAL = 4


@dataclass(frozen=True, slots=True)
class Header:
    """What a message says of itself before its body.

    Attributes:
        kind: a `Kind`; a receiver ignores others.
        flags: as sent.
        serial: what a reply refers to.
        size: bytes of the body.
    """

    kind: int
    flags: int
    serial: int
    size: int
    path: str = ""
    interface: str | None = None
    member: str = ""
    error_name: str = ""
    reply_serial: int = 0
    sender: str = ""
    signature: str = ""


class Framer:
    """Messages from bytes that arrive in pieces.

    Args:
        wanted: tells by a header whether the message is to be read whole.
    """

    def __init__(self, wanted: Callable[[Header], bool]) -> None:
        self._wanted = wanted
        self._buffer = bytearray()
        self._skip = 0
        self._header: Header | None = None
        self._size = 0

    def feed(self, data: bytes) -> Iterator[tuple[Header, bytes]]:
        """Take up what arrived, and yield each wanted message that is complete with its header.

        Raises:
            InternalError: that is no message, so what follows cannot be read either.
        """
        passed = min(self._skip, len(data))
        self._skip -= passed
        self._buffer += memoryview(data)[passed:]
        while not self._skip and self._complete():
            header, message = self._header, bytes(memoryview(self._buffer)[: self._size])
            del self._buffer[: self._size]
            self._header = None
            assert header is not None
            yield header, message

    def _complete(self) -> bool:
        """Return whether a wanted message is whole; pass over those that are not wanted."""
        while self._header is None:
            found = _sizes(self._buffer)
            if found is None:
                return False
            order, body, fields = found
            before = _FIXED + _padded(fields)
            if fields <= MAX_FIELDS:
                if len(self._buffer) < before:
                    return False
                header = _header(self._buffer, order, body, fields)
                if header is not None and self._wanted(header):
                    self._header, self._size = header, before + body
                    break
            self._pass_over(before + body)
        return len(self._buffer) >= self._size

    def _pass_over(self, size: int) -> None:
        here = min(size, len(self._buffer))
        del self._buffer[:here]
        self._skip = size - here


def _sizes(data: bytearray) -> tuple[str, int, int] | None:
    """Return the byte order and the bytes of body and fields; None: there is too little yet."""
    if len(data) < _FIXED:
        return None
    order = _ORDERS.get(data[0])
    if order is None or data[3] != _VERSION:
        raise InternalError("the bus sent what is no message")
    body, _, fields = struct.unpack_from(f"{order}III", data, 4)
    if body + fields > MAX_MESSAGE:
        raise InternalError(f"the bus sent a message of {body + fields} bytes")
    return order, body, fields


def _header(data: bytearray, order: str, body: int, fields: int) -> Header | None:
    """Return a whole header; None: a field is damaged, or of a kind nobody knows how to pass."""
    (serial,) = struct.unpack_from(f"{order}I", data, 8)
    found: dict[str, Any] = {}
    at, end = _FIXED, _FIXED + fields
    try:
        while at < end:
            at = _padded(at)
            code = data[at]
            kind = data[at + 2 : at + 2 + data[at + 1]].decode("ascii")
            at += data[at + 1] + 3
            value: str | int
            if kind in _TEXT or kind == _NUMBER:
                at = _padded(at, 4)
                (value,) = struct.unpack_from(f"{order}I", data, at)
                at += 4
                if kind in _TEXT:
                    length = int(value)
                    value = data[at : at + length].decode()
                    at += length + 1
            elif kind == _SIGNATURE:
                value = data[at + 1 : at + 1 + data[at]].decode("ascii")
                at += data[at] + 2
            else:
                return None
            if at > end:
                return None
            if code in _NAMES:
                name, expected = _NAMES[code]
                if kind != expected:
                    return None
                found[name] = value
        return Header(kind=data[1], flags=data[2], serial=serial, size=body, **found)
    except (IndexError, ValueError, struct.error):
        return None


def _padded(size: int, boundary: int = 8) -> int:
    return size + -size % boundary
