"""HTTP for the registry room: the only module that knows requests and urllib3.

Invariants: every wait and every body has a bound; only bootd's own errors leave; a redirect is
followed by hand, at most `_MAX_REDIRECTS` times, and never carries Authorization to another scheme,
host or port. Bodies arrive as they were sent, never decoded, for digests are over those bytes.

Proxies come from the environment. Certificate authorities are the system's, and those of
containers-certs.d(5) for the host.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urljoin, urlsplit

import requests
import requests.adapters
import requests.utils
import urllib3
import urllib3.connection
import urllib3.exceptions

from bootd.clock import Clock
from bootd.model.errors import (
    BootdError,
    ConnectionFailedError,
    HostUnknownError,
    InvalidConfigurationError,
    RedirectLoopError,
    ServerFailedError,
    TimedOutError,
    TlsFailedError,
)
from bootd.registry.settings import RegistrySettings

_log = logging.getLogger(__name__)

_MAX_REDIRECTS: Final = 10
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_DISCARD: Final = 64 << 10
_READ_SIZE: Final = 512 << 10
_CHUNK_SIZE: Final = 128 << 10
_HEAD_STALLS: Final = 4
_MAX_CERTIFICATE_FILES: Final = 100
_CERTIFICATE_FOLDERS: Final = ("etc/containers/certs.d", "etc/docker/certs.d")


class HttpClient:
    """One session: connections are kept and used again; for one thread at a time."""

    def __init__(self, settings: RegistrySettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._session = requests.Session()
        # The environment's proxies are applied below; .netrc must not replace Authorization.
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = _Adapter(settings.root)
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
    ) -> HttpResponse:
        """Send a request, follow redirects, and return the answer before its body is read.

        Args:
            method: GET, HEAD or POST.
            url: where to.
            headers: besides User-Agent and Accept-Encoding.
            insecure: accept any certificate, and redirects to plain HTTP.
            form: fields to send as the body.

        Raises:
            HostUnknownError, ConnectionFailedError, TimedOutError, TlsFailedError: no answer.
            RedirectLoopError: more redirects than anyone needs.
            ServerFailedError: a redirect that leads nowhere.
        """
        sent = {"Accept-Encoding": "identity", **(headers or {})}
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._send(method, url, sent, form, insecure=insecure)
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
                    raise ServerFailedError(f"{_host(url)} redirects a form to {_host(target)}")
            url = target
        raise RedirectLoopError(f"{_host(url)} redirects more than {_MAX_REDIRECTS} times")

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        form: Mapping[str, str] | None,
        *,
        insecure: bool,
    ) -> HttpResponse:
        # A query may hold a signature that opens a blob to everyone.
        _log.debug("%s %s", method, url.partition("?")[0])
        settings = self._settings
        with _mapped_errors(url):
            request = requests.Request(method, url, headers=dict(headers), data=form)
            response = self._session.send(
                self._session.prepare_request(request),
                stream=True,
                allow_redirects=False,
                timeout=(settings.connect_seconds, settings.stall_seconds),
                verify=not insecure,
                proxies=requests.utils.get_environ_proxies(url),
            )
        return HttpResponse(response, url, settings, self._clock)


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
                    f"{_host(self.url)} needs more than {self._settings.document_seconds:g} s "
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
        waited, arrived = 0.0, 0
        while True:
            start = clock.monotonic()
            with _mapped_errors(self.url, in_body=True):
                data = raw.read1(_READ_SIZE, decode_content=False)
            if not data:
                return
            # Only the time spent waiting counts: whoever consumes the bytes may be slow.
            waited += clock.monotonic() - start
            arrived += len(data)
            yield data
            if waited >= settings.rate_window_seconds:
                if arrived < settings.minimum_rate * waited:
                    raise TimedOutError(f"{_host(self.url)} sent {arrived} bytes in {waited:.0f} s")
                waited, arrived = 0.0, 0


class _PlainConnection(urllib3.connection.HTTPConnection):
    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override] # as its parent's
        return _in_time(self, super().getresponse)


class _TlsConnection(urllib3.connection.HTTPSConnection):
    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override] # as its parent's
        return _in_time(self, super().getresponse)


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(requests.adapters.HTTPAdapter):
    """Connections with a deadline for headers, and a TLS context for each host."""

    def __init__(self, root: Path) -> None:
        super().__init__(max_retries=0)
        self._root = root
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}
        _use_deadlines(self.poolmanager)

    def proxy_manager_for(self, *arguments: Any, **keywords: Any) -> Any:
        return _use_deadlines(super().proxy_manager_for(*arguments, **keywords))

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https":
            key = (_host(request.url or ""), bool(verify))
            if key not in self._contexts:
                self._contexts[key] = _tls_context(self._root, key[0], verify=key[1])
            pool["ssl_context"] = self._contexts[key]
        return host, pool

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        # The context has the system's authorities; requests would add certifi's bundle to them.
        conn.cert_reqs = "CERT_REQUIRED" if verify else "CERT_NONE"


def _in_time(
    connection: urllib3.connection.HTTPConnection, receive: Callable[[], urllib3.HTTPResponse]
) -> urllib3.HTTPResponse:
    """Receive status line and headers with a deadline for the whole of them.

    The read timeout alone is for single reads, and a server that sends a byte now and then would
    hold a request for ever.
    """
    wire, stall = connection.sock, connection.timeout
    if wire is None or stall is None:
        return receive()
    expired = threading.Event()

    def give_up() -> None:
        expired.set()
        with suppress(OSError):
            # A TLS socket's own method would drop the state that the reader is using.
            socket.socket.shutdown(wire, socket.SHUT_RDWR)

    timer = threading.Timer(_HEAD_STALLS * stall, give_up)
    timer.start()
    response: urllib3.HTTPResponse | None = None
    try:
        response = receive()
        return response
    finally:
        timer.cancel()
        timer.join()
        if expired.is_set():
            # A head that was cut short passes for a whole one.
            if response is not None:
                response.close()
            raise TimeoutError("the headers took too long")


def _use_deadlines(manager: urllib3.PoolManager) -> urllib3.PoolManager:
    manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}
    return manager


def _tls_context(root: Path, host: str, *, verify: bool) -> ssl.SSLContext:
    """Return a context with the host's authorities and client certificates, containers-certs.d(5).

    Raises:
        InvalidConfigurationError: a certificate file cannot be used.
    """
    if verify:
        context = ssl.create_default_context()
    else:
        # Reading the system's authorities takes longer than a small layer.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    folders = [root / place / host for place in _CERTIFICATE_FOLDERS]
    folder = next((one for one in folders if one.is_dir()), None)
    if folder is None:
        return context
    for path in sorted(folder.iterdir())[:_MAX_CERTIFICATE_FILES]:
        try:
            if path.suffix == ".crt":
                context.load_verify_locations(path)
            elif path.suffix == ".cert":
                context.load_cert_chain(path, path.with_suffix(".key"))
        except OSError as error:
            raise InvalidConfigurationError(f"{path} cannot be used: {error}") from error
    return context


def _check_redirect(source: str, target: str, *, insecure: bool) -> None:
    scheme = urlsplit(target).scheme
    if scheme not in {"http", "https"}:
        raise ServerFailedError(f"{_host(source)} redirects to {target[:200]!r}")
    if scheme == "http" and urlsplit(source).scheme == "https" and not insecure:
        raise TlsFailedError(
            f"{_host(source)} redirects to plain HTTP at {_host(target)}",
            hint="The registry is set up wrongly; tell its administrator.",
        )


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return (
        parts.scheme,
        parts.hostname or "",
        parts.port or (443 if parts.scheme == "https" else 80),
    )


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


@contextmanager
def _mapped_errors(url: str, *, in_body: bool = False) -> Iterator[None]:
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise _mapped(error, _host(url), in_body=in_body) from error


def _mapped(error: Exception, host: str, *, in_body: bool) -> BootdError:
    causes = _causes(error)
    reason = _reason(causes)
    if any(isinstance(one, urllib3.exceptions.ProxyError) for one in causes):
        return ConnectionFailedError(f"the proxy for {host} does not serve: {reason}")
    if any(isinstance(one, socket.gaierror) for one in causes):
        return HostUnknownError(f"{host}: {reason}")
    if any(_is_timeout(one) for one in causes):
        return TimedOutError(f"{host} does not answer in time")
    # Once the handshake is over, a TLS error is a connection that was cut.
    if not in_body and any(isinstance(one, ssl.SSLError) for one in causes):
        return TlsFailedError(f"{host}: {reason}")
    if isinstance(error, ValueError):
        return ServerFailedError(f"{host[:200]!r} cannot be asked: {reason}")
    what = "the connection to {} broke: {}" if in_body else "no answer from {}: {}"
    return ConnectionFailedError(what.format(host, reason))


def _is_timeout(error: BaseException) -> bool:
    # urllib3 files every failure to connect under timeouts.
    return isinstance(
        error, (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
    ) and not isinstance(error, urllib3.exceptions.NewConnectionError)


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and all that it wraps, outermost first."""
    found: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        one = queue.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            queue += [*one.args[:2], getattr(one, "reason", None), one.__cause__, one.__context__]
    return found


def _reason(causes: list[BaseException]) -> str:
    for one in causes:
        if isinstance(one, ssl.SSLCertVerificationError):
            return one.verify_message or str(one)
    for one in causes:
        if (
            isinstance(one, OSError)
            and one.strerror
            and not isinstance(one, requests.RequestException)
        ):
            return one.strerror
    return str(causes[-1])[:300] or type(causes[-1]).__name__
