"""A small document at a URL that is no part of an image, such as a signature kept elsewhere."""

from __future__ import annotations

from contextlib import closing

from bootd.clock import Clock
from bootd.model.errors import ServerFailedError
from bootd.registry.refusal import Asked, refusal, web_page
from bootd.registry.settings import RegistrySettings
from bootd.registry.wire.http import HttpClient
from bootd.registry.wire.http_errors import host_of
from bootd.registry.wire.retry import with_retries


def fetch_document(url: str, limit: int, settings: RegistrySettings, clock: Clock) -> bytes | None:
    """Return what a URL names; None: the server says that there is nothing.

    Args:
        url: of HTTP or HTTPS.
        limit: how many bytes it may have.
        settings: bounds and patience.
        clock: for waits and deadlines.

    Raises:
        TransportError: it is not served, or has more than `limit` bytes.
    """
    asked = Asked(f"{host_of(url)}, asked for a document", host_of(url))
    with closing(HttpClient(settings, clock)) as http:

        def ask() -> bytes | None:
            with http.request("GET", url) as response:
                if response.status == 404:  # noqa: PLR2004 - HTTP
                    return None
                if response.status != 200:  # noqa: PLR2004 - HTTP
                    raise refusal(response, asked, clock)
                if page := web_page(response, asked, of_json=False):
                    raise page
                data = response.read(limit)
            if len(data) > limit:
                raise ServerFailedError(f"{host_of(url)} sent more than {limit} bytes")
            return data

        return with_retries(settings, clock, ask)
