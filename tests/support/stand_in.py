"""systemd or logind as our requests meet them on a bus: a stand-in that notes what it was asked.

Run by the distribution's Python: ``stand_in.py NAME [ERROR]``; every call is printed as a JSON line
and answered with the error, if one is named.
"""

import json
import sys

from gi.repository import Gio, GLib

INTERFACES = """
<node>
  <interface name="org.freedesktop.systemd1.Manager">
    <method name="StartUnit">
      <arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="o" direction="out"/>
    </method>
  </interface>
  <interface name="org.freedesktop.systemd1.Timer">
    <property name="NextElapseUSecRealtime" type="t" access="read"/>
  </interface>
  <interface name="org.freedesktop.login1.Manager">
    <method name="RebootWithFlags"><arg type="t" direction="in"/></method>
  </interface>
</node>
"""
PATHS = {
    "org.freedesktop.systemd1.Manager": "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Timer": "/org/freedesktop/systemd1/unit/bootd_2dupgrade_2etimer",
    "org.freedesktop.login1.Manager": "/org/freedesktop/login1",
}
ANSWERS = {"StartUnit": GLib.Variant("(o)", ("/org/freedesktop/systemd1/job/1",))}


def on_call(_bus, _sender, _path, _interface, member, arguments, invocation):
    print(json.dumps([member, *arguments.unpack()]), flush=True)
    if len(sys.argv) > 2:
        invocation.return_dbus_error(sys.argv[2], "because the test says so")
    else:
        invocation.return_value(ANSWERS.get(member))


def on_get(*_):
    return GLib.Variant("t", 1_800_000_000_000_000)


def main():
    bus = Gio.bus_get_sync(Gio.BusType.SYSTEM)
    for interface in Gio.DBusNodeInfo.new_for_xml(INTERFACES).interfaces:
        bus.register_object(PATHS[interface.name], interface, on_call, on_get, None)
    Gio.bus_own_name_on_connection(bus, sys.argv[1], Gio.BusNameOwnerFlags.NONE, None, None)
    GLib.MainLoop().run()


main()
