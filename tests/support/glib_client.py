"""A client as GNOME programs are: PyGObject's Gio.DBusProxy, run by the distribution's Python.

It starts a job (Switch to the reference that is its argument), follows it by the proxy's signals to
its end, and prints what it saw as one JSON line. Cached properties are read without asking again;
``after`` is what they are at the moment in which the job's own say that it has ended.
"""

import json
import sys
from typing import Any

from gi.repository import Gio, GLib

BUS_NAME = "org.bootd1"
_OF_THE_MACHINE = ("State", "Staged", "RebootRequired")


def proxy(path: str, interface: str) -> Any:
    return Gio.DBusProxy.new_for_bus_sync(
        Gio.BusType.SYSTEM,
        Gio.DBusProxyFlags.GET_INVALIDATED_PROPERTIES,
        None,
        BUS_NAME,
        path,
        interface,
        None,
    )


def cached(found: Any, name: str) -> Any:
    value = found.get_cached_property(name)
    return None if value is None else value.unpack()


def main() -> None:
    loop = GLib.MainLoop()
    manager = proxy("/org/bootd1", "org.bootd1.Manager")
    seen: dict[str, Any] = {
        "before": cached(manager, "State"),
        "states": [],
        "staged": [],
        "progress": [],
        "signals": [],
    }

    def on_manager(_proxy: Any, changed: Any, _invalidated: Any) -> None:
        changes = changed.unpack()
        seen["states"] += [changes["State"]] if "State" in changes else []
        seen["staged"] += [changes["Staged"]] if "Staged" in changes else []

    def on_signal(_proxy: Any, _sender: str, name: str, arguments: Any) -> None:
        seen["signals"].append([name, *arguments.unpack()])
        look()

    manager.connect("g-properties-changed", on_manager)
    manager.connect("g-signal", on_signal)
    job: Any = None

    def look(*_: Any) -> None:
        if job is None:
            return
        seen["progress"].append(cached(job, "Progress"))
        if cached(job, "State") == "running":
            return
        if "after" not in seen:
            seen["after"] = {name: cached(manager, name) for name in _OF_THE_MACHINE}
        if cached(job, "Result") and "JobRemoved" in [name for name, *_ in seen["signals"]]:
            loop.quit()

    [path] = manager.call_sync(
        "Switch", GLib.Variant("(sa{sv})", (sys.argv[1], {})), Gio.DBusCallFlags.NONE, -1, None
    ).unpack()
    job = proxy(path, "org.bootd1.Job")
    job.connect("g-properties-changed", look)
    # What was sent before the job's properties were read came before them, and waits here.
    context = loop.get_context()
    while context.pending():
        context.iteration(False)
    look()
    GLib.timeout_add_seconds(60, loop.quit)
    loop.run()
    seen["job"] = {name: cached(job, name) for name in ("State", "Phase", "Result", "Error", "Id")}
    objects = Gio.DBusObjectManagerClient.new_for_bus_sync(
        Gio.BusType.SYSTEM,
        Gio.DBusObjectManagerClientFlags.NONE,
        BUS_NAME,
        "/org/bootd1",
        None,
        None,
        None,
    )
    seen["objects"] = sorted(found.get_object_path() for found in objects.get_objects())
    print(json.dumps(seen))


main()
