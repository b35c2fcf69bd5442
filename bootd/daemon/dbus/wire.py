"""What crosses the bus, in Python's own types, so that no other module sees the D-Bus library.

Values that come in are plain: variants are unwrapped, structs are lists. Values that go out are
plain too, but where a variant is wanted a `Variant` names the type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bootd.model.errors import InternalError

ERROR_PREFIX: Final = "org.freedesktop.DBus.Error."


@dataclass(frozen=True, slots=True)
class Variant:
    """A value with its D-Bus signature."""

    signature: str
    value: Any


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """A method call as it arrived, its arguments still packed (`Connection.arguments`).

    Attributes:
        sender: the caller's unique bus name; the bus daemon vouches for it.
        path: the object.
        interface: None where the caller left it out, which the specification allows.
        member: the method.
        signature: of the arguments.
        size: bytes of the arguments as they are packed.
        interactive: the caller waits for a password prompt (ALLOW_INTERACTIVE_AUTHORIZATION).
        serial: what a reply refers to.
        wants_reply: False: whatever happens, nothing is sent back.
        packed: the whole message; empty as long as only its header was read.
    """

    sender: str
    path: str
    interface: str | None
    member: str
    signature: str
    size: int
    interactive: bool
    serial: int
    wants_reply: bool
    packed: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class IncomingSignal:
    """A signal as it arrived."""

    sender: str
    path: str
    interface: str
    member: str
    arguments: list[Any]


class RemoteError(InternalError, family=True):
    """Another program on the bus answered with an error.

    Attributes:
        name: the D-Bus error name.
    """

    def __init__(self, name: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message or name, hint=hint)
        self.name = name


class ProtocolError(InternalError, family=True):
    """A caller broke the rules of D-Bus itself; it is answered with a standard error name."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message, hint="")
        self.name = ERROR_PREFIX + name


def options(values: Mapping[str, bool | int | str | list[str]]) -> dict[str, Variant]:
    """Return an options dictionary (``a{sv}``) of plain values."""
    return {key: Variant(_signature_of(value), value) for key, value in values.items()}


def _signature_of(value: bool | int | str | list[str]) -> str:  # noqa: FBT001 - any of these
    if isinstance(value, bool):
        return "b"
    if isinstance(value, list):
        return "as"
    return "s" if isinstance(value, str) else "t"
