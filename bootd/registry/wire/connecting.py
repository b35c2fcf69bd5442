"""One TCP connection to a host that may have many addresses, some of them dead (RFC 8305).

The addresses of both families take turns. An attempt begins as soon as the one before has failed,
or has not come about for 250 ms; the first that connects wins and the others are closed. The bound
is for all of them together. Looking the name up comes before; its bound is that of resolv.conf(5).
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import Any, Final, NamedTuple

from bootd.clock import SYSTEM_CLOCK

_STAGGER_SECONDS: Final = 0.25
"""RFC 8305 section 5, "Connection Attempt Delay"."""
_MAX_ADDRESSES: Final = 40
_NO_WAY: Final = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""What a family fails with that this machine does not have."""


class Address(NamedTuple):
    """Where a socket connects to."""

    family: int
    place: tuple[Any, ...]


def connect(
    host: str,
    port: int,
    seconds: float,
    options: Iterable[tuple[int, int, int | bytes]] = (),
    answered: str = "",
) -> socket.socket:
    """Return a socket that is connected to a host; its timeout is `seconds`.

    Args:
        host: a name or an address.
        port: the port there.
        seconds: for all attempts together.
        options: what is set on the socket before it connects.
        answered: the address that took the last connection to this host; it is tried first.

    Raises:
        socket.gaierror: the name has no address.
        TimeoutError: no address answered in time.
        OSError: all of them refused; of several errors, one that tells the most.
    """
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = interleaved([Address(info[0], info[4]) for info in infos])
    # A stable sort: it comes before the others if it is still among them.
    addresses.sort(key=lambda address: address.place[0] != answered)
    race = _Race(addresses[:_MAX_ADDRESSES], list(options))
    try:
        winner = race.run(SYSTEM_CLOCK.monotonic() + seconds)
    finally:
        race.close()
    winner.settimeout(seconds)
    return winner


def interleaved(addresses: Sequence[Address]) -> list[Address]:
    """Return each address once, the families in turn, and within each in the order given."""
    known = list(dict.fromkeys(addresses))
    families = dict.fromkeys(address.family for address in known)
    groups = [[one for one in known if one.family == family] for family in families]
    return [one for row in zip_longest(*groups) for one in row if one is not None]


class _Race:
    """Attempts that run side by side."""

    def __init__(
        self, addresses: list[Address], options: list[tuple[int, int, int | bytes]]
    ) -> None:
        self._left = addresses
        self._options = options
        self._running: dict[int, socket.socket] = {}
        self._poll = select.poll()
        self._errors: list[OSError] = []

    def run(self, deadline: float) -> socket.socket:
        begin_at = 0.0
        while self._left or self._running:
            now = SYSTEM_CLOCK.monotonic()
            if now >= deadline:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            if self._left and (not self._running or now >= begin_at):
                begin_at = now + _STAGGER_SECONDS
                if not self._begin(self._left.pop(0)):
                    # The next one need not wait for what has failed already.
                    begin_at = now
                continue
            until = min(deadline, begin_at) if self._left else deadline
            for descriptor, _ in self._poll.poll(max(1.0, (until - now) * 1_000)):
                if self._has_connected(descriptor):
                    return self._running.pop(descriptor)
                begin_at = now
        raise self._most_telling()

    def close(self) -> None:
        for attempt in self._running.values():
            attempt.close()

    def _begin(self, address: Address) -> bool:
        """Begin an attempt; return whether it is under way."""
        try:
            attempt = socket.socket(address.family, socket.SOCK_STREAM)
        except OSError as error:
            self._errors.append(error)
            return False
        try:
            for option in self._options:
                attempt.setsockopt(*option)
            attempt.setblocking(False)
            with suppress(BlockingIOError):
                attempt.connect(address.place)
        except OSError as error:
            attempt.close()
            self._errors.append(error)
            return False
        self._running[attempt.fileno()] = attempt
        self._poll.register(attempt, select.POLLOUT)
        return True

    def _has_connected(self, descriptor: int) -> bool:
        """Tell whether an attempt came about; one that failed is closed."""
        self._poll.unregister(descriptor)
        number = self._running[descriptor].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not number:
            return True
        self._errors.append(OSError(number, os.strerror(number)))
        self._running.pop(descriptor).close()
        return False

    def _most_telling(self) -> OSError:
        telling = [error for error in self._errors if error.errno not in _NO_WAY]
        return (telling or self._errors or [OSError(errno.EADDRNOTAVAIL, "no address")])[-1]
