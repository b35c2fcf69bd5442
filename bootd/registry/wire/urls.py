"""URLs as servers write them: the signature in one may be over its very bytes. Pure."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote_from_bytes, urljoin, urlsplit

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_SENDABLE: Final = bytes(range(0x21, 0x7F))
"""What may stand in a request line (RFC 9112 section 3.2); all of it stays as it is."""


def origin(url: str) -> tuple[str, str, int]:
    """Return whom a URL belongs to: scheme, host and port (RFC 6454 section 4)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def redirected(url: str, location: str) -> str:
    """Return where a Location header leads from a URL, without a fragment, byte for byte.

    Only a path that is relative is put together anew.
    """
    target = location.partition("#")[0]
    parts = urlsplit(url)
    if urlsplit(target).scheme:
        return target
    if target.startswith("//"):
        return f"{parts.scheme}:{target}"
    if target.startswith("/"):
        return f"{parts.scheme}://{parts.netloc}{target}"
    return urljoin(url, target)


def exact(prepared: str, url: str) -> str:
    """Return a URL that was made fit to be sent, with path and query as they were written.

    Args:
        prepared: the same with another spelling of escapes; its host is taken.
        url: as it was written.
    """
    place = prepared.partition("://")
    host = place[2].partition("/")[0].partition("?")[0]
    return f"{place[0]}://{host}{_target(url)}"


def _target(url: str) -> str:
    rest = url.partition("#")[0].partition("://")[2]
    place = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    target = rest[place:]
    # http.client reads headers as Latin-1, so this gives back the bytes that came.
    raw = target.encode("latin-1", "replace") if not target.isascii() else target.encode()
    quoted = quote_from_bytes(raw, safe=_SENDABLE)
    return quoted if quoted.startswith("/") else f"/{quoted}"
