"""Connections to registries: a deadline for the headers, and a TLS context for each host.

Certificate authorities are the system's, and those of containers-certs.d(5) for the host.
"""

from __future__ import annotations

import socket
import ssl
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

from bootd.model.errors import InvalidConfigurationError
from bootd.registry.http_errors import host_of

_HEAD_STALLS: Final = 4
_MAX_CERTIFICATE_FILES: Final = 100
_CERTIFICATE_FOLDERS: Final = ("etc/containers/certs.d", "etc/docker/certs.d")
_AUTHORITY: Final = ".crt"
_CERTIFICATE_SUFFIXES: Final = (_AUTHORITY, ".cert")
_CONTEXTS: Final = 16


def bounded_adapter(root: Path) -> requests.adapters.HTTPAdapter:
    """Return what gives a session its connections; certificates are looked for below `root`."""
    return _Adapter(root)


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
        _use_deadlines(self.poolmanager)

    def proxy_manager_for(self, *arguments: Any, **keywords: Any) -> Any:
        return _use_deadlines(super().proxy_manager_for(*arguments, **keywords))

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https":
            pool["ssl_context"] = _tls_context(
                self._root, host_of(request.url or ""), verify=bool(verify)
            )
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
    folders = [root / place / host for place in _CERTIFICATE_FOLDERS]
    folder = next((one for one in folders if one.is_dir()), None)
    try:
        files = sorted(folder.iterdir())[:_MAX_CERTIFICATE_FILES] if folder else []
        found = [one for one in files if one.suffix in _CERTIFICATE_SUFFIXES]
        state = tuple((one, one.stat().st_mtime_ns) for one in found)
    except OSError as error:
        raise InvalidConfigurationError(f"{folder} cannot be used: {error}") from error
    return _context(state, verify)


@lru_cache(maxsize=_CONTEXTS)
def _context(files: tuple[tuple[Path, int], ...], verify: bool) -> ssl.SSLContext:  # noqa: FBT001 - cached
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
    for path, _ in files:
        try:
            if path.suffix == _AUTHORITY:
                context.load_verify_locations(path)
            else:
                context.load_cert_chain(path, path.with_suffix(".key"))
        except OSError as error:
            raise InvalidConfigurationError(f"{path} cannot be used: {error}") from error
    return context
