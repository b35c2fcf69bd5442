"""HTTP for the registry room, which meets requests and urllib3 in three modules alone.

They are this one and `connections` and `http_errors` beside it. Invariants: every wait and every
body has a bound; only bootd's own errors leave, and `TemporaryFailure`; a redirect is followed by
hand, at most `_MAX_REDIRECTS` times, to exactly the URL that it names, and never carries
Authorization to another scheme, host or port. Bodies are asked for as they are, for digests are
over those bytes; what a proxy packed all the same is unpacked. Proxies are those of
`bootd.registry.wire.proxies`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Final, Self
from urllib.parse import urlsplit

import requests
import urllib3

from bootd.clock import Clock
from bootd.model.errors import (
    BootdError,
    RedirectLoopError,
    ServerFailedError,
    TimedOutError,
    TlsFailedError,
)
from bootd.registry.settings import RegistrySettings, Waits
from bootd.registry.wire.connections import bounded_adapter
from bootd.registry.wire.encoding import coding_of, unpacked
from bootd.registry.wire.http_errors import host_of, mapped_errors
from bootd.registry.wire.proxies import proxy_for
from bootd.registry.wire.retry import TemporaryFailure
from bootd.registry.wire.urls import exact, origin, redirected

_log = logging.getLogger(__name__)

_MAX_REDIRECTS: Final = 10
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_DISCARD: Final = 64 << 10
_READ_SIZE: Final = 512 << 10
_CHUNK_SIZE: Final = 128 << 10


class HttpClient:
    """One session: connections are kept and used again; for one thread at a time."""

    def __init__(self, settings: RegistrySettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        # No session of requests': it would read .netrc, keep cookies and read redirects' bodies.
        self._adapter = bounded_adapter(settings)
        self._answered: set[tuple[str, str, int]] = set()

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        insecure: bool = False,
        form: Mapping[str, str] | None = None,
        waits: Waits | None = None,
    ) -> HttpResponse:
        """Send a request, follow redirects, and return the answer before its body is read.

        Args:
            method: GET, HEAD or POST.
            url: where to.
            headers: besides User-Agent, Accept and Accept-Encoding.
            insecure: accept any certificate, and redirects to plain HTTP.
            form: fields to send as the body.
            waits: how long for a connection and an answer; None: as for documents.

        Raises:
            InvalidConfigurationError: a proxy or certificate of the settings cannot be used.
            TemporaryFailure: no answer, which may pass.
            TlsFailedError, ConnectionFailedError: no answer.
            RedirectLoopError: more redirects than anyone needs.
            ServerFailedError: a redirect that leads nowhere.
        """
        sent = {
            "User-Agent": self._settings.user_agent,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            **(headers or {}),
        }
        asked, was_elsewhere = origin(url), False
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._send(
                method, url, sent, form, waits or self._settings.document_waits, insecure=insecure
            )
            self._answered |= {asked}
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location:
                response.is_elsewhere = was_elsewhere
                return response
            with response:
                response.discard()
            target = redirected(url, location)
            _check_redirect(url, target, insecure=insecure)
            if origin(target) != origin(url):
                sent.pop("Authorization", None)
                if form is not None:
                    raise ServerFailedError(f"{host_of(url)} redirects a form to {host_of(target)}")
            url = target
            was_elsewhere = was_elsewhere or origin(url) != asked
        raise RedirectLoopError(f"{host_of(url)} redirects more than {_MAX_REDIRECTS} times")

    def has_answered(self, url: str) -> bool:
        """Return whether the origin of a URL has answered a request that was not a redirect's."""
        return origin(url) in self._answered

    def close(self) -> None:
        """Close all connections."""
        self._adapter.close()

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        form: Mapping[str, str] | None,
        waits: Waits,
        *,
        insecure: bool,
    ) -> HttpResponse:
        # A query may hold a signature that opens a blob to everyone, and a host a password.
        _log.debug("%s %s%s", method, host_of(url), urlsplit(url).path)
        with mapped_errors(url, self._clock):
            proxy = proxy_for(url, self._settings, os.environ)
            request = requests.Request(method, url, headers=dict(headers), data=form).prepare()
            request.url = exact(request.url or "", url)
            response = self._adapter.send(
                request,
                stream=True,
                timeout=(waits.connect, waits.first_byte),
                verify=not insecure,
                proxies={"http": proxy, "https": proxy} if proxy else {},
            )
        return HttpResponse(response, url, self._settings, self._clock)


