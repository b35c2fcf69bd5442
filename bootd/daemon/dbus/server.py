"""Objects on the bus: dispatch by the shipped XML, properties, introspection, ObjectManager.

An exported object is a plain Python object (`Exported`) that gives its property values and its
handlers by name; they must be exactly those of its interface. All properties are read-only.
Whatever a handler raises is turned into an error reply here: bootd's errors by their bus names,
anything else into ``org.bootd1.Error.Internal``; its traceback goes to the journal alone.

What a call is, is looked at before its arguments are unpacked: one with arguments of another type
than its method takes, or with more of them, costs no more than reading its header.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from bootd.daemon.dbus import interfaces, names
from bootd.daemon.dbus.bus import Connection
from bootd.daemon.dbus.callers import TOO_MANY, Callers
from bootd.daemon.dbus.interfaces import Emits, Interface
from bootd.daemon.dbus.refusals import Refusals
from bootd.daemon.dbus.wire import IncomingCall, ProtocolError, Variant
from bootd.model.errors import BootdError, InternalError

_log = logging.getLogger(__name__)

MAX_ARGUMENTS: Final = 64 << 10
"""Bytes of a method's arguments, but for those in `_LARGER`."""
_LARGER: Final = {
    # A file of /etc in base64, or many paths.
    "ResolveEtc": 1 << 20,
    "ResetEtc": 256 << 10,
    "RestoreEtc": 256 << 10,
}
_MAX_NAME: Final = 200
"""Characters of a name that a caller made up, in an answer to it."""
_MACHINE_ID: Final = Path("/etc/machine-id")
_DOCTYPE: Final = (
    '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"\n'
    '  "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">\n'
)
_STANDARD_XML: Final = """\
  <interface name="org.freedesktop.DBus.Peer">
    <method name="Ping"/>
    <method name="GetMachineId"><arg name="machine_uuid" type="s" direction="out"/></method>
  </interface>
  <interface name="org.freedesktop.DBus.Introspectable">
    <method name="Introspect"><arg name="xml_data" type="s" direction="out"/></method>
  </interface>
"""
_PROPERTIES_XML: Final = """\
  <interface name="org.freedesktop.DBus.Properties">
    <method name="Get">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg name="value" type="v" direction="out"/>
    </method>
    <method name="GetAll">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="properties" type="a{sv}" direction="out"/>
    </method>
    <method name="Set">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg name="value" type="v" direction="in"/>
    </method>
    <signal name="PropertiesChanged">
      <arg name="interface_name" type="s"/>
      <arg name="changed_properties" type="a{sv}"/>
      <arg name="invalidated_properties" type="as"/>
    </signal>
  </interface>
"""
_OBJECT_MANAGER_XML: Final = """\
  <interface name="org.freedesktop.DBus.ObjectManager">
    <method name="GetManagedObjects">
      <arg name="objects" type="a{oa{sa{sv}}}" direction="out"/>
    </method>
    <signal name="InterfacesAdded">
      <arg name="object_path" type="o"/>
      <arg name="interfaces_and_properties" type="a{sa{sv}}"/>
    </signal>
    <signal name="InterfacesRemoved">
      <arg name="object_path" type="o"/>
      <arg name="interfaces" type="as"/>
    </signal>
  </interface>
"""
_STANDARD: Final = (
    names.PEER,
    names.INTROSPECTABLE,
    names.PROPERTIES,
    names.OBJECT_MANAGER,
)

_Answer = tuple[str, list[Any]]

_Standard = Callable[..., Awaitable[_Answer]]

Handler = Callable[..., Awaitable[Any]]
"""Takes the `IncomingCall` and the arguments; returns what the method gives, or None."""


class Exported(Protocol):
    """What an object on the bus can do."""

    def properties(self, reader: int | None = None, /) -> Mapping[str, Any]:
        """Return the value of each property; called often, must not wait.

        Args:
            reader: the user who asks; None for what anybody may know, as signals tell it.
        """

    def methods(self) -> Mapping[str, Handler]:
        """Return the handler of each method."""


@dataclass(slots=True)
class _Export:
    interface: Interface
    target: Exported
    methods: Mapping[str, Handler]
    told: Mapping[str, Any] = field(default_factory=dict)
    """The property values that clients know of."""

    def variants(self, values: Mapping[str, Any]) -> dict[str, Variant]:
        known = self.interface.properties
        return {name: Variant(known[name].signature, value) for name, value in values.items()}


