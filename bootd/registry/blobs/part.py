"""Parts of a blob from a registry, each by one Range request (RFC 9110 section 14)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from bootd.clock import Clock
from bootd.model.errors import ConnectionFailedError, ServerFailedError
from bootd.model.registry.image import Descriptor
from bootd.registry.endpoint import Endpoint
from bootd.registry.turns import Turns
from bootd.registry.wire.ranges import first_byte, strong_etag
from bootd.registry.wire.retry import Backoff, TemporaryFailure

_PARTIAL: Final = 206


class PartReader:
    """Reads parts of blobs from the places of an image; the one that serves is kept to.

    Args:
        turns: where the image is.
        clock: for waits.
    """

    def __init__(self, turns: Turns, clock: Clock) -> None:
        self._turns = turns
        self._clock = clock

    def read(self, blob: Descriptor, start: int, end: int) -> Generator[bytes, None, None]:
        """Yield the bytes from `start` up to `end`; see `ImageSource.part`."""
        for turn in self._turns:
            with turn.taken():
                for chunk in self._from_endpoint(turn.endpoint, blob, start, end):
                    start += len(chunk)
                    turn.received(len(chunk))
                    yield chunk
                return

    def _from_endpoint(
        self, endpoint: Endpoint, blob: Descriptor, at: int, end: int
    ) -> Generator[bytes, None, None]:
        backoff = Backoff(endpoint.settings, self._clock)
        etag = ""
        while at < end:
            try:
                with endpoint.part(blob, at, end, etag) as response:
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
            except TemporaryFailure as failure:
                backoff.failed(failure)
            else:
                if at < end:
                    name = endpoint.location.name
                    message = f"{name}: a part of {blob.digest} ended before byte {end}"
                    backoff.failed(TemporaryFailure(ConnectionFailedError(message)))
