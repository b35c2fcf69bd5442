"""systemd or logind as our requests meet them on a bus: a stand-in that notes what it was asked.

Run by the distribution's Python: ``stand_in.py NAME [ERROR [STATE]]``; every call is printed as a
JSON line and answered with the error, if one is named; the timer is active, or in another state.
"""

import json
import sys
from typing import Any

from gi.repository import Gio, GLib

INTERFACES = """
<node>
  <interface name="org.freedesktop.systemd1.Manager">
    <method name="StartUnit">
      <arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="o" direction="out"/>
    </method>
  </interface>
  <interface name="org.freedesktop.systemd1.Timer">
    <property name="TimersCalendar" type="a(sst)" access="read"/>
    <property name="RandomizedDelayUSec" type="t" access="read"/>
  </interface>
  <interface name="org.freedesktop.systemd1.Unit">
    <property name="ActiveState" type="s" access="read"/>
  </interface>
  <interface name="org.freedesktop.login1.Manager">
    <method name="RebootWithFlags"><arg type="t" direction="in"/></method>
  </interface>
</node>
"""
PATHS = {
    "org.freedesktop.systemd1.Manager": "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Timer": "/org/freedesktop/systemd1/unit/bootd_2dupgrade_2etimer",
    "org.freedesktop.systemd1.Unit": "/org/freedesktop/systemd1/unit/bootd_2dupgrade_2etimer",
    "org.freedesktop.login1.Manager": "/org/freedesktop/login1",
}
ANSWERS = {"StartUnit": GLib.Variant("(o)", ("/org/freedesktop/systemd1/job/1",))}


def on_call(*call: Any) -> None:
    member, arguments, invocation = call[4:]
    print(json.dumps([member, *arguments.unpack()]), flush=True)
    if len(sys.argv) > 2 and sys.argv[2]:
        invocation.return_dbus_error(sys.argv[2], "because the test says so")
    else:
        invocation.return_value(ANSWERS.get(member))


def on_get(_bus: Any, _sender: str, _path: str, _interface: str, name: str) -> Any:
    return {
        "TimersCalendar": GLib.Variant(
            "a(sst)", [("OnCalendar", "*-*-* 02:00:00", 1_800_000_000_000_000)]
        ),
        "RandomizedDelayUSec": GLib.Variant("t", 900_000_000),
        "ActiveState": GLib.Variant("s", (*sys.argv, "", "active")[3] or "active"),
    }[name]


def main() -> None:
    bus = Gio.bus_get_sync(Gio.BusType.SYSTEM)
    for interface in Gio.DBusNodeInfo.new_for_xml(INTERFACES).interfaces:
        bus.register_object(PATHS[interface.name], interface, on_call, on_get, None)
    Gio.bus_own_name_on_connection(bus, sys.argv[1], Gio.BusNameOwnerFlags.NONE, None, None)
    GLib.MainLoop().run()


main()
