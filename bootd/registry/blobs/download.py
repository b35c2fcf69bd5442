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
from bootd.model.registry.image import Descriptor
from bootd.registry.blobs.blob import BlobStream, skip, verified
from bootd.registry.blobs.part import PartReader
from bootd.registry.blobs.partial import PartialBlob, PartialFolder
from bootd.registry.blobs.resuming import Resuming
from bootd.registry.endpoint import Endpoint
from bootd.registry.settings import RegistrySettings
from bootd.registry.turns import Turns
from bootd.registry.wire.ranges import NO_RANGE, first_byte, strong_etag
from bootd.registry.wire.retry import TemporaryFailure

_log = logging.getLogger(__name__)


class RemoteBlob(BlobStream):
    """A blob that comes from the network, but for what an earlier run kept of it."""

    def __init__(
        self,
        blob: Descriptor,
        turns: Turns,
        partials: PartialFolder,
        settings: RegistrySettings,
        clock: Clock,
    ) -> None:
        super().__init__(self._checked())
        self._blob = blob
        self._turns = turns
        self._partials = partials
        self._settings = settings
        self._clock = clock
        self._kept: PartialBlob | None = None
        self._forgotten = False
        self.fresh_start_may_help = len(turns) > 1

    def forget(self) -> None:
        """Drop what is kept of the blob, and ask the endpoint that served it last of all."""
        if self._forgotten:
            return
        self._forgotten = True
        if self._kept is not None:
            self._kept.discard()
        self._turns.last_of_all()

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
        if kept is not None and not kept.is_empty:
            _log.debug("of %s bytes %d to %d are here", self._blob.digest, kept.start, kept.end)
            self.fresh_start_may_help = True
            try:
                with closing(self._until_end_of(kept)) as chunks:
                    for chunk in chunks:
                        offset += len(chunk)
                        yield chunk
            except StorageError as error:
                _log.debug("going on without the rest: %s", error)
                kept.discard()
                kept = None
            except TransportError as error:
                # The bytes are of no use without those before, but may be for another run.
                _log.debug("going on without what is kept: %s", error)
                kept = None
        with closing(self._from_network(offset)) as chunks:
            yield from self._kept_when_slow(offset, chunks, kept)

    def _until_end_of(self, kept: PartialBlob) -> Generator[bytes, None, None]:
        parts = PartReader(self._turns.copy(), self._clock)
        yield from parts.read(self._blob, 0, kept.start)
        yield from kept.replay()

    def _kept_when_slow(
        self, offset: int, chunks: Iterator[bytes], kept: PartialBlob | None
    ) -> Iterator[bytes]:
        """Pass on what arrives, and keep it once it would take too long to fetch it again."""
        waited = 0.0
        while True:
            began = self._clock.monotonic()
            chunk = next(chunks, None)
            if chunk is None:
                return
            waited += self._clock.monotonic() - began
            is_slow = waited >= self._settings.partial_after_seconds
            if kept is not None and (is_slow or not kept.is_empty) and not kept.keep(offset, chunk):
                kept = None
            offset += len(chunk)
            yield chunk

    def _from_network(self, offset: int) -> Generator[bytes, None, None]:
        for turn in self._turns:
            with turn.taken():
                for chunk in self._from_endpoint(turn.endpoint, offset):
                    offset += len(chunk)
                    turn.received(len(chunk))
                    yield chunk
                return

    def _from_endpoint(self, endpoint: Endpoint, offset: int) -> Iterator[bytes]:
        """Yield the blob from an offset on, taking up broken connections again."""
        name, digest, size = endpoint.location.name, self._blob.digest, self._blob.size
        resuming, etag = Resuming(endpoint.settings, self._clock), ""
        while offset < size:
            asked_from = offset if resuming.by_range else 0
            try:
                with endpoint.blob(self._blob, asked_from, etag) as response:
                    start = first_byte(response, self._blob, offset)
                    if start == NO_RANGE:
                        raise ServerFailedError(f"{name} serves wrong ranges")
                    etag = strong_etag(response)
                    for chunk in skip(response.chunks(), offset - start):
                        offset += len(chunk)
                        resuming.progressed(len(chunk))
                        yield chunk
            except (TemporaryFailure, TransportError) as failure:
                resuming.failed(failure, was_range=0 < asked_from == offset)
            else:
                if offset < size:
                    message = f"{name}: {digest} ended after {offset} of {size} bytes"
                    ended = TemporaryFailure(ConnectionFailedError(message))
                    resuming.failed(ended, was_range=0 < asked_from == offset)
