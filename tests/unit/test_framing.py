"""Messages on the bus by their headers: what is wanted comes whole, what is not costs nothing."""

from __future__ import annotations

import struct

import pytest
from dbus_next import Message, MessageType, Variant

from bootd.daemon.dbus.framing import MAX_FIELDS, Framer, Header, Kind
from bootd.model.errors import InternalError


def call(
    member: str = "GetStatus",
    signature: str = "a{sv}",
    body: object = None,
    path: str = "/org/bootd1",
) -> bytes:
    return bytes(
        Message(
            destination="org.bootd1",
            path=path,
            interface="org.bootd1.Manager",
            member=member,
            signature=signature,
            body=[{"a": Variant("s", "b")}] if body is None else body,
            serial=9,
        )._marshall()
    )


def error() -> bytes:
    return bytes(
        Message(
            message_type=MessageType.ERROR,
            error_name="org.bootd1.Error.Busy",
            reply_serial=5,
            signature="s",
            body=["x" * 1_000],
            serial=3,
        )._marshall()
    )


def framed(data: bytes, size: int, wanted=lambda _: True) -> list[tuple[Header, bytes]]:
    framer = Framer(wanted)
    return [
        found for at in range(0, len(data), size) for found in framer.feed(data[at : at + size])
    ]


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_messages_come_whole_however_they_arrive(size: int) -> None:
    (first, whole), (second, other) = framed(call() + error(), size)
    assert (whole, other) == (call(), error())
    assert first == Header(
        kind=Kind.CALL,
        flags=0,
        serial=9,
        size=struct.unpack_from("<I", whole, 4)[0],
        path="/org/bootd1",
        interface="org.bootd1.Manager",
        member="GetStatus",
        signature="a{sv}",
    )
    assert (second.kind, second.error_name, second.reply_serial) == (
        Kind.ERROR,
        "org.bootd1.Error.Busy",
        5,
    )


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_what_is_not_wanted_is_passed_over(size: int) -> None:
    large = call("Large", "ay", [bytes(5_000)])
    asked = []

    def wanted(header: Header) -> bool:
        asked.append((header.member, header.size))
        return header.member != "Large"

    found = framed(large + call() + large + large + error(), size, wanted)
    assert [message for _, message in found] == [call(), error()]
    assert [member for member, _ in asked].count("Large") == 3, "each is asked for once"


def test_no_more_is_held_than_a_header_of_what_is_not_wanted() -> None:
    large = call("Large", "ay", [bytes(10 << 20)])
    framer = Framer(lambda _: False)
    held = 0
    for at in range(0, len(large), 1 << 16):
        list(framer.feed(large[at : at + (1 << 16)]))
        held = max(held, len(framer._buffer))
    assert held == 0


@pytest.mark.parametrize("size", [1, 1_000, 1 << 20])
def test_a_message_with_endless_names_is_passed_over(size: int) -> None:
    endless = call(path="/" + "x" * MAX_FIELDS)
    asked = []
    found = framed(endless + call(), size, lambda header: asked.append(header) or True)
    assert [message for _, message in found] == [call()]
    assert len(asked) == 1


def test_big_endian() -> None:
    fields = b"\x03\x01s\x00" + struct.pack(">I", 4) + b"Ping\x00"
    message = (
        b"B\x01\x00\x01"
        + struct.pack(">III", 8, 77, len(fields))
        + fields.ljust(16, b"\0")
        + b"12345678"
    )
    [(header, whole)] = framed(message, 5)
    assert (header.member, header.serial, header.size) == ("Ping", 77, 8)
    assert whole == message


def test_fields_to_come_are_passed_and_strange_ones_end_the_message() -> None:
    known = b"\x20\x01u\x00" + struct.pack("<I", 5)
    strange = b"\x20\x01d\x00" + bytes(12)
    for fields, expected in ((known, 1), (strange, 0)):
        message = (
            b"l\x01\x00\x01"
            + struct.pack("<III", 0, 1, len(fields))
            + fields
            + bytes(-len(fields) % 8)
        )
        assert len(framed(message + error(), 3)) == expected + 1


@pytest.mark.parametrize(
    "data", [b"x" * 16, b"l\x01\x00\x02" + bytes(12), b"l\x01\x00\x01" + b"\xff" * 12]
)
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(InternalError):
        framed(data, 16)


@pytest.mark.parametrize(
    "fields",
    [
        b"\x03\x01s\x00\xff\xff\xff\xffPing",
        b"\x03\xffs",
        b"\x03\x01s\x00\x04\x00\x00\x00\xff\xff\xff\xff\x00",
        b"\x05\x01u\x00\x01",
        b"\x01\x01u\x00\x01\x00\x00\x00",
        b"\x05\x01s\x00\x01\x00\x00\x00x\x00",
    ],
)
def test_damaged_fields_end_the_message_alone(fields: bytes) -> None:
    message = (
        b"l\x01\x00\x01" + struct.pack("<III", 0, 1, len(fields)) + fields + bytes(-len(fields) % 8)
    )
    assert [one for _, one in framed(message + error(), 7)] == [error()]