class ObjectServer:
    """The objects of one connection, with an ObjectManager at `names.ROOT`.

    Args:
        connection: the bus.
        callers: who calls; None: it is asked here.
    """

    def __init__(self, connection: Connection, callers: Callers | None = None) -> None:
        self._connection = connection
        self._callers = callers or Callers(connection)
        self._exports: dict[str, _Export] = {}
        self._refusals = Refusals(self._refuse)
        connection.admits = self.admits
        connection.on_call = self.handle
        connection.heeds = names.BUS_DAEMON.__eq__
        self._standard: dict[tuple[str, str], tuple[str, _Standard]] = {
            (names.PEER, "Ping"): ("", self._ping),
            (names.PEER, "GetMachineId"): ("", self._machine_id),
            (names.INTROSPECTABLE, "Introspect"): ("", self._introspect),
            (names.PROPERTIES, "Get"): ("ss", self._get),
            (names.PROPERTIES, "GetAll"): ("s", self._get_all),
            (names.PROPERTIES, "Set"): ("ssv", self._set),
            (names.OBJECT_MANAGER, "GetManagedObjects"): ("", self._managed_objects),
        }

    def export(self, path: str, interface: str, target: Exported) -> None:
        """Make an object appear; ObjectManager tells of it.

        Raises:
            InternalError: the object has not exactly the members of its interface.
        """
        export = _Export(interfaces.load(interface), target, target.methods(), target.properties())
        _check_members(export)
        self._exports[path] = export
        if path != names.ROOT:
            held = {interface: export.variants(export.told)}
            member = f"{names.OBJECT_MANAGER}.InterfacesAdded"
            self._connection.emit(names.ROOT, member, "oa{sa{sv}}", path, held)

    def withdraw(self, path: str) -> None:
        """Make an object disappear; ObjectManager tells of it."""
        export = self._exports.pop(path)
        member = f"{names.OBJECT_MANAGER}.InterfacesRemoved"
        self._connection.emit(names.ROOT, member, "oas", path, [export.interface.name])

    def publish(self, path: str) -> None:
        """Tell what changed on an object since its clients were told last; nothing if nothing."""
        export = self._exports[path]
        now = export.target.properties()
        known = export.interface.properties
        differing = [name for name in now if now[name] != export.told[name]]
        changed = {name: now[name] for name in differing if known[name].emits is Emits.VALUE}
        invalidated = [name for name in differing if known[name].emits is Emits.INVALIDATES]
        export.told = now
        if changed or invalidated:
            self._connection.emit(
                path,
                f"{names.PROPERTIES}.PropertiesChanged",
                "sa{sv}as",
                export.interface.name,
                export.variants(changed),
                invalidated,
            )

    def emit(self, path: str, signal: str, *values: Any) -> None:
        """Send a signal of the interface of the object at `path`."""
        interface = self._exports[path].interface
        member = f"{interface.name}.{signal}"
        self._connection.emit(path, member, interface.signals[signal], *values)

    def admits(self, call: IncomingCall) -> bool:
        """Return whether a call, of which the header was read, is taken up; refuse it if not."""
        try:
            self._check(call)
        except ProtocolError as error:
            self._refusals.add(call, error)
            return False
        return True

    def _check(self, call: IncomingCall) -> None:
        takes = self._takes(call)
        if call.signature != takes:
            raise ProtocolError(
                "InvalidArgs",
                f"{call.member} takes {takes!r}, and was called with {call.signature[:100]!r}",
            )
        allowed = _LARGER.get(call.member, MAX_ARGUMENTS)
        if call.size > allowed:
            raise ProtocolError(
                "InvalidArgs", f"{call.member} takes {allowed} bytes of arguments, not {call.size}"
            )
        if not self._callers.has_room(call.sender):
            raise ProtocolError("LimitsExceeded", TOO_MANY)

    async def handle(self, call: IncomingCall) -> None:
        """Answer a call; raises nothing."""
        try:
            async with self._callers.turn(call.sender):
                await self._handle(call)
        except ProtocolError as error:
            self._refusals.add(call, error)
        except BootdError as error:
            self._fail(call, error)

    async def _handle(self, call: IncomingCall) -> None:
        try:
            signature, values = await self._answer(call)
            self._connection.reply(call, signature, *values)
        except ProtocolError as error:
            self._refuse(call, error)
        except InternalError as error:
            _log.exception("%s failed", call.member)
            self._fail(call, InternalError(error.message))
        except BootdError as error:
            self._fail(call, error)
        except Exception as error:  # noqa: BLE001 - the library would send its traceback around
            _log.exception("%s failed", call.member)
            self._fail(call, InternalError(f"{call.member} failed: {type(error).__name__}"))

    def _refuse(self, call: IncomingCall, error: ProtocolError) -> None:
        self._connection.reply_error(call, error.name, error.message)

    def _fail(self, call: IncomingCall, error: BootdError) -> None:
        self._connection.reply_error(call, error.bus_name(), error.message, error.hint)

    async def _answer(self, call: IncomingCall) -> _Answer:
        arguments = await self._connection.arguments(call)
        export = self._exports.get(call.path)
        if export is not None and call.interface in (None, export.interface.name):
            method = export.interface.methods.get(call.member)
            if method is not None:
                handler = export.methods[call.member]
                return method.gives, _as_list(method.gives, await handler(call, *arguments))
        _, standard = self._find_standard(call)
        return await standard(call, *arguments)

    def _takes(self, call: IncomingCall) -> str:
        """Return the signature of what the method that is called takes."""
        export = self._exports.get(call.path)
        if export is not None and call.interface in (None, export.interface.name):
            method = export.interface.methods.get(call.member)
            if method is not None:
                return method.takes
        return self._find_standard(call)[0]

    def _find_standard(self, call: IncomingCall) -> tuple[str, _Standard]:
        wanted = _STANDARD if call.interface is None else (call.interface,)
        for interface in wanted:
            found = self._standard.get((interface, call.member))
            if found is not None:
                return found
        name = f"{call.interface}.{call.member}"[:_MAX_NAME]
        if call.interface in (None, *_STANDARD) or call.path in self._exports:
            raise ProtocolError("UnknownMethod", f"there is no {name}")
        raise ProtocolError("UnknownObject", f"there is no object {call.path[:_MAX_NAME]}")

    def _at(self, path: str) -> _Export:
        if path not in self._exports:
            raise ProtocolError("UnknownObject", f"there is no object {path[:_MAX_NAME]}")
        return self._exports[path]

    async def _ping(self, call: IncomingCall) -> _Answer:
        return "", []

    async def _machine_id(self, call: IncomingCall) -> _Answer:
        try:
            return "s", [_MACHINE_ID.read_text(encoding="ascii").strip()]
        except OSError as error:
            raise ProtocolError("FileNotFound", "this machine has no ID") from error

    async def _introspect(self, call: IncomingCall) -> _Answer:
        export = self._exports.get(call.path)
        prefix = call.path.rstrip("/") + "/"
        below = (path.removeprefix(prefix) for path in self._exports if path.startswith(prefix))
        children = sorted({path.partition("/")[0] for path in below})
        if export is None and not children:
            raise ProtocolError("UnknownObject", f"there is no object {call.path[:_MAX_NAME]}")
        parts = [_DOCTYPE, "<node>\n", _STANDARD_XML]
        if call.path == names.ROOT:
            parts.append(_OBJECT_MANAGER_XML)
        if export is not None:
            parts += [_PROPERTIES_XML, export.interface.xml]
        parts += [f'  <node name="{child}"/>\n' for child in children]
        return "s", ["".join([*parts, "</node>\n"])]

    async def _get(self, call: IncomingCall, interface: str, name: str) -> _Answer:
        export = self._property(call, interface, name)
        return "v", [export.variants(await self._values(call, export))[name]]

    async def _set(self, call: IncomingCall, interface: str, name: str, _value: Any) -> _Answer:
        self._property(call, interface, name)
        raise ProtocolError("PropertyReadOnly", f"{name} cannot be set")

    async def _get_all(self, call: IncomingCall, interface: str) -> _Answer:
        export = self._at(call.path)
        if interface in _STANDARD:
            return "a{sv}", [{}]
        _check_interface(export, interface)
        return "a{sv}", [export.variants(await self._values(call, export))]

    async def _values(self, call: IncomingCall, export: _Export) -> Mapping[str, Any]:
        """Return the property values as the caller may read them."""
        return export.target.properties(await self._callers.user(call.sender))

    def _property(self, call: IncomingCall, interface: str, name: str) -> _Export:
        export = self._at(call.path)
        _check_interface(export, interface)
        if name not in export.interface.properties:
            wanted = f"{interface}.{name}"[:_MAX_NAME]
            raise ProtocolError("UnknownProperty", f"there is no property {wanted}")
        return export

    async def _managed_objects(self, call: IncomingCall) -> _Answer:
        if call.path != names.ROOT:
            raise ProtocolError("UnknownMethod", f"the object manager is at {names.ROOT}")
        # Asked first: objects may come and go meanwhile.
        reader = await self._callers.user(call.sender)
        objects = {
            path: {export.interface.name: export.variants(export.target.properties(reader))}
            for path, export in self._exports.items()
            if path != names.ROOT
        }
        return "a{oa{sa{sv}}}", [objects]


def _check_members(export: _Export) -> None:
    known = export.interface
    differing = (known.methods.keys() ^ export.methods.keys()) | (
        known.properties.keys() ^ export.told.keys()
    )
    if differing:
        raise InternalError(f"{known.name} and its object differ in {', '.join(sorted(differing))}")


def _check_interface(export: _Export, interface: str) -> None:
    if interface not in ("", export.interface.name):
        raise ProtocolError(
            "UnknownInterface", f"there is no interface {interface[:_MAX_NAME]} here"
        )


def _as_list(signature: str, value: Any) -> list[Any]:
    return [value] if signature else []
