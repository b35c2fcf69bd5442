"""Connections to registries: to the first address that answers, with a deadline for the headers.

There is a TLS context for each host. Certificate authorities are the system's, those of the
settings, and those of containers-certs.d(5) for the host.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import requests
import requests.adapters
import urllib3
import urllib3.connection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from bootd.model.errors import InvalidConfigurationError
from bootd.registry.settings import RegistrySettings
from bootd.registry.wire.connecting import connect
from bootd.registry.wire.exact_target import ExactConnection, ExactPool, target_of
from bootd.registry.wire.http_errors import host_of

_HEAD_STALLS: Final = 3
_MAX_CERTIFICATE_FILES: Final = 100
_CERTIFICATE_FOLDERS: Final = ("etc/containers/certs.d", "etc/docker/certs.d")
_AUTHORITY: Final = ".crt"
_CERTIFICATE: Final = ".cert"
_CONTEXTS: Final = 16


def bounded_adapter(settings: RegistrySettings) -> requests.adapters.HTTPAdapter:
    """Return what gives a session its connections, with the places and bounds of the settings."""
    return _Adapter(settings)


class _Connecting(ExactConnection, urllib3.connection.HTTPConnection):
    """A connection to the first address of a host that answers, be it a registry or a proxy."""

    stall_seconds = 0.0
    answered: dict[str, str]

    def _new_conn(self) -> socket.socket:
        assert isinstance(self.timeout, int | float)
        host, options = self._dns_host, self.socket_options or ()
        before = self.answered.get(host, "")
        try:
            made = connect(host, self.port, self.timeout, options, before)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, str(error)) from error
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error
        self.answered[host] = made.getpeername()[0]
        sys.audit("http.client.connect", self, self.host, self.port)
        return made

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override] # as its parent's
        return _in_time(self, super().getresponse, self.stall_seconds)


class _TlsConnection(_Connecting, urllib3.connection.HTTPSConnection):
    pass


class _Adapter(requests.adapters.HTTPAdapter):
    """Connections with a deadline for headers, and a TLS context for each host."""

    def __init__(self, settings: RegistrySettings) -> None:
        super().__init__(max_retries=0)
        self._settings = settings
        self._pools = _pools(settings.stall_seconds)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **keywords: Any) -> Any:
        if proxy.startswith("https:"):
            keywords["proxy_ssl_context"] = _tls_context(
                self._settings, host_of(proxy), verify=True
            )
        manager = super().proxy_manager_for(proxy, **keywords)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        return target_of(request.url or "", super().request_url(request, proxies))

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https":
            pool["ssl_context"] = _tls_context(
                self._settings, host_of(request.url or ""), verify=bool(verify)
            )
        return host, pool

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        # The context has the system's authorities; requests would add certifi's bundle to them.
        conn.cert_reqs = "CERT_REQUIRED" if verify else "CERT_NONE"


def _in_time(
    connection: urllib3.connection.HTTPConnection,
    receive: Callable[[], urllib3.HTTPResponse],
    stall: float,
) -> urllib3.HTTPResponse:
    """Receive status line and headers with a deadline for the whole of them.

    The read timeout alone is for single reads, and a server that sends a byte now and then would
    hold a request for ever. It is the wait for the first byte; from then on `stall` counts.
    """
    wire, first_byte = connection.sock, connection.timeout
    if wire is None or first_byte is None:
        return receive()
    expired = threading.Event()

    def give_up() -> None:
        expired.set()
        with suppress(OSError):
            # A TLS socket's own method would drop the state that the reader is using.
            socket.socket.shutdown(wire, socket.SHUT_RDWR)

    timer = threading.Timer(first_byte + _HEAD_STALLS * stall, give_up)
    timer.start()
    response: urllib3.HTTPResponse | None = None
    try:
        response = receive()
        wire.settimeout(stall)
        return response
    finally:
        timer.cancel()
        timer.join()
        if expired.is_set():
            # A head that was cut short passes for a whole one.
            if response is not None:
                response.close()
            raise TimeoutError("the headers took too long")


def _pools(stall: float) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Return what makes connections, by scheme."""
    known: dict[str, str] = {}

    class Plain(_Connecting):
        stall_seconds = stall
        answered = known

    class Tls(_TlsConnection):
        stall_seconds = stall
        answered = known

    class PlainPool(ExactPool, urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(ExactPool, urllib3.HTTPSConnectionPool):
        ConnectionCls = Tls

    return {"http": PlainPool, "https": TlsPool}


def _tls_context(settings: RegistrySettings, host: str, *, verify: bool) -> ssl.SSLContext:
    """Return a context with the authorities and client certificates for a host.

    Those of containers-certs.d(5) come after those of the settings, whose client certificate is for
    hosts that have none there.

    Raises:
        InvalidConfigurationError: a certificate file cannot be used.
    """
    folders = [settings.root / place / host for place in _CERTIFICATE_FOLDERS]
    folder = next((one for one in folders if one.is_dir()), None)
    try:
        files = sorted(folder.iterdir())[:_MAX_CERTIFICATE_FILES] if folder else []
    except OSError as error:
        raise InvalidConfigurationError(f"{folder} cannot be used: {error}") from error
    authorities = [one for one in files if one.suffix == _AUTHORITY]
    clients: list[tuple[Path, Path | None]] = [
        (one, one.with_suffix(".key")) for one in files if one.suffix == _CERTIFICATE
    ]
    if settings.ca_file is not None:
        authorities.insert(0, settings.ca_file)
    if settings.client_certificate is not None and not clients:
        clients.append((settings.client_certificate, settings.client_key))
    return _context(
        tuple((one, _changed(one)) for one in authorities),
        tuple((one, key, _changed(one)) for one, key in clients),
        verify,
    )


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise InvalidConfigurationError(f"{path} cannot be used: {error.strerror}") from error


@lru_cache(maxsize=_CONTEXTS)
def _context(
    authorities: tuple[tuple[Path, int], ...],
    clients: tuple[tuple[Path, Path | None, int], ...],
    verify: bool,  # noqa: FBT001 - cached
) -> ssl.SSLContext:
    """Return the context of files as they were at a time.

    One serves the whole process and those that it forks: reading the system's authorities takes
    longer than a small layer.
    """
    if verify:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    path = Path()
    try:
        for path, _ in authorities:
            context.load_verify_locations(path)
        for path, key, _ in clients:
            # Without a password of its own OpenSSL would ask a terminal for one.
            context.load_cert_chain(path, key, password="")
    except (OSError, ValueError) as error:
        raise InvalidConfigurationError(f"{path} cannot be used: {error}") from error
    return context
