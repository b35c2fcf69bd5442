"""A caller that is asked for a password and leaves, run by the distribution's Python.

It registers an authentication agent for itself that never answers, calls a method that needs one,
and, once the agent is asked, closes the caller's connection. It prints what polkit told the agent.
"""

import os
from pathlib import Path
from typing import Any

from gi.repository import Gio, GLib

AGENT = """
<node><interface name="org.freedesktop.PolicyKit1.AuthenticationAgent">
  <method name="BeginAuthentication">
    <arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="s" direction="in"/>
    <arg type="a{ss}" direction="in"/><arg type="s" direction="in"/>
    <arg type="a(sa{sv})" direction="in"/>
  </method>
  <method name="CancelAuthentication"><arg type="s" direction="in"/></method>
</interface></node>
"""
POLKIT = "org.freedesktop.PolicyKit1"


def connect() -> Any:
    flags = (
        Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT
        | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
    )
    address = os.environ["DBUS_SYSTEM_BUS_ADDRESS"]
    return Gio.DBusConnection.new_for_address_sync(address, flags, None, None)


def start_time() -> int:
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])


def main() -> None:
    loop = GLib.MainLoop()
    agent, caller = connect(), connect()

    def on_agent_call(*call: Any) -> None:
        member, arguments, invocation = call[4:]
        print(member, arguments.unpack()[0], flush=True)
        if member == "BeginAuthentication":
            caller.close_sync(None)  # and the agent's answer never comes
        else:
            invocation.return_value(None)
            loop.quit()

    interface = Gio.DBusNodeInfo.new_for_xml(AGENT).interfaces[0]
    agent.register_object("/agent", interface, on_agent_call, None, None)
    subject = (
        "unix-process",
        {
            "pid": GLib.Variant("u", os.getpid()),
            "start-time": GLib.Variant("t", start_time()),
            "uid": GLib.Variant("i", os.getuid()),
        },
    )
    agent.call_sync(
        POLKIT,
        "/org/freedesktop/PolicyKit1/Authority",
        POLKIT + ".Authority",
        "RegisterAuthenticationAgent",
        GLib.Variant("((sa{sv})ss)", (subject, "C", "/agent")),
        None,
        Gio.DBusCallFlags.NONE,
        -1,
        None,
    )
    caller.call(
        "org.bootd1",
        "/org/bootd1",
        "org.bootd1.Manager",
        "Cleanup",
        GLib.Variant("(a{sv})", ({},)),
        None,
        Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION,
        -1,
        None,
        None,
    )
    GLib.timeout_add_seconds(60, loop.quit)
    loop.run()


main()
