"""One repository at one place, spoken to by the OCI Distribution Specification 1.1.

Status codes become errors here; authorization is learnt from the first 401 and renewed when it runs
out in the middle of a pull.
"""

from __future__ import annotations

import copy
import json
import logging
import os
from collections.abc import Mapping
from typing import Any, Final, Self
from urllib.parse import urlsplit

from bootd.clock import Clock
from bootd.model.digest import Digest
from bootd.model.errors import (
    BootdError,
    ConnectionFailedError,
    ImageNotFoundError,
    RateLimitedError,
    ServerFailedError,
    TimedOutError,
    TlsFailedError,
    UnauthorizedError,
)
from bootd.model.image import INDEX_TYPES, MANIFEST_TYPES
from bootd.registry.credentials import credentials_for
from bootd.registry.http import HttpClient, HttpResponse
from bootd.registry.http_errors import never_connected
from bootd.registry.proxies import proxy_environment
from bootd.registry.registries_conf import Location
from bootd.registry.retry import TemporaryFailure, parse_retry_after
from bootd.registry.settings import RegistrySettings, Waits
from bootd.registry.token import Authorizer

_log = logging.getLogger(__name__)

_ACCEPT: Final = ", ".join(sorted(MANIFEST_TYPES | INDEX_TYPES))
_MAX_ERROR: Final = 64 << 10
_SHOWN_ERROR: Final = 300
_DOCKER_HUB: Final = "docker.io"
_DOCKER_HUB_HOST: Final = "registry-1.docker.io"


class Endpoint:
    """A repository that can be asked.

    Attributes:
        location: which one.
        settings: the patience it is asked with.
    """

    def __init__(
        self, location: Location, settings: RegistrySettings, http: HttpClient, clock: Clock
    ) -> None:
        self.location = location
        self.settings = settings
        self._http = http
        self._clock = clock
        self._host = _DOCKER_HUB_HOST if location.domain == _DOCKER_HUB else location.domain
        self._scheme = "" if location.insecure else "https"
        self._authorizer = Authorizer(
            http,
            clock,
            location.name,
            lambda: credentials_for(
                location.name, settings.root, os.environ, proxy_environment(settings)
            ),
            insecure=location.insecure,
        )

    @property
    def place(self) -> str:
        """The host, and the port if it is named."""
        return self._host

    def hasty(self) -> Self:
        """Return the same with little patience, for when somebody else can be asked."""
        hasty = copy.copy(self)
        hasty.settings = self.settings.hasty()
        return hasty

    def manifest(self, which: str, *, etag: str = "", method: str = "GET") -> HttpResponse:
        """Ask for a manifest by tag or digest; with an entity tag the answer may be 304.

        Raises:
            TemporaryFailure: worth another try.
            TransportError: not served.
        """
        headers = {"Accept": _ACCEPT}
        if etag:
            headers["If-None-Match"] = etag
        expected = {200, 304} if etag else {200}
        waits = self.settings.document_waits
        return self._request(method, f"manifests/{which}", headers, expected, waits)

    def blob(self, digest: Digest, offset: int, etag: str) -> HttpResponse:
        """Ask for a blob from an offset on; the answer may be 206, 416 or, the whole of it, 200.

        Args:
            digest: which blob.
            offset: the first byte wanted.
            etag: a strong entity tag that the bytes before had, or empty.

        Raises:
            TemporaryFailure: worth another try.
            TransportError: not served.
        """
        headers = {"Accept": "*/*"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if etag:
                headers["If-Range"] = etag
        expected = {200, 206, 416} if offset else {200}
        return self._request("GET", f"blobs/{digest}", headers, expected, self.settings.blob_waits)

    def part(self, digest: Digest, start: int, end: int, etag: str) -> HttpResponse:
        """Ask for the bytes of a blob from `start` up to, not including, `end`.

        Args:
            digest: which blob.
            start: the first byte wanted.
            end: where to stop.
            etag: see `blob`.

        Raises:
            TemporaryFailure: worth another try.
            TransportError: not served.
        """
        headers = {"Accept": "*/*", "Range": f"bytes={start}-{end - 1}"}
        if etag:
            headers["If-Range"] = etag
        return self._request(
            "GET", f"blobs/{digest}", headers, {200, 206, 416}, self.settings.blob_waits
        )

    def _request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        expected: set[int],
        waits: Waits,
    ) -> HttpResponse:
        response = self._authorized(method, path, headers, waits)
        if response.status == 401:  # noqa: PLR2004 - HTTP
            with response:
                again = self._authorizer.challenged(response)
                response.discard()
            if again:
                response = self._authorized(method, path, headers, waits)
        if response.status in expected:
            return response
        with response:
            self._refuse(path, response)
        raise AssertionError  # _refuse always raises

    def _authorized(
        self, method: str, path: str, headers: Mapping[str, str], waits: Waits
    ) -> HttpResponse:
        authorization = self._authorizer.header()
        sent = {**headers, "Authorization": authorization} if authorization else headers
        if self._scheme:
            return self._send(self._scheme, method, path, sent, waits)
        try:
            response = self._send("https", method, path, sent, waits)
        except (TlsFailedError, ConnectionFailedError, TimedOutError) as error:
            if never_connected(error) and urlsplit(f"//{self._host}").port is not None:
                # Without TLS it would be the same port.
                raise
            _log.debug("%s is insecure and has no TLS: %s", self._host, error)
            response = self._send("http", method, path, sent, waits)
            self._scheme = "http"
        else:
            self._scheme = "https"
        return response

    def _send(
        self, scheme: str, method: str, path: str, headers: Mapping[str, str], waits: Waits
    ) -> HttpResponse:
        url = f"{scheme}://{self._host}/v2/{self.location.path}/{path}"
        return self._http.request(
            method, url, headers, insecure=self.location.insecure, waits=waits
        )

    def _refuse(self, path: str, response: HttpResponse) -> None:
        status = response.status
        what = f"{self.location.name} {path}"
        said = _said(response)
        error: BootdError
        match status:
            case 401 | 403:
                raise UnauthorizedError(f"{what}: not authorised ({status}){said}")
            case 404:
                raise ImageNotFoundError(f"{what}: not found{said}")
            case 429:
                error = RateLimitedError(f"{what}: too many requests (429){said}")
            case 408 | 500 | 502 | 503 | 504:
                error = ServerFailedError(f"{what}: the registry failed ({status}){said}")
            case _:
                raise ServerFailedError(f"{what}: unexpected answer {status}{said}")
        delay = parse_retry_after(response.headers.get("Retry-After"), self._clock)
        raise TemporaryFailure(error, delay)


def _said(response: HttpResponse) -> str:
    """Return the registry's own words (distribution-spec, "Error Codes"), made fit for a line."""
    try:
        value: Any = json.loads(response.read(_MAX_ERROR))
        first = value["errors"][0]
        text = f"{first.get('code', '')}: {first.get('message', '')}"
    except (ValueError, RecursionError, TypeError, LookupError, AttributeError, BootdError):
        return ""
    shown = "".join(character for character in text if character.isprintable())
    return f"; it says {shown[:_SHOWN_ERROR]!r}"