class HttpResponse:
    """An answer whose body is still to be read; use it as a context manager.

    Attributes:
        status: the status code.
        headers: the headers, whatever their case.
        url: where it came from after redirects.
        is_elsewhere: whether another origin (RFC 6454) than the one that was asked answered, or
            said where to ask.
        coding: what the body is packed with, and unpacked from; empty where it comes as it is.
    """

    def __init__(
        self, response: requests.Response, url: str, settings: RegistrySettings, clock: Clock
    ) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.url = url
        self.is_elsewhere = False
        self.coding = coding_of(self.headers.get("Content-Encoding", ""))
        self._held: Iterator[bytes] | None = None
        self._response = response
        self._settings = settings
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()

    @property
    def content_length(self) -> int | None:
        """The length the server promises, or None; that of a packed body says nothing."""
        return None if self.coding else self.sent_length

    @property
    def sent_length(self) -> int | None:
        """The length of the body as it travels, or None."""
        value = self.headers.get("Content-Length", "")
        return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None  # noqa: PLR2004 - 64 bits

    def is_packed(self, size: int) -> bool:
        """Whether a body that has so many bytes is packed, not only marked so.

        Storage that was told that an archive is gzip may send that word along with it.
        """
        if self.coding and self.sent_length == size:
            self.coding = ""
        return bool(self.coding)

    def beginning(self) -> bytes:
        """Return the first bytes of the body, at least one if there is any, without taking them.

        Raises:
            TemporaryFailure, ServerFailedError: see `chunks`.
        """
        pieces = self._unpacked()
        first = next(pieces, b"")
        self._held = chain([first], pieces) if first else pieces
        return first

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives, in pieces of some hundred KiB.

        Raises:
            TemporaryFailure: the connection broke, or ended before the promised length; silence,
                or a rate below the minimum; what a proxy packed is damaged.
            ServerFailedError: it is packed in an unknown way.
        """
        held: list[bytes] = []
        count = 0
        try:
            for data in self._unpacked():
                held.append(data)
                count += len(data)
                if count >= _CHUNK_SIZE:
                    yield data if len(held) == 1 else b"".join(held)
                    held, count = [], 0
        except (BootdError, TemporaryFailure):
            # What came before the break is not asked for again.
            if held:
                yield b"".join(held)
            raise
        if held:
            yield b"".join(held)

    def read(self, limit: int) -> bytes:
        """Return the body, but no more than `limit` + 1 bytes of it, within `document_seconds`.

        Raises:
            TemporaryFailure, ServerFailedError: see `chunks`.
        """
        deadline = self._clock.monotonic() + self._settings.document_seconds
        parts: list[bytes] = []
        count = 0
        for data in self._unpacked():
            parts.append(data)
            count += len(data)
            if count > limit:
                break
            if self._clock.monotonic() > deadline:
                message = (
                    f"{host_of(self.url)} needs more than {self._settings.document_seconds:g} s "
                    f"for {count} bytes"
                )
                raise TemporaryFailure(TimedOutError(message))
        return b"".join(parts)[: limit + 1]

    def discard(self) -> None:
        """Read what little is left, so that the connection can be used again."""
        length = self.sent_length
        if length is not None and length <= _MAX_DISCARD:
            self.coding = ""
            self.read(_MAX_DISCARD)

    def _unpacked(self) -> Iterator[bytes]:
        if self._held is not None:
            return self._held
        pieces = self._pieces()
        return unpacked(pieces, self.coding, host_of(self.url)) if self.coding else pieces

    def _pieces(self) -> Iterator[bytes]:
        raw: urllib3.HTTPResponse = self._response.raw
        settings, clock = self._settings, self._clock
        waited, arrived, in_all = 0.0, 0, 0.0
        while True:
            start = clock.monotonic()
            with mapped_errors(self.url, clock, in_body=True):
                data = raw.read1(_READ_SIZE, decode_content=False)
            if not data:
                return
            # Only the time spent waiting counts: whoever consumes the bytes may be slow.
            taken = clock.monotonic() - start
            waited += taken
            in_all += taken
            arrived += len(data)
            yield data
            if in_all > settings.total_seconds:
                message = f"{host_of(self.url)} needs more than {settings.total_seconds:g} s"
                raise TimedOutError(message)
            if waited >= settings.rate_window_seconds:
                if arrived < settings.minimum_rate * waited:
                    message = f"{host_of(self.url)} sent {arrived} bytes in {waited:.0f} s"
                    raise TemporaryFailure(TimedOutError(message))
                waited, arrived = 0.0, 0


def _check_redirect(source: str, target: str, *, insecure: bool) -> None:
    scheme = urlsplit(target).scheme
    if scheme not in {"http", "https"}:
        raise ServerFailedError(f"{host_of(source)} redirects to {scheme[:20]!r}, not to HTTP")
    if scheme == "http" and urlsplit(source).scheme == "https" and not insecure:
        raise TlsFailedError(
            f"{host_of(source)} redirects to plain HTTP at {host_of(target)}",
            hint="The registry is set up wrongly; tell its administrator.",
        )
