"""A blob from a registry: resumed within a run and across runs, from mirrors where they fail."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from contextlib import closing

from bootd.clock import Clock
from bootd.model.errors import (
    ConnectionFailedError,
    ServerFailedError,
    StorageError,
    TransportError,
    VerificationError,
)
from bootd.model.image import Descriptor
from bootd.registry.blob import BlobStream, skip, verified
from bootd.registry.endpoint import Endpoint
from bootd.registry.partial import PartialBlob, PartialFolder
from bootd.registry.ranges import NO_RANGE, first_byte, strong_etag
from bootd.registry.retry import RETRIABLE, Backoff, TemporaryFailure
from bootd.registry.settings import RegistrySettings

_log = logging.getLogger(__name__)


class RemoteBlob(BlobStream):
    """A blob that comes from an earlier run's bytes first, then from the network."""

    def __init__(
        self,
        blob: Descriptor,
        endpoints: list[Endpoint],
        partials: PartialFolder,
        settings: RegistrySettings,
        clock: Clock,
    ) -> None:
        super().__init__(self._checked())
        self._blob = blob
        self._endpoints = endpoints
        self._partials = partials
        self._settings = settings
        self._clock = clock
        self._kept: PartialBlob | None = None
        self._forgotten = False
        self.fresh_start_may_help = len(endpoints) > 1

    def forget(self) -> None:
        """Drop what is kept of the blob, and ask the endpoint that served it last of all."""
        if self._forgotten:
            return
        self._forgotten = True
        if self._kept is not None:
            self._kept.discard()
        self._endpoints.append(self._endpoints.pop(0))

    def _checked(self) -> Generator[bytes, None, None]:
        self._kept = self._partials.open(self._blob)
        try:
            yield from verified(self._blob, self._kept_and_rest())
        except VerificationError:
            self.forget()
            raise
        else:
            self.fresh_start_may_help = False
            if self._kept is not None:
                self._kept.discard()
        finally:
            if self._kept is not None:
                self._kept.close()

    def _kept_and_rest(self) -> Generator[bytes, None, None]:
        kept, offset = self._kept, 0
        if kept is not None and kept.size:
            _log.debug("resuming %s at byte %d", self._blob.digest, kept.size)
            self.fresh_start_may_help = True
            try:
                for chunk in kept.replay():
                    offset += len(chunk)
                    yield chunk
            except StorageError as error:
                _log.debug("going on without the rest: %s", error)
                kept.discard()
                kept = None
        with closing(self._from_network(offset)) as chunks:
            for chunk in chunks:
                if kept is not None and not kept.append(chunk):
                    kept = None
                yield chunk

    def _from_network(self, offset: int) -> Generator[bytes, None, None]:
        *others, last = list(self._endpoints)
        for endpoint in others:
            prefer(self._endpoints, endpoint)
            try:
                for chunk in self._from_endpoint(endpoint, offset):
                    offset += len(chunk)
                    yield chunk
            except TransportError as error:
                _log.debug("%s did not serve: %s", endpoint.location.name, error)
            else:
                return
        prefer(self._endpoints, last)
        yield from self._from_endpoint(last, offset)

    def _from_endpoint(self, endpoint: Endpoint, offset: int) -> Iterator[bytes]:
        """Yield the blob from an offset on, taking up broken connections again."""
        backoff = Backoff(self._settings, self._clock)
        ranges, etag = True, ""
        while offset < self._blob.size:
            try:
                with endpoint.blob(self._blob.digest, offset if ranges else 0, etag) as response:
                    start = first_byte(response, self._blob, offset)
                    if start == NO_RANGE:
                        ranges = False
                        raise TemporaryFailure(
                            ServerFailedError(f"{endpoint.location.name} serves wrong ranges"), None
                        )
                    etag = strong_etag(response)
                    for chunk in skip(response.chunks(), offset - start):
                        offset += len(chunk)
                        backoff.progressed(len(chunk))
                        yield chunk
                if offset < self._blob.size:
                    raise ConnectionFailedError(
                        f"{endpoint.location.name}: {self._blob.digest} ended after "
                        f"{offset} of {self._blob.size} bytes"
                    )
            except RETRIABLE as failure:
                backoff.failed(failure)


def prefer(endpoints: list[Endpoint], endpoint: Endpoint) -> None:
    """Put an endpoint first."""
    endpoints.remove(endpoint)
    endpoints.insert(0, endpoint)
