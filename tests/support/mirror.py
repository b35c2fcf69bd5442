"""What a program knows of the daemon that asks once and then only listens."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bootd.daemon.dbus import names
from bootd.daemon.dbus.client import BusClient
from bootd.daemon.dbus.wire import IncomingSignal
from bootd.daemon.events.status_file import read_status
from bootd.sysroot import Sysroot

Properties = dict[str, Any]
_NAMING = ("Booted", "Staged", "Queued", "Rollback")
_NOTHING = "/"


@dataclass
class Mirror:
    """The daemon's objects and their properties, put together of its signals.

    Attributes:
        objects: properties by path.
        ends: for each job that ended, what was known at the moment of its last own change.
        told: what came, as sender's object and member; state changes of jobs with their state.
        faults: where a signal told of something that was not there, or told it too late.
    """

    sysroot: Sysroot
    objects: dict[str, Properties] = field(default_factory=dict)
    ends: dict[str, dict[str, Properties]] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    async def of(cls, client: BusClient, sysroot: Sysroot) -> Self:
        """Ask for everything once, and listen from then on."""
        mirror = cls(sysroot)
        client.watch(mirror._take)
        mirror.objects = await truth(client)
        return mirror

    def known(self) -> dict[str, Properties]:
        """A copy of what is known now."""
        return {path: dict(values) for path, values in self.objects.items()}

    async def until(self, path: str, member: str) -> None:
        """Wait for a signal of an object."""
        while (path, member) not in self.told:
            self._heard.clear()
            await asyncio.wait_for(self._heard.wait(), 60)

    def _take(self, signal: IncomingSignal | None) -> None:
        if signal is None:
            self.faults.append("the daemon went away")
            return
        arguments = signal.arguments
        match signal.member:
            case "InterfacesAdded":
                [values] = arguments[1].values()
                self.objects[arguments[0]] = dict(values)
            case "InterfacesRemoved":
                del self.objects[arguments[0]]
                self._look_at_names()
            case "PropertiesChanged":
                self._change(signal.path, arguments[1], arguments[2])
            case "JobRemoved":
                state = self.objects[arguments[1]]["State"]
                if state != arguments[2]:
                    self.faults.append(f"{arguments[1]} was removed while {state}")
                self.told.append((arguments[1], "removed"))
            case _:
                pass
        self.told.append((signal.path, signal.member))
        self._heard.set()

    def _change(self, path: str, changed: Mapping[str, Any], invalidated: list[str]) -> None:
        self.objects[path].update(changed)
        for name in invalidated:
            self.objects[path].pop(name, None)
        if path == names.ROOT:
            self._look_at_names()
        elif path.startswith(names.JOBS):
            ended = self.objects[path]["State"] != "running"
            if not ended and ("Result" in invalidated or "Error" in changed):
                self.faults.append(f"{path} has an outcome and runs")
            if ended and "State" in changed:
                self.told.append((path, "ended"))
                self.ends[path] = self.known()
                self._look_at_the_file()

    def _look_at_names(self) -> None:
        manager = self.objects[names.ROOT]
        named = {manager[name] for name in _NAMING} - {_NOTHING}
        self.faults += [f"{path} is named and not there" for path in named - self.objects.keys()]

    def _look_at_the_file(self) -> None:
        written = read_status(self.sysroot.run)
        state = self.objects[names.ROOT]["State"]
        if written is None or written["state"] != state:
            self.faults.append(f"the status file is behind the state {state}")


async def truth(client: BusClient) -> dict[str, Properties]:
    """Ask for the properties of all objects; of the machine's too."""
    objects = {
        path: {name: value for values in held.values() for name, value in values.items()}
        for path, held in (await client.get_objects()).items()
    }
    return {**objects, names.ROOT: await client.get_properties()}


def without_results(objects: Mapping[str, Properties]) -> dict[str, Properties]:
    """Leave the properties out of which signals tell only that they changed."""
    return {
        path: {name: value for name, value in values.items() if name not in {"Result", "Error"}}
        for path, values in objects.items()
    }
