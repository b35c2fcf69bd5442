"""Whose turn it is among the places an image can be had from, and which of them are down.

A place that another one can stand in for is asked with little patience. One that cannot be reached
is put last for as long as `_REMEMBERED_SECONDS`, by all processes of this boot: a short note says
so, and is written only once another place has served, for else it may be this machine's own network
that is down.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from bootd.clock import Clock
from bootd.durable import Disk
from bootd.model.errors import BootdError, StorageError, TimedOutError, TransportError
from bootd.records import read_cache, write_record
from bootd.registry.endpoint import Endpoint
from bootd.registry.uses import Uses
from bootd.registry.wire.http_errors import never_connected

_log = logging.getLogger(__name__)

_REMEMBERED_SECONDS: Final = 1_800.0
_MAX_PLACES: Final = 100
_DOWN: Final = "it could not be reached a short while ago"


class _Down(BaseModel):
    """The places that could not be reached, and until when that is remembered."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    format: Literal[1] = 1
    down: dict[str, float]
    """By place, the time of `Clock.monotonic`, in seconds."""


class Turns:
    """The places of one image, in the order in which they are asked.

    Args:
        endpoints: the mirrors, and the registry itself last.
        down: what is known of places that cannot be reached.
        uses: where it is noted what each of them did.
    """

    def __init__(self, endpoints: list[Endpoint], down: DownPlaces, uses: Uses) -> None:
        self._endpoints = endpoints
        self._down = down
        self._uses = uses

    def copy(self) -> Turns:
        """Return the same, for a reader that puts the places in an order of its own."""
        return Turns(list(self._endpoints), self._down, self._uses)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._endpoints)

    def __iter__(self) -> Iterator[Turn]:
        """Yield whose turn it is, until one of them serves or there is no hope.

        All but the last are asked in haste. Those that are down come last, and then there is nobody
        to wait for, so the last of the others is asked once more with all patience. If it cannot be
        reached, those that took no connection in haste, or took one and said nothing, are asked
        with patience, too: one may be slow, and be all that this network leads to.
        """
        down = [one for one in self._endpoints if self._down.has(one.place)]
        up = [one for one in self._endpoints if one not in down] or down
        if up is not down:
            for one in down:
                self._uses.passed_over(one.location.name, _DOWN, logging.INFO)
        *others, last = up
        slow: list[Endpoint] = []
        for endpoint in [*others, last, *down] if down and up is not down else others:
            turn = Turn(self, endpoint, Patience.LITTLE)
            yield turn
            if turn.is_slow and endpoint is not last:
                slow.append(endpoint)
        main = Turn(self, last, Patience.UNLESS_UNREACHABLE if slow else Patience.ALL)
        yield main
        *others, last = slow
        for endpoint in others:
            yield Turn(self, endpoint, Patience.UNLESS_UNREACHABLE)
        yield Turn(self, last, Patience.ALL, main.error)

    def last_of_all(self) -> None:
        """Ask the place that is asked first last of all from now on."""
        self._endpoints.append(self._endpoints.pop(0))

    def served(self, endpoint: Endpoint) -> None:
        """Ask this place first from now on."""
        self._uses.served(endpoint.location.name)
        self._endpoints.remove(endpoint)
        self._endpoints.insert(0, endpoint)
        self._down.keep()

    def failed(self, endpoint: Endpoint, error: BootdError) -> None:
        """Take note of a place that did not serve."""
        self._uses.passed_over(endpoint.location.name, error.message)

    def received(self, endpoint: Endpoint, count: int) -> None:
        """Take note of bytes of a layer."""
        self._uses.received(endpoint.location.name, count)

    def is_down(self, endpoint: Endpoint) -> None:
        """Take note of a place that cannot be reached."""
        self._down.add(endpoint.place)


class Patience(Enum):
    """How a place is asked, and when its failure is the last word."""

    LITTLE = "in haste, and never"
    UNLESS_UNREACHABLE = "as long as it takes, unless it cannot be reached"
    ALL = "as long as it takes, and always"


class Turn:
    """One place, while it is asked.

    Attributes:
        endpoint: it, with as much patience as it deserves.
        error: how it failed, or None.
        is_slow: whether it failed by not answering in time, or not at all.
    """

    def __init__(
        self,
        turns: Turns,
        endpoint: Endpoint,
        patience: Patience,
        told: BootdError | None = None,
    ) -> None:
        self.endpoint = endpoint.hasty() if patience is Patience.LITTLE else endpoint
        self.error: BootdError | None = None
        self.is_slow = False
        self._told = told
        self._turns = turns
        self._original = endpoint
        self._patience = patience

    def received(self, count: int) -> None:
        """Note bytes of a layer that came from here."""
        self._turns.received(self._original, count)

    @contextmanager
    def taken(self, *more: type[BootdError], silence_is_down: bool = False) -> Iterator[None]:
        """Pass over a place that fails, unless that is the last word; what serves is asked first.

        Args:
            more: errors besides `TransportError` for which the next place is asked.
            silence_is_down: whether a place that does not answer counts as one that is down; one
                that is slow to serve a large blob does not.
        """
        passed_over: tuple[type[BootdError], ...] = (TransportError, *more)
        try:
            yield
        except passed_over as error:
            is_unreachable = never_connected(error)
            is_silent = isinstance(error, TimedOutError)
            self.error, self.is_slow = error, is_unreachable or is_silent
            if is_unreachable or (silence_is_down and is_silent):
                self._turns.is_down(self._original)
            if self._patience is Patience.ALL and self._told is not None:
                # What the registry itself met with says more.
                raise self._told from error
            if self._patience is Patience.ALL or not (
                self._patience is Patience.LITTLE or is_unreachable
            ):
                raise
            self._turns.failed(self._original, error)
        else:
            self._turns.served(self._original)


class DownPlaces:
    """The places that could not be reached; what cannot be read or written of them is not known.

    Args:
        path: the note, in a folder that goes with this boot; None: nothing outlives this object.
        disk: writes it.
        clock: `Clock.monotonic` is the same for all processes of a boot.
    """

    def __init__(self, path: Path | None, disk: Disk, clock: Clock) -> None:
        self._path = path
        self._disk = disk
        self._clock = clock
        self._until = self._read()
        self._is_new = False

    def has(self, place: str) -> bool:
        """Return whether a place is down as far as is known."""
        return self._until.get(place, 0.0) > self._clock.monotonic()

    def add(self, place: str) -> None:
        """Know that a place is down, in this process."""
        self._until[place] = self._clock.monotonic() + _REMEMBERED_SECONDS
        self._is_new = True

    def keep(self) -> None:
        """Tell other processes what is new."""
        if not self._is_new or self._path is None:
            return
        self._is_new = False
        newest = sorted(self._until.items(), key=lambda one: one[1])[-_MAX_PLACES:]
        try:
            self._disk.make_directory(self._path.parent, 0o755)
            write_record(self._disk, self._path, _Down(down=dict(newest)))
        except StorageError as error:
            _log.debug("what is down is not noted: %s", error)

    def _read(self) -> dict[str, float]:
        if self._path is None:
            return {}
        now = self._clock.monotonic()
        noted = read_cache(self._path, _Down)
        return {
            place: until
            for place, until in ({} if noted is None else noted.down).items()
            # Another boot's note would be of another time.
            if now < until <= now + _REMEMBERED_SECONDS
        }
