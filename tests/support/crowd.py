"""Many connections that never stop calling bootd; one process, run by any Python.

``crowd.py HOW NUMBER CALLS`` opens so many connections to the system bus and keeps so many calls in
flight on each. HOW is ``asking`` (``GetStatus``), ``guessing`` (a method that is not there), or
``leaving``: a connection goes after its first answer, and another one comes. ``ready`` is printed
once so many connections are there and the first one was answered. The messages are written here,
not by a library, so that the crowd is faster than whom it calls.
"""

import os
import select
import socket
import struct
import sys

METHODS = {"asking": "GetStatus", "leaving": "GetStatus", "guessing": "Guess"}
PATH, INTERFACE, MEMBER, REPLY, DESTINATION, SIGNATURE = 1, 2, 3, 5, 6, 8
CALL, ANSWERS = 1, (2, 3)


def field(code: int, kind: bytes, value: bytes) -> bytes:
    size = struct.pack("<B" if kind == b"g" else "<I", len(value))
    return bytes([code, 1]) + kind + b"\0" + size + value + b"\0"


def message(serial: int, *fields: bytes, body: bytes = b"") -> bytes:
    """Return a call in little endian (D-Bus specification, "Message Format")."""
    listed = b""
    for one in fields:
        listed += bytes(-len(listed) % 8) + one
    head = struct.pack("<BBBBIII", ord("l"), CALL, 0, 1, len(body), serial, len(listed))
    return head + listed + bytes(-len(listed) % 8) + body


def hello() -> bytes:
    bus = b"org.freedesktop.DBus"
    named = (field(INTERFACE, b"s", bus), field(MEMBER, b"s", b"Hello"))
    return message(
        1, field(PATH, b"o", b"/org/freedesktop/DBus"), *named, field(DESTINATION, b"s", bus)
    )


def call(serial: int, member: str) -> bytes:
    return message(
        serial,
        field(PATH, b"o", b"/org/bootd1"),
        field(INTERFACE, b"s", b"org.bootd1.Manager"),
        field(MEMBER, b"s", member.encode()),
        field(DESTINATION, b"s", b"org.bootd1"),
        field(SIGNATURE, b"g", b"a{sv}"),
        body=bytes(8),
    )


class Caller:
    """One connection."""

    def __init__(self, path: str, member: str, calls: int) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        identity = str(os.getuid()).encode().hex().encode()
        self.socket.sendall(b"\0AUTH EXTERNAL " + identity + b"\r\n")
        said = self.socket.recv(1024)
        assert said.startswith(b"OK"), said
        self.socket.sendall(b"BEGIN\r\n" + hello())
        self.member, self.serial, self.buffer = member, 1, b""
        for _ in range(calls):
            self.ask()

    def ask(self) -> None:
        self.serial += 1
        self.socket.sendall(call(self.serial, self.member))

    def heard(self) -> int:
        """Return how many calls were answered by what arrived."""
        data = self.socket.recv(65536)
        if not data:
            sys.exit("the bus hung up")
        self.buffer += data
        answers = 0
        while len(self.buffer) >= 16:
            body, _, fields = struct.unpack_from("<III", self.buffer, 4)
            size = 16 + fields + -fields % 8 + body
            if len(self.buffer) < size:
                break
            # The first answer, of the serial 1, is the bus's own.
            marked = bytes([REPLY, 1]) + b"u\0" + struct.pack("<I", 1)
            answers += self.buffer[1] in ANSWERS and marked not in self.buffer[:size]
            self.buffer = self.buffer[size:]
        return answers


def main() -> None:
    how, number, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    path = os.environ["DBUS_SYSTEM_BUS_ADDRESS"].partition("path=")[2].partition(",")[0]
    waiting = select.epoll()
    callers: dict[int, Caller] = {}

    def come() -> None:
        caller = Caller(path, METHODS[how], calls)
        callers[caller.socket.fileno()] = caller
        waiting.register(caller.socket, select.EPOLLIN)

    for _ in range(number):
        come()
    is_ready = False
    while True:
        for handle, _ in waiting.poll():
            answers = callers[handle].heard()
            if answers and not is_ready:
                is_ready = True
                print("ready", flush=True)
            if answers and how == "leaving":
                waiting.unregister(handle)
                callers.pop(handle).socket.close()
                come()
                continue
            for _ in range(answers):
                callers[handle].ask()


main()
