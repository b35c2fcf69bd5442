"""What requests, urllib3 and the system raise, as errors of bootd that name the host.

What may pass is a `TemporaryFailure`: a connection that is not made or breaks, also in the middle
of a TLS handshake, silence, a resolver that is out of order. A certificate that is not accepted
stays so, as does a proxy that refuses.
"""

from __future__ import annotations

import re
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import requests
import urllib3
import urllib3.exceptions

from bootd.clock import Clock
from bootd.model.errors import (
    BootdError,
    ConnectionFailedError,
    HostUnknownError,
    ServerFailedError,
    TimedOutError,
    TlsFailedError,
)
from bootd.registry.wire.retry import FEW_TRIES, TemporaryFailure, may_pass

_NEVER_CONNECTED: Final = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
)
_SHOWN: Final = 300
_PROXY_STATUS: Final = re.compile(r"Tunnel connection failed: ([0-9]{3})", re.ASCII)
_NO_SUCH_NAME: Final = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})
_CUT_HANDSHAKE: Final = frozenset(
    {
        "UNEXPECTED_EOF_WHILE_READING",
        "BAD_RECORD_MAC",
        "DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
        "SSLV3_ALERT_BAD_RECORD_MAC",
        "TLSV1_ALERT_INTERNAL_ERROR",
        "TLSV1_ALERT_USER_CANCELLED",
    }
)
"""OpenSSL's reasons for a handshake that broke, as a server that just starts breaks it."""
_NO_TLS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_OTHER_NAME: Final = frozenset({62, 64})
"""X509_V_ERR_… of OpenSSL's x509_vfy.h: a certificate's date, and whom it is for."""


def host_of(url: str) -> str:
    """Return the host and port of a URL, without what is before an ``@``."""
    return urlsplit(url).netloc.rpartition("@")[2]


@contextmanager
def mapped_errors(url: str, clock: Clock, *, in_body: bool = False) -> Iterator[None]:
    """Raise bootd's error for what talking to the host of a URL raises.

    `in_body`: the answer has begun. A certificate's dates are compared with the clock's.

    Raises:
        TemporaryFailure: it may pass.
        TransportError: it does not.
    """
    # An earlier attempt's error, where this is the one that follows it, is no cause of this one's.
    earlier = sys.exception()
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        causes = _causes(error, earlier)
        mapped = _mapped(error, causes, host_of(url), clock, in_body=in_body)
        if isinstance(mapped, TemporaryFailure):
            mapped.is_unreachable = _never_connected(causes)
        raise mapped from error


def never_connected(error: BaseException) -> bool:
    """Return whether no address of the host took a connection; a proxy's host does not count."""
    return _never_connected(_causes(error, None))


def _never_connected(causes: list[BaseException]) -> bool:
    return any(isinstance(one, _NEVER_CONNECTED) for one in causes) and not any(
        isinstance(one, urllib3.exceptions.ProxyError) for one in causes
    )


def _mapped(
    error: Exception, causes: list[BaseException], host: str, clock: Clock, *, in_body: bool
) -> BootdError | TemporaryFailure:
    reason = _reason(causes)
    if any(isinstance(one, urllib3.exceptions.ProxyError) for one in causes):
        return _of_proxy(host, reason)
    for one in causes:
        if isinstance(one, socket.gaierror):
            tries = FEW_TRIES if one.errno in _NO_SUCH_NAME else None
            return TemporaryFailure(HostUnknownError(f"{host}: {reason}"), None, tries)
    if any(_is_timeout(one) for one in causes):
        return TemporaryFailure(TimedOutError(f"{host} does not answer in time"))
    # Once the handshake is over, a TLS error is a connection that was cut.
    tls = next((one for one in causes if isinstance(one, ssl.SSLError)), None)
    if not in_body and tls is not None:
        return _of_handshake(tls, host, reason, clock)
    if isinstance(error, ValueError):
        return ServerFailedError(f"{host[:200]!r} cannot be asked: {reason}")
    what = "the connection to {} broke: {}" if in_body else "no answer from {}: {}"
    return TemporaryFailure(ConnectionFailedError(what.format(host, reason)))


def _of_proxy(host: str, reason: str) -> BootdError | TemporaryFailure:
    message = f"the proxy for {host} does not serve: {reason}"
    status = int(match[1]) if (match := _PROXY_STATUS.search(reason)) else None
    if status is None or may_pass(status):
        hint = "Check that the proxy runs, and its address in the settings; try again later."
        return TemporaryFailure(ConnectionFailedError(message, hint=hint))
    return ConnectionFailedError(message, hint=proxy_hint(status))


def proxy_hint(status: int) -> str:
    """Return what to do about a proxy that refuses with a status."""
    if status == 407:  # noqa: PLR2004 - HTTP
        return (
            "The proxy wants a user name and password, or others: they belong into its address, "
            "http://USER:PASSWORD@HOST:PORT."
        )
    return "The proxy does not let this host through; tell its administrator, or go without it."


def _of_handshake(
    tls: ssl.SSLError, host: str, reason: str, clock: Clock
) -> BootdError | TemporaryFailure:
    name = str(getattr(tls, "reason", None) or "").upper()
    if isinstance(tls, ssl.SSLCertVerificationError):
        return TlsFailedError(f"{host}: {reason}", hint=_certificate_hint(tls, clock))
    if isinstance(tls, ssl.SSLEOFError | ssl.SSLZeroReturnError) or name in _CUT_HANDSHAKE:
        message = f"{host}: the TLS handshake was cut: {reason}"
        return TemporaryFailure(ConnectionFailedError(message))
    if name in _NO_TLS:
        return TlsFailedError(
            f"{host} does not speak TLS ({reason})",
            hint="If its plain HTTP is meant, mark the registry insecure in registries.conf.",
        )
    if "CERTIFICATE_REQUIRED" in name or "HANDSHAKE_FAILURE" in name:
        return TlsFailedError(
            f"{host}: {reason}",
            hint="It may want a client certificate: *.cert with *.key in "
            "/etc/containers/certs.d/<host>/.",
        )
    return TlsFailedError(f"{host}: {reason}")


def _certificate_hint(tls: ssl.SSLCertVerificationError, clock: Clock) -> str:
    now = f"This machine's clock says {clock.now():%Y-%m-%d %H:%M} UTC"
    if tls.verify_code == _NOT_YET_VALID:
        return f"{now}: set it right (timedatectl), and try again."
    if tls.verify_code == _EXPIRED:
        return f"{now}: if that is right, the registry needs a new certificate; tell its operator."
    if tls.verify_code in _OTHER_NAME:
        return (
            "Check the name in the reference. A portal that wants a login answers like this, too: "
            "open a page in a browser."
        )
    return (
        "Put a private CA under /etc/containers/certs.d/<host>/. A proxy that looks into TLS has "
        "one of its own, a portal that wants a login none that is good."
    )


def _is_timeout(error: BaseException) -> bool:
    # urllib3 files every failure to connect under timeouts.
    return isinstance(
        error, (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
    ) and not isinstance(error, urllib3.exceptions.NewConnectionError)


def _causes(error: BaseException, earlier: BaseException | None) -> list[BaseException]:
    """Return an error and all that it wraps, outermost first, but nothing from before it."""
    causes: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        one = queue.pop(0)
        if isinstance(one, BaseException) and one is not earlier and one not in causes:
            causes.append(one)
            queue += [*one.args[:2], getattr(one, "reason", None), one.__cause__, one.__context__]
    return causes


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
    return str(causes[-1])[:_SHOWN] or type(causes[-1]).__name__
