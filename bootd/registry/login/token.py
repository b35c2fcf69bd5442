"""Authorization for one repository: Basic, or Docker's token flow for Bearer.

Source: distribution project, "Token Authentication Specification", "OAuth2 Token Authentication".
A token is asked for one thing only, ``repository:NAME:pull``, kept until shortly before it expires,
and renewed when the registry refuses it. Where a fresh one is refused, the registry may not know it
yet, or know the repository by another name, which its challenge says: each is tried once.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from bootd.clock import Clock
from bootd.model.errors import ServerFailedError, UnauthorizedError
from bootd.registry.login.challenge import Challenge, parse_challenges
from bootd.registry.login.credentials import Credentials
from bootd.registry.refusal import Asked, no_credentials, refusal, web_page
from bootd.registry.settings import Waits
from bootd.registry.wire.http import HttpClient, HttpResponse
from bootd.registry.wire.http_errors import host_of
from bootd.registry.wire.retry import TemporaryFailure

_log = logging.getLogger(__name__)

_MAX_ANSWER: Final = 1 << 20
_MAX_TOKEN: Final = 64 << 10
_DEFAULT_LIFETIME: Final = 60
_LONGEST_LIFETIME: Final = 24 * 3_600
_MARGIN: Final = 10.0
_CLIENT_ID: Final = "bootd"
_PULL_SCOPE: Final = re.compile(r"repository:([a-z0-9][a-z0-9._/-]{0,254}):[a-z,]*\bpull\b[a-z,]*")
_OK: Final = 200


class NextStep(Enum):
    """What to do after a 401 answer."""

    GIVE_UP = auto()
    ASK_AGAIN = auto()
    """With another header."""
    ASK_LATER = auto()
    """A token that was just made is refused, which may pass."""


class Authorizer:
    """Makes Authorization headers for one repository at one location.

    Args:
        http: the client that asks for tokens.
        clock: says when a token has expired.
        repository: registry and path, e.g. ``quay.io/team/os``.
        find: returns the credentials; asked when the registry first wants any.
        insecure: whether credentials may travel without TLS.

    Attributes:
        shown: where the credentials that were shown last are from, or empty.
        missing: why none were shown although a file wants that, or empty.
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
        self._is_accepted = False
        self._is_other_scope = False
        self.shown = ""
        self.missing = ""

    def header(self, waits: Waits) -> str:
        """Return the Authorization header to send, or an empty string.

        Args:
            waits: how long a token server may take.

        Raises:
            UnauthorizedError: credentials are wanted and missing, or were refused.
            TransportError: the token server does not answer.
        """
        if self._challenge is not None and self._clock.monotonic() >= self._expires:
            self._renew(self._challenge, waits)
        return self._header

    def accepted(self) -> None:
        """Note that the registry took the header, or wants none."""
        self._is_accepted = True

    def challenged(self, response: HttpResponse) -> NextStep:
        """Learn from a 401 answer of the registry itself, never of another host."""
        offered = parse_challenges(response.headers.get("WWW-Authenticate", ""))
        known = {one.scheme: one for one in reversed(offered)}
        chosen = known.get("bearer") or known.get("basic")
        if chosen is None:
            return NextStep.GIVE_UP
        is_fresh = bool(self._header) and not self._is_accepted
        is_same = self._challenge is not None and chosen.scheme == self._challenge.scheme
        self._challenge, self._header, self._expires = chosen, "", 0.0
        self._is_accepted = False
        if not (is_fresh and is_same):
            return NextStep.ASK_AGAIN
        if chosen.scheme == "basic":
            return NextStep.GIVE_UP
        wanted = _PULL_SCOPE.fullmatch(chosen.parameters.get("scope", ""))
        scope = f"repository:{wanted[1]}:pull" if wanted else self._scope
        if scope != self._scope and not self._is_other_scope:
            self._scope, self._is_other_scope = scope, True
            return NextStep.ASK_AGAIN
        if chosen.parameters.get("error") == "insufficient_scope":
            return NextStep.GIVE_UP
        return NextStep.ASK_LATER

    def _renew(self, challenge: Challenge, waits: Waits) -> None:
        credentials = self._find()
        self.shown = credentials.origin if credentials else ""
        self.missing = credentials.missing if credentials else ""
        if self.missing:
            _log.warning("%s is asked without credentials: %s", self._repository, self.missing)
            credentials = None
        if challenge.scheme == "basic":
            if credentials is None or credentials.identity_token:
                asked = Asked(self._repository, self._repository, missing=self.missing)
                raise no_credentials(asked, "wants a user name and password, and there are none")
            self._header, self._expires = _basic(credentials), float("inf")
            return
        realm = challenge.parameters.get("realm", "")
        if urlsplit(realm).scheme not in {"http", "https"}:
            raise ServerFailedError(f"{self._repository} names no token server")
        if credentials and urlsplit(realm).scheme == "http" and not self._insecure:
            raise UnauthorizedError(
                f"the token server {host_of(realm)} has no TLS; credentials are not sent there",
                hint="Mark the registry insecure in registries.conf if that is meant.",
            )
        service = challenge.parameters.get("service", "")
        token, lifetime = self._ask(realm, service, credentials, waits)
        self._header = f"Bearer {token}"
        self._expires = self._clock.monotonic() + max(lifetime - _MARGIN, lifetime / 2)

    def _ask(
        self, realm: str, service: str, credentials: Credentials | None, waits: Waits
    ) -> tuple[str, float]:
        fields = {"service": service, "scope": self._scope}
        if credentials and credentials.identity_token:
            form = {
                **fields,
                "grant_type": "refresh_token",
                "client_id": _CLIENT_ID,
                "refresh_token": credentials.identity_token,
            }
            answer = self._http.request(
                "POST", realm, form=form, insecure=self._insecure, waits=waits
            )
        else:
            headers = {"Authorization": _basic(credentials)} if credentials else {}
            url = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(fields)}"
            answer = self._http.request("GET", url, headers, insecure=self._insecure, waits=waits)
        where = host_of(realm)
        what = f"the token server {where}, asked for {self._repository}"
        asked = Asked(what, where, self.shown, self.missing, is_token=True)
        with answer:
            if answer.status != _OK:
                raise refusal(answer, asked, self._clock)
            if page := web_page(answer, asked, of_json=True):
                raise page
            return _parse_token(answer.read(_MAX_ANSWER), where)


def _parse_token(data: bytes, where: str) -> tuple[str, float]:
    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        message = f"the token server {where} gave no JSON"
        raise TemporaryFailure(ServerFailedError(message)) from error
    answer = value if isinstance(value, dict) else {}
    token = answer.get("token") or answer.get("access_token")
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise ServerFailedError(f"the token server {where} gave no token")
    if len(token) > _MAX_TOKEN:
        raise ServerFailedError(f"the token server {where} gave {len(token)} bytes as a token")
    lifetime = answer.get("expires_in")
    if not isinstance(lifetime, int | float) or not lifetime > 0:  # nor NaN
        lifetime = _DEFAULT_LIFETIME
    return token, float(min(lifetime, _LONGEST_LIFETIME))


def _basic(credentials: Credentials) -> str:
    text = f"{credentials.username}:{credentials.password}"
    return "Basic " + base64.b64encode(text.encode()).decode()
