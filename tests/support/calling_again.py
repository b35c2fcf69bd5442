"""Calls of a method again and again, run by the distribution's Python.

``calling_again.py NUMBER`` keeps so many calls of ``GetStatus`` in flight, whatever is answered,
and prints ``ready`` once the first is answered.
"""

import os
import sys
from typing import Any

from gi.repository import Gio, GLib

FLAGS = (
    Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
)
ADDRESS = os.environ["DBUS_SYSTEM_BUS_ADDRESS"]
BUS = Gio.DBusConnection.new_for_address_sync(ADDRESS, FLAGS, None, None)
ANSWERS: list[int] = []


def call(*answer: Any) -> None:
    if answer and not ANSWERS:
        ANSWERS.append(1)
        print("ready", flush=True)
    arguments = GLib.Variant("(a{sv})", ({},))
    names = ("org.bootd1", "/org/bootd1", "org.bootd1.Manager", "GetStatus")
    BUS.call(*names, arguments, None, Gio.DBusCallFlags.NONE, -1, None, call)


for _ in range(int(sys.argv[1])):
    call()
GLib.MainLoop().run()
