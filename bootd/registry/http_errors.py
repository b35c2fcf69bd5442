"""What requests, urllib3 and the system raise, as errors of bootd that name the host."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import requests
import urllib3
import urllib3.exceptions

from bootd.model.errors import (
    BootdError,
    ConnectionFailedError,
    HostUnknownError,
    ServerFailedError,
    TimedOutError,
    TlsFailedError,
)

_NEVER_CONNECTED: Final = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
)


def host_of(url: str) -> str:
    """Return the host and port of a URL, without what is before an ``@``."""
    return urlsplit(url).netloc.rpartition("@")[2]


@contextmanager
def mapped_errors(url: str, *, in_body: bool = False) -> Iterator[None]:
    """Raise bootd's error for what talking to the host of a URL raises.

    `in_body`: the answer has begun.
    """
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise _mapped(error, host_of(url), in_body=in_body) from error


def never_connected(error: BaseException) -> bool:
    """Return whether no address of the host took a connection; a proxy's host does not count."""
    causes = _causes(error)
    return any(isinstance(one, _NEVER_CONNECTED) for one in causes) and not any(
        isinstance(one, urllib3.exceptions.ProxyError) for one in causes
    )


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
