"""Request targets that travel as they were written: urllib3 would spell their escapes anew.

Parts of classes: pools hand the target to their connections, which put it into the request line.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit


class ExactConnection:
    """What a connection has besides urllib3's.

    Attributes:
        target: of the next request; empty: as urllib3 spells it.
    """

    target = ""

    def putrequest(self, method: str, url: str, *arguments: Any, **keywords: Any) -> None:
        """Begin a request; see http.client."""
        parent: Any = super()
        parent.putrequest(method, self.target or url, *arguments, **keywords)


class ExactPool:
    """What a pool has besides urllib3's; one request at a time."""

    _target = ""

    def urlopen(self, method: str, url: str, *arguments: Any, **keywords: Any) -> Any:
        """Send a request; see urllib3."""
        parent: Any = super()
        self._target = url
        return parent.urlopen(method, url, *arguments, **keywords)

    def _get_conn(self, timeout: float | None = None) -> Any:
        parent: Any = super()
        connection = parent._get_conn(timeout)  # noqa: SLF001 - its parent's own
        connection.target = self._target
        return connection


def target_of(url: str, spelt: str) -> str:
    """Return what to ask for a URL: the whole of it from a proxy, else what follows the host.

    Args:
        url: without a fragment.
        spelt: what requests would ask for.
    """
    parts = urlsplit(url)
    target = url.removeprefix(f"{parts.scheme}://{parts.netloc}")
    host = parts.netloc.rpartition("@")[2]
    return target if spelt.startswith("/") else f"{parts.scheme}://{host}{target}"
