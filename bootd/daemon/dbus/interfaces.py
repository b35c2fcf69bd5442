"""The interfaces of ``dbus/*.xml`` as values: the XML is the one source of members and signatures.

The files lie in ``dbus/`` of the source tree, are linked into this package and are installed from
there; what introspection answers is their text.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

_EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"


class Emits(StrEnum):
    """What PropertiesChanged tells about a property (D-Bus specification, annotations)."""

    VALUE = "true"
    INVALIDATES = "invalidates"
    CONST = "const"
    NOTHING = "false"


@dataclass(frozen=True, slots=True)
class Method:
    """A method's signatures.

    Attributes:
        arguments: what it takes, by name, but for the options that come last.
    """

    name: str
    takes: str
    gives: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Property:
    """A property's signature; all are read-only."""

    name: str
    signature: str
    emits: Emits


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface; members by name. `xml` is its element as shipped."""

    name: str
    methods: dict[str, Method]
    properties: dict[str, Property]
    signals: dict[str, str]
    xml: str


@cache
def load(name: str) -> Interface:
    """Return a shipped interface by its name."""
    text = (
        Path(__file__).with_name("interfaces").joinpath(f"{name}.xml").read_text(encoding="utf-8")
    )
    element = ET.fromstring(text).find("interface")  # noqa: S314 - our own file
    assert element is not None
    start, end = text.index("  <interface "), text.index("</interface>") + len("</interface>\n")
    return Interface(
        name=name,
        methods={
            method.get("name", ""): Method(
                method.get("name", ""),
                _signature(method, "in"),
                _signature(method, "out"),
                _arguments(method),
            )
            for method in element.iter("method")
        },
        properties={
            found.get("name", ""): Property(
                found.get("name", ""), found.get("type", ""), _emits(found)
            )
            for found in element.iter("property")
        },
        signals={
            signal.get("name", ""): "".join(arg.get("type", "") for arg in signal.iter("arg"))
            for signal in element.iter("signal")
        },
        xml=text[start:end],
    )


def _signature(method: ET.Element, direction: str) -> str:
    return "".join(
        argument.get("type", "")
        for argument in method.iter("arg")
        if argument.get("direction") == direction
    )


def _arguments(method: ET.Element) -> tuple[str, ...]:
    names = [
        argument.get("name", "")
        for argument in method.iter("arg")
        if argument.get("direction") == "in"
    ]
    return tuple(names[:-1])


def _emits(element: ET.Element) -> Emits:
    values = (
        annotation.get("value", "")
        for annotation in element.iter("annotation")
        if annotation.get("name") == _EMITS
    )
    return Emits(next(values, Emits.VALUE))
