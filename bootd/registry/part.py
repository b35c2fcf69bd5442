"""Parts of a blob from a registry, each by one Range request (RFC 9110 section 14)."""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Final

from bootd.clock import Clock
from bootd.model.errors import ConnectionFailedError, ServerFailedError, TransportError
from bootd.model.image import Descriptor
from bootd.registry.endpoint import Endpoint, prefer
from bootd.registry.ranges import first_byte, strong_etag
from bootd.registry.retry import RETRIABLE, Backoff
from bootd.registry.settings import RegistrySettings

_log = logging.getLogger(__name__)

_PARTIAL: Final = 206


class PartReader:
    """Reads parts of blobs from the endpoints of an image; the one that serves is kept to.

    Args:
        endpoints: where the image is, mirrors first.
        settings: bounds and patience.
        clock: for waits.
    """

    def __init__(self, endpoints: list[Endpoint], settings: RegistrySettings, clock: Clock) -> None:
        self._endpoints = endpoints
        self._settings = settings
        self._clock = clock

    def read(self, blob: Descriptor, start: int, end: int) -> Generator[bytes, None, None]:
        """Yield the bytes from `start` up to `end`; see `ImageSource.part`."""
        *others, last = list(self._endpoints)
        for endpoint in others:
            prefer(self._endpoints, endpoint)
            try:
                for chunk in self._from_endpoint(endpoint, blob, start, end):
                    start += len(chunk)
                    yield chunk
            except TransportError as error:
                _log.debug("%s serves no part: %s", endpoint.location.name, error)
            else:
                return
        prefer(self._endpoints, last)
        yield from self._from_endpoint(last, blob, start, end)

    def _from_endpoint(
        self, endpoint: Endpoint, blob: Descriptor, at: int, end: int
    ) -> Generator[bytes, None, None]:
        backoff = Backoff(self._settings, self._clock)
        etag = ""
        while at < end:
            try:
                with endpoint.part(blob.digest, at, end, etag) as response:
                    if response.status != _PARTIAL or first_byte(response, blob, at) != at:
                        raise ServerFailedError(
                            f"{endpoint.location.name} does not serve parts of blobs"
                        )
                    etag = strong_etag(response)
                    for chunk in response.chunks():
                        wanted = chunk[: end - at]
                        at += len(wanted)
                        backoff.progressed(len(wanted))
                        yield wanted
                if at < end:
                    raise ConnectionFailedError(
                        f"{endpoint.location.name}: a part of {blob.digest} ended before byte {end}"
                    )
            except RETRIABLE as failure:
                backoff.failed(failure)
