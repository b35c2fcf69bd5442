"""The names bootd goes by on the bus; docs/man/org.bootd1.5.md says what they stand for."""

from __future__ import annotations

import re
from typing import Final

BUS_NAME: Final = "org.bootd1"
ROOT: Final = "/org/bootd1"
"""The Manager's object, and the root of the ObjectManager."""
DEPLOYMENTS: Final = ROOT + "/deployment/"
JOBS: Final = ROOT + "/job/"
NO_OBJECT: Final = "/"
"""Stands where a property of type ``o`` has no object to name."""

MANAGER: Final = "org.bootd1.Manager"
DEPLOYMENT: Final = "org.bootd1.Deployment"
JOB: Final = "org.bootd1.Job"
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
OBJECT_MANAGER: Final = "org.freedesktop.DBus.ObjectManager"
INTROSPECTABLE: Final = "org.freedesktop.DBus.Introspectable"
PEER: Final = "org.freedesktop.DBus.Peer"

ADDRESS_VARIABLE: Final = "DBUS_SYSTEM_BUS_ADDRESS"
"""The environment variable that names another bus than the usual one."""
BUS_DAEMON: Final = "org.freedesktop.DBus"
BUS_DAEMON_PATH: Final = "/org/freedesktop/DBus"

_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9]")


def escape_element(text: str) -> str:
    """Return text as one element of an object path: ``_`` and two hex digits for what is no letter.

    The same escape as systemd's ``sd_bus_path_encode`` but for leading digits, which the D-Bus
    specification allows.
    """
    return _NOT_PLAIN.sub(lambda match: f"_{ord(match[0]):02x}", text)


def deployment_path(identifier: str | None) -> str:
    """Return the object path of a deployment; ``/`` for None."""
    return NO_OBJECT if identifier is None else DEPLOYMENTS + escape_element(identifier)
