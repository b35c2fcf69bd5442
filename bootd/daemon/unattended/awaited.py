"""Signals that say that something may work now which did not: a wake-up, a network.

Sources: org.freedesktop.login1(5), NetworkManager's D-Bus API (``NMState``),
org.freedesktop.network1(5). A service that does not run says nothing, and is heard once it does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from bootd.daemon.dbus import names
from bootd.daemon.dbus.bus import Connection
from bootd.daemon.dbus.wire import IncomingSignal, RemoteError

_log = logging.getLogger(__name__)

_NM_CONNECTED_SITE: Final = 60
_NETWORKD: Final = "org.freedesktop.network1"
_ONLINE: Final = frozenset({"online", "partial"})
_ROUTABLE: Final = "routable"


def _woke_up(arguments: list[object]) -> bool:
    return arguments == [False]


def _nm_is_connected(arguments: list[object]) -> bool:
    [state] = arguments
    return isinstance(state, int) and state >= _NM_CONNECTED_SITE


def _networkd_is_online(arguments: list[object]) -> bool:
    interface, changed, _ = arguments
    if interface != f"{_NETWORKD}.Manager" or not isinstance(changed, dict):
        return False
    return changed.get("OnlineState") in _ONLINE or changed.get("OperationalState") == _ROUTABLE


@dataclass(frozen=True, slots=True)
class _Source:
    """A signal of a service, and whether it is good news."""

    service: str
    path: str
    interface: str
    member: str
    is_good: Callable[[list[object]], bool]
    is_network: bool

    @property
    def rules(self) -> tuple[str, str]:
        """The match rules for the signal, and for the service's coming and going."""
        ours = f"path='{self.path}',interface='{self.interface}',member='{self.member}'"
        owner = f"sender='{names.BUS_DAEMON}',member='NameOwnerChanged',arg0='{self.service}'"
        return f"type='signal',sender='{self.service}',{ours}", f"type='signal',{owner}"


_SOURCES: Final = (
    _Source(
        "org.freedesktop.login1",
        "/org/freedesktop/login1",
        "org.freedesktop.login1.Manager",
        "PrepareForSleep",
        _woke_up,
        is_network=False,
    ),
    _Source(
        "org.freedesktop.NetworkManager",
        "/org/freedesktop/NetworkManager",
        "org.freedesktop.NetworkManager",
        "StateChanged",
        _nm_is_connected,
        is_network=True,
    ),
    _Source(
        _NETWORKD,
        "/org/freedesktop/network1",
        names.PROPERTIES,
        "PropertiesChanged",
        _networkd_is_online,
        is_network=True,
    ),
)


@dataclass(slots=True)
class Awaited:
    """Listens on the system bus; to the network only where somebody waits for it.

    Args:
        connection: the bus.
        woke_up: called when the machine comes back from sleep.
        network_came: called when it may have a network again.
    """

    connection: Connection
    woke_up: Callable[[], None]
    network_came: Callable[[], None]
    _owners: dict[str, str] = field(default_factory=dict)
    _heard: set[_Source] = field(default_factory=set)

    async def start(self) -> None:
        """Hear of sleep from now on."""
        others = self.connection.heeds
        # Anybody may send a signal straight to us; only that of its service counts.
        self.connection.heeds = lambda sender: others(sender) or sender in self._owners.values()
        self.connection.listen(self._on_signal)
        for source in _SOURCES:
            if not source.is_network:
                await self._hear(source)

    async def heed_network(self, wanted: bool) -> None:  # noqa: FBT001 - it is all that there is
        """Hear of the network, or do so no longer: an idle daemon is not woken for it."""
        for source in _SOURCES:
            if source.is_network and wanted != (source in self._heard):
                await (self._hear(source) if wanted else self._ignore(source))

    async def _hear(self, source: _Source) -> None:
        self._heard.add(source)
        for rule in source.rules:
            await self._ask("AddMatch", rule)
        with suppress(RemoteError):
            [owner] = await self.connection.ask_bus("GetNameOwner", "s", source.service)
            self._owners[source.service] = str(owner)

    async def _ignore(self, source: _Source) -> None:
        self._heard.discard(source)
        self._owners.pop(source.service, None)
        for rule in source.rules:
            await self._ask("RemoveMatch", rule)

    async def _ask(self, member: str, rule: str) -> None:
        try:
            await self.connection.ask_bus(member, "s", rule)
        except RemoteError as error:
            _log.warning("the bus does not tell what is waited for: %s", error.message)

    def _on_signal(self, signal: IncomingSignal) -> None:
        if signal.sender == names.BUS_DAEMON:
            if signal.member == "NameOwnerChanged":
                name, _, new = signal.arguments
                self._owners.pop(name, None)
                if new and any(source.service == name for source in self._heard):
                    self._owners[name] = new
            return
        for source in self._heard:
            if (
                self._owners.get(source.service) == signal.sender
                and (signal.interface, signal.member) == (source.interface, source.member)
                and self._is_good(source, signal)
            ):
                (self.network_came if source.is_network else self.woke_up)()

    def _is_good(self, source: _Source, signal: IncomingSignal) -> bool:
        try:
            return source.is_good(signal.arguments)
        except ValueError:
            _log.warning("%s of %s is not understood", signal.member, source.service)
            return False
