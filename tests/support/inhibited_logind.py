"""logind as a restart meets it on a bus: a stand-in that something inhibits, as its input says.

Run by the distribution's Python. A line ``MODE WHO WHY`` on standard input adds an inhibitor of
shutdowns, an empty one takes all away; each is told as logind does, and then answered with ``ok``.
Every restart that is asked for is printed as ``restart`` or ``refused``.
"""

import sys
from typing import Any, TextIO

from gi.repository import Gio, GLib

INTERFACE = "org.freedesktop.login1.Manager"
PATH = "/org/freedesktop/login1"
XML = f"""
<node><interface name="{INTERFACE}">
  <method name="RebootWithFlags"><arg type="t" direction="in"/></method>
  <method name="ListInhibitors"><arg type="a(ssssuu)" direction="out"/></method>
  <property name="BlockInhibited" type="s" access="read"/>
</interface></node>
"""
inhibitors: list[tuple[str, str, str, str, int, int]] = []


def blocked() -> bool:
    return any(mode == "block" for _, _, _, mode, _, _ in inhibitors)


def on_call(*call: Any) -> None:
    member, invocation = call[4], call[6]
    if member == "ListInhibitors":
        invocation.return_value(GLib.Variant("(a(ssssuu))", (inhibitors,)))
    elif blocked():
        print("refused", flush=True)
        denied = "org.freedesktop.DBus.Error.AccessDenied"
        invocation.return_dbus_error(denied, "because the test says so")
    else:
        print("restart", flush=True)
        invocation.return_value(None)


def on_get(*_: Any) -> Any:
    return GLib.Variant("s", "shutdown" if blocked() else "")


def on_input(stream: TextIO, _condition: Any, bus: Any) -> bool:
    line = stream.readline()
    if not line:
        return False
    inhibitors.clear()
    if line.strip():
        mode, who, why = line.strip().split(" ", 2)
        inhibitors.append(("shutdown", who, why, mode, 0, 1))
    changed = {"BlockInhibited": on_get()}
    told = GLib.Variant("(sa{sv}as)", (INTERFACE, changed, []))
    bus.emit_signal(None, PATH, "org.freedesktop.DBus.Properties", "PropertiesChanged", told)
    print("ok", flush=True)
    return True


def main() -> None:
    bus = Gio.bus_get_sync(Gio.BusType.SYSTEM)
    [interface] = Gio.DBusNodeInfo.new_for_xml(XML).interfaces
    bus.register_object(PATH, interface, on_call, on_get, None)
    name = "org.freedesktop.login1"
    Gio.bus_own_name_on_connection(bus, name, Gio.BusNameOwnerFlags.NONE, None, None)
    GLib.io_add_watch(sys.stdin, GLib.IO_IN, on_input, bus)
    GLib.MainLoop().run()


main()
