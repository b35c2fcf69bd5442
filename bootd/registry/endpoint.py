"""One repository at one place, spoken to by the OCI Distribution Specification 1.1.

Authorization is learnt from the first 401 of the registry itself and renewed when it runs out in
the middle of a pull. What other answers mean says `bootd.registry.refusal`.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

from bootd.clock import Clock
from bootd.model.digest import Digest
from bootd.model.errors import BootdError, ConnectionFailedError, TlsFailedError
from bootd.model.registry.image import INDEX_TYPES, MANIFEST_TYPES, OCI_INDEX, Descriptor
from bootd.registry.login.credentials import credentials_for
from bootd.registry.login.token import Authorizer, NextStep
from bootd.registry.refusal import Asked, is_page, refusal, web_page
from bootd.registry.registries_conf import Location
from bootd.registry.settings import RegistrySettings, Waits
from bootd.registry.wire.http import HttpClient, HttpResponse
from bootd.registry.wire.proxies import proxy_environment
from bootd.registry.wire.retry import TWO_TRIES, TemporaryFailure

_log = logging.getLogger(__name__)

_ACCEPT: Final = ", ".join(sorted(MANIFEST_TYPES | INDEX_TYPES))
_DOCKER_HUB: Final = "docker.io"
_DOCKER_HUB_HOST: Final = "registry-1.docker.io"
_OK: Final = 200
_BAD_REQUEST: Final = 400
_UNAUTHORIZED: Final = 401
_CHALLENGES: Final = 3
"""A token runs out, and the registry wants another scope for the next."""


@dataclass
class _Scheme:
    """How a place is spoken to, once that is known; for all copies of an endpoint."""

    name: str


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
        self._scheme = _Scheme("" if location.insecure else "https")
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
        path = f"manifests/{which}"
        waits = self.settings.document_waits
        response = self._request(method, path, headers, {200, 304} if etag else {200}, waits)
        return response if method == "HEAD" else self._no_page(response, path, of_json=True)

    def referrers(self, digest: Digest) -> HttpResponse:
        """Ask what refers to a manifest (distribution-spec 1.1, "Listing Referrers").

        Raises:
            TemporaryFailure: worth another try.
            TransportError: not served; a registry that does not know the question says "not found".
        """
        path = f"referrers/{digest}"
        waits = self.settings.document_waits
        response = self._request("GET", path, {"Accept": OCI_INDEX}, {200}, waits)
        return self._no_page(response, path, of_json=True)

    def blob(self, blob: Descriptor, offset: int, etag: str) -> HttpResponse:
        """Ask for a blob from an offset on; the answer may be 206, 416 or, the whole of it, 200.

        Args:
            blob: which one.
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
        return self._blob(blob, headers, expected)

    def part(self, blob: Descriptor, start: int, end: int, etag: str) -> HttpResponse:
        """Ask for the bytes of a blob from `start` up to, not including, `end`.

        Args:
            blob: which one.
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
        return self._blob(blob, headers, {200, 206, 416})

    def _blob(
        self, blob: Descriptor, headers: Mapping[str, str], expected: set[int]
    ) -> HttpResponse:
        path = f"blobs/{blob.digest}"
        response = self._request("GET", path, headers, expected, self.settings.blob_waits)
        response.is_packed(blob.size)
        return self._no_page(response, path, of_json=False)

    def _request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        expected: set[int],
        waits: Waits,
    ) -> HttpResponse:
        response = self._authorized(method, path, headers, waits)
        if response.status in expected:
            return response
        with response:
            raise refusal(response, self._asked(path), self._clock)

    def _no_page(self, response: HttpResponse, path: str, *, of_json: bool) -> HttpResponse:
        """Return the answer if it is none that a portal gives in place of the registry's."""
        if response.status != _OK:
            return response
        with ExitStack() as stack:
            stack.enter_context(response)
            if page := web_page(response, self._asked(path), of_json=of_json):
                raise page
            stack.pop_all()
        return response

    def _asked(self, path: str) -> Asked:
        name = self.location.name
        return Asked(f"{name} {path}", name, self._authorizer.shown, self._authorizer.missing)

    def _authorized(
        self, method: str, path: str, headers: Mapping[str, str], waits: Waits
    ) -> HttpResponse:
        """Send a request, and again with what the registry wants to be shown."""
        for _ in range(_CHALLENGES):
            response = self._with_authorization(method, path, headers, waits)
            # What a host says to which a redirect led is not the registry's word.
            if response.status != _UNAUTHORIZED or response.is_elsewhere:
                self._authorizer.accepted()
                return response
            with ExitStack() as stack:
                stack.enter_context(response)
                step = self._authorizer.challenged(response)
                if step is NextStep.GIVE_UP:
                    stack.pop_all()
                    return response
                if step is NextStep.ASK_LATER:
                    refused = refusal(response, self._asked(path), self._clock)
                    raise _tried_again(refused)
                response.discard()
        return self._with_authorization(method, path, headers, waits)

    def _with_authorization(
        self, method: str, path: str, headers: Mapping[str, str], waits: Waits
    ) -> HttpResponse:
        authorization = self._authorizer.header(self.settings.document_waits)
        sent = {**headers, "Authorization": authorization} if authorization else headers
        if self._scheme.name:
            return self._send(self._scheme.name, method, path, sent, waits)
        # With a port in the name it would be the same without TLS.
        has_port = urlsplit(f"//{self._host}").port is not None
        if self.settings.is_hasty and not has_port:
            waits = waits._replace(connect=waits.connect / 2)
        try:
            response = self._send("https", method, path, sent, waits)
        except (TlsFailedError, ConnectionFailedError, TemporaryFailure) as error:
            is_down = isinstance(error, TemporaryFailure) and error.is_unreachable
            if (is_down and has_port) or self._http.has_answered(f"https://{self._host}"):
                raise
            failure = error
        else:
            self._scheme.name = "https"
            return response
        _log.debug("%s is insecure and has no TLS: %s", self._host, failure)
        response = self._send("http", method, path, sent, waits)
        if response.status == _BAD_REQUEST and isinstance(failure, TemporaryFailure):
            # Servers that speak TLS answer so to whoever does not.
            with response:
                raise failure
        if response.status != _BAD_REQUEST and not is_page(response, b""):
            self._scheme.name = "http"
        return response

    def _send(
        self, scheme: str, method: str, path: str, headers: Mapping[str, str], waits: Waits
    ) -> HttpResponse:
        url = f"{scheme}://{self._host}/v2/{self.location.path}/{path}"
        return self._http.request(
            method, url, headers, insecure=self.location.insecure, waits=waits
        )


def _tried_again(refused: BootdError | TemporaryFailure) -> BootdError | TemporaryFailure:
    return (
        TemporaryFailure(refused, None, TWO_TRIES) if isinstance(refused, BootdError) else refused
    )
