"""Images in a registry, with its mirrors.

Mirrors are tried in order, then the registry itself; the one that answered is asked first from then
on. A tag is resolved once, by one of them; everything below is asked for by digest.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from bootd.clock import Clock
from bootd.durable import Disk
from bootd.model.digest import Digest
from bootd.model.errors import (
    ConnectionFailedError,
    ImageNotFoundError,
    InvalidDigestError,
    ManifestTooLargeError,
    ServerFailedError,
    TimedOutError,
    TransportError,
    VerificationError,
)
from bootd.model.registry.image import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    CachedCheck,
    Descriptor,
    ResolvedImage,
)
from bootd.model.registry.source_use import SourceUse
from bootd.registry.artifact import listed_artifacts, listed_layers
from bootd.registry.blobs.blob import BlobStream, check_digest
from bootd.registry.blobs.download import RemoteBlob
from bootd.registry.blobs.part import PartReader
from bootd.registry.blobs.partial import PartialFolder
from bootd.registry.endpoint import Endpoint
from bootd.registry.manifest import MAX_MANIFEST_SIZE
from bootd.registry.reference import RegistryReference
from bootd.registry.registries_conf import load_registries
from bootd.registry.resolve import Top, chosen_digest, resolve_image
from bootd.registry.settings import RegistrySettings
from bootd.registry.turns import DownPlaces, Turns
from bootd.registry.uses import Uses
from bootd.registry.wire.http import HttpClient, HttpResponse
from bootd.registry.wire.http_errors import never_connected
from bootd.registry.wire.retry import TemporaryFailure, once, with_retries

_log = logging.getLogger(__name__)

_NOT_MODIFIED: Final = 304
_MAX_ETAG: Final = 1_000
_T = TypeVar("_T")


class RegistrySource:
    """An image in a registry; see `bootd.registry.sources.source.ImageSource`."""

    def __init__(
        self,
        reference: RegistryReference,
        settings: RegistrySettings,
        partial: Path,
        disk: Disk,
        clock: Clock,
    ) -> None:
        self._reference = reference
        self._settings = settings
        self._clock = clock
        self._partials = PartialFolder(partial, disk, settings)
        self._http = HttpClient(settings, clock)
        locations = load_registries(settings.root).locations(reference)
        endpoints = [Endpoint(one, settings, self._http, clock) for one in locations]
        self._uses = Uses()
        down = DownPlaces(settings.unreachable, disk, clock)
        self._turns = Turns(endpoints, down, self._uses)
        self._parts = PartReader(self._turns.copy(), clock)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def resolve(self) -> ResolvedImage:
        """Fetch and verify manifest and configuration."""
        return self._first_answer(self._resolve_at)

    def poll(self, cached: CachedCheck | None) -> tuple[Digest, CachedCheck]:
        """Ask what the reference names now; nothing new costs one request, or none by digest."""
        platform = str(self._settings.platform)
        if cached and (cached.reference, cached.platform) != (str(self._reference), platform):
            cached = None
        if cached and cached.top == self._reference.digest:
            return cached.digest, cached
        return self._first_answer(lambda endpoint: self._poll_at(endpoint, cached))

    def blob(self, descriptor: Descriptor) -> BlobStream:
        """Fetch a blob; see `bootd.registry.sources.source.ImageSource.blob`."""
        return RemoteBlob(descriptor, self._turns, self._partials, self._settings, self._clock)

    def part(self, descriptor: Descriptor, start: int, end: int) -> Generator[bytes, None, None]:
        """Fetch a part of a blob; see `bootd.registry.sources.source.ImageSource.part`."""
        return self._parts.read(descriptor, start, end)

    def take_uses(self) -> list[SourceUse]:
        """Return who served; see `bootd.registry.sources.source.ImageSource.take_uses`."""
        return self._uses.take()

    def beside(self, tag: str) -> list[Descriptor]:
        """Fetch what lies beside the image; see `ImageSource.beside`."""
        try:
            data = self._first_answer(lambda endpoint: self._other_tag(endpoint, tag))
        except ImageNotFoundError:
            return []
        return listed_layers(data, f"{self._reference.name}:{tag}")

    def referrers(self, digest: Digest, kind: str) -> list[Descriptor]:
        """Fetch what refers to an image; see `ImageSource.referrers`."""
        try:
            data = self._first_answer(lambda endpoint: self._referrers(endpoint, digest))
        except ImageNotFoundError:
            return []
        artifacts = listed_artifacts(data, kind, f"what refers to {digest}")
        layers = [layer for one in artifacts for layer in self._layers_of(one)]
        return [layer for layer in layers if layer.media_type == kind]

    def _referrers(self, endpoint: Endpoint, digest: Digest) -> bytes:
        """Ask for the list, or take it from the tag that stands for it in an older registry."""

        def ask() -> bytes:
            with endpoint.referrers(digest) as response:
                return _read_bounded(response, MAX_MANIFEST_SIZE)

        try:
            return with_retries(endpoint.settings, self._clock, ask)
        except (ImageNotFoundError, ServerFailedError):
            return self._other_tag(endpoint, f"{digest.algorithm}-{digest.hex}")

    def _layers_of(self, artifact: Descriptor) -> list[Descriptor]:
        what = f"the artifact {artifact.digest}"
        if artifact.size > MAX_MANIFEST_SIZE:
            raise ManifestTooLargeError(f"{what} has {artifact.size} bytes")
        data = self._first_answer(
            lambda endpoint: self._read_document(endpoint, artifact, artifact.size)
        )
        check_digest(data, artifact.digest, what)
        return listed_layers(data, what)

    def _other_tag(self, endpoint: Endpoint, tag: str) -> bytes:
        def ask() -> bytes:
            with endpoint.manifest(tag) as response:
                return _read_bounded(response, MAX_MANIFEST_SIZE)

        return with_retries(endpoint.settings, self._clock, ask)

    def _first_answer(self, ask: Callable[[Endpoint], _T]) -> _T:
        for turn in self._turns:
            with turn.taken(VerificationError, silence_is_down=True):
                return ask(turn.endpoint)
        raise AssertionError  # the last one serves or raises

    def _resolve_at(self, endpoint: Endpoint) -> ResolvedImage:
        top = self._get_top(endpoint, "")
        assert top is not None
        read = partial(self._read_document, endpoint)
        return resolve_image(top, self._settings.platform, read)

    def _poll_at(
        self, endpoint: Endpoint, cached: CachedCheck | None
    ) -> tuple[Digest, CachedCheck]:
        here = cached if cached and cached.location == endpoint.location.name else None
        etag = here.etag if here else ""
        if here and here.tells_digest:
            if self._is_unchanged(endpoint, here):
                return here.digest, here
            etag = ""
        top = self._get_top(endpoint, etag)
        if top is None:
            assert here is not None
            return here.digest, here
        read = partial(self._read_document, endpoint)
        digest = chosen_digest(top, self._settings.platform, read)
        return digest, top.seen(digest, self._settings.platform)

    def _is_unchanged(self, endpoint: Endpoint, cached: CachedCheck) -> bool:
        """Ask with HEAD, which registries do not count against their pull limits."""
        which = self._reference.digest or self._reference.tag or ""

        def ask() -> bool:
            with endpoint.manifest(which, etag=cached.etag, method="HEAD") as response:
                response.discard()
                told = response.headers.get("Docker-Content-Digest")
                return response.status == _NOT_MODIFIED or told == cached.top

        try:
            return once(ask)
        except TransportError as error:
            if _is_silent(endpoint, error):
                raise
            _log.info("HEAD failed, trying GET: %s", error)
            return False

    def _get_top(self, endpoint: Endpoint, etag: str) -> Top | None:
        """Fetch what the reference names; None if it still has the entity tag."""
        which = self._reference.digest or self._reference.tag or ""

        def ask() -> Top | None:
            with endpoint.manifest(which, etag=etag) as response:
                if response.status == _NOT_MODIFIED:
                    response.discard()
                    return None
                return self._verified_top(endpoint, response)

        if etag:
            try:
                return once(ask)
            except TransportError as error:
                if _is_silent(endpoint, error):
                    raise
                _log.info("a conditional request failed, trying a plain one: %s", error)
                etag = ""
        return with_retries(endpoint.settings, self._clock, ask)

    def _verified_top(self, endpoint: Endpoint, response: HttpResponse) -> Top:
        data = _read_bounded(response, MAX_MANIFEST_SIZE)
        told = _digest_header(response)
        digest = self._reference.digest or told or Digest.of(data)
        wanted = list(filter(None, (self._reference.digest, told)))
        if not data or not wanted or response.content_length is None:
            _check_readable(data, endpoint.location.name)
        for expected in wanted:
            check_digest(data, expected, f"the manifest of {self._reference}")
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()[:_MAX_ETAG]
        return Top(
            str(self._reference),
            Descriptor(media_type=media_type, digest=digest, size=len(data)),
            data,
            location=endpoint.location.name,
            etag=response.headers.get("ETag", "")[:_MAX_ETAG],
            tells_digest=told is not None,
        )

    def _read_document(self, endpoint: Endpoint, document: Descriptor, limit: int) -> bytes:
        is_manifest = document.media_type in MANIFEST_TYPES | INDEX_TYPES

        def ask() -> bytes:
            with (
                endpoint.manifest(document.digest)
                if is_manifest
                else endpoint.blob(document, 0, "")
            ) as response:
                data = response.read(limit)
                if len(data) < document.size and response.content_length is None:
                    name, size = endpoint.location.name, document.size
                    message = f"{name}: {document.digest} ended after {len(data)} of {size} bytes"
                    raise TemporaryFailure(ConnectionFailedError(message))
                return data

        return with_retries(endpoint.settings, self._clock, ask)


def _read_bounded(response: HttpResponse, limit: int) -> bytes:
    length = response.content_length
    data = b"" if length is not None and length > limit else response.read(limit)
    if len(data) > limit or (length is not None and length > limit):
        raise ManifestTooLargeError(
            f"the manifest has {length or f'more than {limit}'} bytes; {limit} are allowed"
        )
    return data


def _is_silent(endpoint: Endpoint, error: TransportError) -> bool:
    """Whether another place is to be asked before this one is asked a second time."""
    no_answer = never_connected(error) or isinstance(error, TimedOutError)
    return endpoint.settings.is_hasty and no_answer


def _check_readable(data: bytes, where: str) -> None:
    """Refuse what may be anybody's answer, or the begin of one: it may be another soon."""
    try:
        json.loads(data)
    except (ValueError, RecursionError) as error:
        what = "gave no JSON" if data else "gave nothing"
        failure = ServerFailedError(f"{where} {what} in place of a manifest")
        raise TemporaryFailure(failure) from error


def _digest_header(response: HttpResponse) -> Digest | None:
    try:
        return Digest(response.headers.get("Docker-Content-Digest", ""))
    except InvalidDigestError:
        return None
