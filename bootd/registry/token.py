"""Authorization for one repository: Basic, or Docker's token flow for Bearer.

Source: distribution project, "Token Authentication Specification", "OAuth2 Token Authentication".
A token is asked for one thing only, ``repository:NAME:pull``, kept until shortly before it expires,
and renewed when the registry refuses it.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from bootd.clock import Clock
from bootd.model.errors import ServerFailedError, UnauthorizedError
from bootd.registry.challenge import Challenge, parse_challenges
from bootd.registry.credentials import Credentials
from bootd.registry.http import HttpClient, HttpResponse

_log = logging.getLogger(__name__)

_MAX_ANSWER: Final = 1 << 20
_MAX_TOKEN: Final = 64 << 10
_DEFAULT_LIFETIME: Final = 60
_LONGEST_LIFETIME: Final = 24 * 3_600
_MARGIN: Final = 10.0
_CLIENT_ID: Final = "bootd"


class Authorizer:
    """Makes Authorization headers for one repository at one location.

    Args:
        http: the client that asks for tokens.
        clock: says when a token has expired.
        repository: registry and path, e.g. ``quay.io/team/os``.
        find: returns the credentials; asked when the registry first wants any.
        insecure: whether credentials may travel without TLS.
    """

    def __init__(
        self,
        http: HttpClient,
        clock: Clock,
        repository: str,
        find: Callable[[], Credentials | None],
        *,
        insecure: bool,
    ) -> None:
        self._http = http
        self._clock = clock
        self._repository = repository
        self._scope = f"repository:{repository.partition('/')[2]}:pull"
        self._find = find
        self._insecure = insecure
        self._challenge: Challenge | None = None
        self._header = ""
        self._expires = 0.0

    def header(self) -> str:
        """Return the Authorization header to send, or an empty string.

        Raises:
            UnauthorizedError: credentials are wanted and missing, or were refused.
            TransportError: the token server does not answer.
        """
        if self._challenge is not None and self._clock.monotonic() >= self._expires:
            self._renew(self._challenge)
        return self._header

    def challenged(self, response: HttpResponse) -> bool:
        """Learn from a 401 answer; return whether the next header is worth trying."""
        offered = parse_challenges(response.headers.get("WWW-Authenticate", ""))
        known = {one.scheme: one for one in reversed(offered)}
        chosen = known.get("bearer") or known.get("basic")
        if chosen is None:
            return False
        repeated_basic = chosen.scheme == "basic" and self._header.startswith("Basic ")
        self._challenge, self._header, self._expires = chosen, "", 0.0
        return not repeated_basic

    def _renew(self, challenge: Challenge) -> None:
        credentials = self._find()
        if challenge.scheme == "basic":
            if credentials is None or credentials.identity_token:
                raise UnauthorizedError(
                    f"{self._repository} wants a user name and password, and there are none"
                )
            self._header, self._expires = _basic(credentials), float("inf")
            return
        realm = challenge.parameters.get("realm", "")
        if urlsplit(realm).scheme not in {"http", "https"}:
            raise ServerFailedError(f"{self._repository} names no token server")
        if credentials and urlsplit(realm).scheme == "http" and not self._insecure:
            raise UnauthorizedError(
                f"the token server {realm[:200]} has no TLS; credentials are not sent there",
                hint="Mark the registry insecure in registries.conf if that is meant.",
            )
        token, lifetime = self._ask(realm, challenge.parameters.get("service", ""), credentials)
        self._header = f"Bearer {token}"
        self._expires = self._clock.monotonic() + max(lifetime - _MARGIN, lifetime / 2)

    def _ask(self, realm: str, service: str, credentials: Credentials | None) -> tuple[str, float]:
        fields = {"service": service, "scope": self._scope}
        if credentials and credentials.identity_token:
            form = {
                **fields,
                "grant_type": "refresh_token",
                "client_id": _CLIENT_ID,
                "refresh_token": credentials.identity_token,
            }
            answer = self._http.request("POST", realm, form=form, insecure=self._insecure)
        else:
            headers = {"Authorization": _basic(credentials)} if credentials else {}
            url = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(fields)}"
            answer = self._http.request("GET", url, headers, insecure=self._insecure)
        with answer:
            data = answer.read(_MAX_ANSWER)
        where = urlsplit(realm).netloc
        if answer.status in {400, 401, 403}:
            who = f"the credentials of {credentials.origin}" if credentials else "anonymous access"
            raise UnauthorizedError(f"{where} refuses {who} for {self._repository}")
        if answer.status != 200:  # noqa: PLR2004 - HTTP
            raise ServerFailedError(f"the token server {where} answered {answer.status}")
        return _parse_token(data, where)


def _parse_token(data: bytes, where: str) -> tuple[str, float]:
    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ServerFailedError(f"the token server {where} gave no JSON") from error
    found = value if isinstance(value, dict) else {}
    token = found.get("token") or found.get("access_token")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise ServerFailedError(f"the token server {where} gave no token")
    if len(token) > _MAX_TOKEN:
        raise ServerFailedError(f"the token server {where} gave {len(token)} bytes as a token")
    lifetime = found.get("expires_in")
    if not isinstance(lifetime, int | float) or lifetime <= 0:
        lifetime = _DEFAULT_LIFETIME
    return token, float(min(lifetime, _LONGEST_LIFETIME))


def _basic(credentials: Credentials) -> str:
    text = f"{credentials.username}:{credentials.password}"
    return "Basic " + base64.b64encode(text.encode()).decode()
