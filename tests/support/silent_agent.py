"""Calls that wait for a password which nobody gives, run by the distribution's Python.

``silent_agent.py NUMBER`` registers an authentication agent for itself that never answers, calls a
method that needs one so often, and prints a line each time that the agent is asked or told that a
question is taken back, and for each answer to a call: its error.
"""

import os
import sys
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


def answered(caller: Any, result: Any) -> None:
    try:
        caller.call_finish(result)
        print("allowed", flush=True)
    except GLib.Error as error:
        print("refused", error.message.splitlines()[0], flush=True)


def main() -> None:
    agent, caller = connect(), connect()

    def on_agent_call(*call: Any) -> None:
        member, invocation = call[4], call[6]
        print(member, flush=True)
        if member != "BeginAuthentication":
            invocation.return_value(None)

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
    for _ in range(int(sys.argv[1])):
        caller.call(
            "org.bootd1",
            "/org/bootd1",
            "org.bootd1.Manager",
            "Cleanup",
            GLib.Variant("(a{sv})", ({},)),
            None,
            Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION,
            600_000,
            None,
            answered,
        )
    GLib.MainLoop().run()


main()
