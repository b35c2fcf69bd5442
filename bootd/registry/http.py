"""HTTP for the registry room, which meets requests and urllib3 in three modules alone.

They are this one, `bootd.registry.connections` and `bootd.registry.http_errors`. Invariants: every
wait and every body has a bound; only bootd's own errors leave; a redirect is followed by hand, at
most `_MAX_REDIRECTS` times, and never carries Authorization to another scheme, host or port. Bodies
arrive as they were sent, never decoded, for digests are over those bytes. Proxies are those of
`bootd.registry.proxies`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Final, Self
from urllib.parse import urljoin, urlsplit

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
from bootd.registry.connections import bounded_adapter
from bootd.registry.http_errors import host_of, mapped_errors
from bootd.registry.proxies import proxy_for
from bootd.registry.settings import RegistrySettings, Waits

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
        self._session = requests.Session()
        # Proxies are applied below; .netrc must not replace Authorization.
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = bounded_adapter(settings)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        self._session.headers.update({"User-Agent": settings.user_agent})

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
            headers: besides User-Agent and Accept-Encoding.
            insecure: accept any certificate, and redirects to plain HTTP.
            form: fields to send as the body.
            waits: how long for a connection and an answer; None: as for documents.

        Raises:
            InvalidConfigurationError: a proxy or certificate of the settings cannot be used.
            HostUnknownError, ConnectionFailedError, TimedOutError, TlsFailedError: no answer.
            RedirectLoopError: more redirects than anyone needs.
            ServerFailedError: a redirect that leads nowhere.
        """
        sent = {"Accept-Encoding": "identity", **(headers or {})}
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._send(
                method, url, sent, form, waits or self._settings.document_waits, insecure=insecure
            )
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location:
                return response
            with response:
                response.discard()
            target = urljoin(url, location)
            _check_redirect(url, target, insecure=insecure)
            if _origin(target) != _origin(url):
                sent.pop("Authorization", None)
                if form is not None:
                    raise ServerFailedError(f"{host_of(url)} redirects a form to {host_of(target)}")
            url = target
        raise RedirectLoopError(f"{host_of(url)} redirects more than {_MAX_REDIRECTS} times")

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

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
        # A query may hold a signature that opens a blob to everyone.
        _log.debug("%s %s", method, url.partition("?")[0])
        with mapped_errors(url):
            proxy = proxy_for(url, self._settings, os.environ)
            request = requests.Request(method, url, headers=dict(headers), data=form)
            response = self._session.send(
                self._session.prepare_request(request),
                stream=True,
                allow_redirects=False,
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
    """

    def __init__(
        self, response: requests.Response, url: str, settings: RegistrySettings, clock: Clock
    ) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.url = url
        self._response = response
        self._settings = settings
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()

    @property
    def content_length(self) -> int | None:
        """The length the server promises, or None."""
        value = self.headers.get("Content-Length", "")
        return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None  # noqa: PLR2004 - 64 bits

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives, in pieces of some hundred KiB.

        Raises:
            ConnectionFailedError: the connection broke, or ended before the promised length.
            TimedOutError: silence, or a rate below the minimum.
        """
        held: list[bytes] = []
        count = 0
        try:
            for data in self._pieces():
                held.append(data)
                count += len(data)
                if count >= _CHUNK_SIZE:
                    yield data if len(held) == 1 else b"".join(held)
                    held, count = [], 0
        except BootdError:
            # What came before the break is not asked for again.
            if held:
                yield b"".join(held)
            raise
        if held:
            yield b"".join(held)

    def read(self, limit: int) -> bytes:
        """Return the body, but no more than `limit` + 1 bytes of it, within `document_seconds`.

        Raises:
            ConnectionFailedError, TimedOutError: see `chunks`.
        """
        deadline = self._clock.monotonic() + self._settings.document_seconds
        parts: list[bytes] = []
        count = 0
        for data in self._pieces():
            parts.append(data)
            count += len(data)
            if count > limit:
                break
            if self._clock.monotonic() > deadline:
                raise TimedOutError(
                    f"{host_of(self.url)} needs more than {self._settings.document_seconds:g} s "
                    f"for {count} bytes"
                )
        return b"".join(parts)[: limit + 1]

    def discard(self) -> None:
        """Read what little is left, so that the connection can be used again."""
        length = self.content_length
        if length is not None and length <= _MAX_DISCARD:
            self.read(_MAX_DISCARD)

    def _pieces(self) -> Iterator[bytes]:
        raw: urllib3.HTTPResponse = self._response.raw
        settings, clock = self._settings, self._clock
        waited, arrived, in_all = 0.0, 0, 0.0
        while True:
            start = clock.monotonic()
            with mapped_errors(self.url, in_body=True):
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
                raise TimedOutError(
                    f"{host_of(self.url)} needs more than {settings.total_seconds:g} s"
                )
            if waited >= settings.rate_window_seconds:
                if arrived < settings.minimum_rate * waited:
                    raise TimedOutError(
                        f"{host_of(self.url)} sent {arrived} bytes in {waited:.0f} s"
                    )
                waited, arrived = 0.0, 0


def _check_redirect(source: str, target: str, *, insecure: bool) -> None:
    scheme = urlsplit(target).scheme
    if scheme not in {"http", "https"}:
        raise ServerFailedError(f"{host_of(source)} redirects to {target[:200]!r}")
    if scheme == "http" and urlsplit(source).scheme == "https" and not insecure:
        raise TlsFailedError(
            f"{host_of(source)} redirects to plain HTTP at {host_of(target)}",
            hint="The registry is set up wrongly; tell its administrator.",
        )


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return (
        parts.scheme,
        parts.hostname or "",
        parts.port or (443 if parts.scheme == "https" else 80),
    )
