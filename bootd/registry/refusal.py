"""Answers that are not what was asked for: what they mean, who gave them, and what to do then.

A registry says what is wrong in JSON (distribution-spec, "Error Codes"). A storage host or a
content network, to which a registry redirects, speaks for itself: what it refuses says nothing
about credentials or names. A web page is from neither: something between answered.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from typing import Any, Final

from bootd.clock import Clock
from bootd.model.errors import (
    BootdError,
    ConnectionFailedError,
    ImageNotFoundError,
    NotARegistryError,
    RateLimitedError,
    ServerFailedError,
    UnauthorizedError,
)
from bootd.registry.wire.http import HttpResponse
from bootd.registry.wire.http_errors import host_of, proxy_hint
from bootd.registry.wire.retry import (
    FEW_TRIES,
    TWO_TRIES,
    TemporaryFailure,
    may_pass,
    parse_retry_after,
)

_MAX_ERROR: Final = 64 << 10
_SHOWN_ERROR: Final = 300
_SHOWN_TITLE: Final = 100
_PAGE_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})
_PAGE_BEGINNINGS: Final = (b"<!doctype html", b"<html", b"<head", b"<script", b"<meta", b"<body")
_BLANK: Final = b"\xef\xbb\xbf \t\r\n"
"""What may stand before a page: a byte order mark, and white space."""
_TITLE: Final = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)
_XML_WORDS: Final = re.compile(r"<(?:Code|Message)>([^<]*)")
_NETWORK_LOGIN: Final = 511
_PROXY_LOGIN: Final = 407
_TOO_MANY: Final = 429
_NOT_FOUND: Final = 404
_BAD_REQUEST: Final = 400
_STORAGE_HINT: Final = (
    "The storage behind the registry refused, so credentials are of no use; try again later. If it "
    "lasts, tell the registry's administrator."
)
_MISSING_HINT: Final = (
    "Install that helper, or take it out of the file that names it and put credentials where "
    "containers-auth.json(5) says, e.g. /etc/ostree/auth.json."
)
_REFUSED_HINT: Final = (
    "Renew that entry (skopeo login --authfile), or take it out if the image is public (skopeo "
    "logout); files that come after it are not asked."
)
_PAGE_NOT_FOUND_HINT: Final = (
    "That was a web page, which registries do not give: check the name in the reference, and "
    "whether a portal that wants a login or a proxy stands between."
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, for messages.

    Attributes:
        what: registry, repository and document or blob.
        registry: the registry's name.
        credentials: the file and key, or the helper, of the credentials shown; empty: none.
        missing: why there are none, although a file wants some to be shown; empty: none does.
        is_token: whether that was a token of a token server, which knows no names to be not found.
    """

    what: str
    registry: str
    credentials: str = ""
    missing: str = ""
    is_token: bool = False


def refusal(response: HttpResponse, asked: Asked, clock: Clock) -> BootdError | TemporaryFailure:
    """Return what to raise for an answer with a status that was not hoped for."""
    body = _body(response)
    delay = parse_retry_after(response.headers.get("Retry-After"), clock)
    if response.status == _PROXY_LOGIN:
        message = f"the proxy for {host_of(response.url)} wants a login (407){_said(body)}"
        return ConnectionFailedError(message, hint=proxy_hint(_PROXY_LOGIN))
    if response.status == _NETWORK_LOGIN:
        return _not_a_registry(response, asked, body)
    if response.is_elsewhere:
        return _of_storage(response, asked, body, delay)
    if may_pass(response.status):
        kind = RateLimitedError if response.status == _TOO_MANY else ServerFailedError
        what = "too many requests" if response.status == _TOO_MANY else "the server failed"
        return TemporaryFailure(
            kind(f"{asked.what}: {what} ({response.status}){_said(body)}"), delay
        )
    return _final(response, asked, body)


def _final(response: HttpResponse, asked: Asked, body: bytes) -> BootdError:
    status, said, page = response.status, _said(body), is_page(response, body)
    if status == _NOT_FOUND and not asked.is_token:
        hint = _PAGE_NOT_FOUND_HINT if page else None
        return ImageNotFoundError(f"{asked.what}: not found{said}", hint=hint)
    if page and "WWW-Authenticate" not in response.headers:
        return _not_a_registry(response, asked, body)
    # By OAuth 2 a token server refuses credentials with 400 (RFC 6749 section 5.2).
    if status not in {401, 403} and not (asked.is_token and status == _BAD_REQUEST):
        return ServerFailedError(f"{asked.what}: unexpected answer {status}{said}")
    if not asked.credentials:
        return no_credentials(asked, f"not authorised ({status}){said}")
    message = f"{asked.what}: the credentials of {asked.credentials} are refused ({status}){said}"
    return UnauthorizedError(message, hint=_REFUSED_HINT)


def no_credentials(asked: Asked, why: str) -> UnauthorizedError:
    """Return what to raise where credentials are wanted and none were shown."""
    if not asked.missing:
        return UnauthorizedError(f"{asked.what}: {why}")
    return UnauthorizedError(f"{asked.what}: {why}; {asked.missing}", hint=_MISSING_HINT)


def web_page(response: HttpResponse, asked: Asked, *, of_json: bool) -> TemporaryFailure | None:
    """Return what to raise where an answer that was hoped for is a web page, else None.

    Args:
        response: the answer; its body can be read afterwards.
        asked: what was asked for.
        of_json: whether JSON is to be found there, which is never marked as a page.

    Raises:
        TemporaryFailure, ServerFailedError: its first bytes could not be read.
    """
    beginning = response.beginning()
    marked = _media_type(response) in _PAGE_TYPES
    could_be = of_json or not beginning or beginning.lstrip(_BLANK).startswith(b"<")
    if not (_looks_like_page(beginning) or (marked and could_be)):
        return None
    return TemporaryFailure(_not_a_registry(response, asked, beginning), None, FEW_TRIES)


def is_page(response: HttpResponse, body: bytes) -> bool:
    """Return whether an answer is a web page, by its type or its first bytes."""
    return _media_type(response) in _PAGE_TYPES or _looks_like_page(body)


def _of_storage(
    response: HttpResponse, asked: Asked, body: bytes, delay: float | None
) -> BootdError | TemporaryFailure:
    status, host = response.status, host_of(response.url)
    message = f"{asked.what}: {host}, where {asked.registry} redirects to, answered {status}"
    message += _said(body)
    if may_pass(status):
        kind = RateLimitedError if status == _TOO_MANY else ServerFailedError
        return TemporaryFailure(kind(message, hint=_STORAGE_HINT), delay)
    if is_page(response, body):
        return TemporaryFailure(_not_a_registry(response, asked, body), None, TWO_TRIES)
    # What was signed may have expired: the registry signs anew.
    return TemporaryFailure(ServerFailedError(message, hint=_STORAGE_HINT), None, TWO_TRIES)


def _not_a_registry(response: HttpResponse, asked: Asked, body: bytes) -> NotARegistryError:
    title = _TITLE.search(body.decode(errors="replace"))
    shown = _shown(html.unescape(title[1]).strip() if title else "", _SHOWN_TITLE)
    host = host_of(response.url)
    led = f", where {asked.registry} led to," if response.is_elsewhere else ""
    titled = f" with the title {shown!r}" if shown else ""
    message = f"{asked.what}: {host}{led} answered with a web page{titled}"
    return NotARegistryError(f"{message}, HTTP status {response.status}: not a registry's answer")


def _body(response: HttpResponse) -> bytes:
    try:
        return response.read(_MAX_ERROR)
    except (BootdError, TemporaryFailure):
        return b""


def _said(body: bytes) -> str:
    """Return a server's own words, made fit for a line, or nothing."""
    text = _words(body)
    return f"; it says {_shown(text, _SHOWN_ERROR)!r}" if text else ""


def _words(body: bytes) -> str:
    if body.lstrip(_BLANK).startswith(b"<") and not _looks_like_page(body):
        # Storage speaks XML: Amazon's, Google's and Microsoft's with these elements.
        return ": ".join(_XML_WORDS.findall(body.decode(errors="replace"))[:2])
    try:
        value: Any = json.loads(body)
        if "errors" in value:
            first = value["errors"][0]
            return f"{first.get('code', '')}: {first.get('message', '')}"
        # Token servers have shapes of their own.
        named = (value.get(key) for key in ("error_description", "details", "message", "error"))
        return next((text for text in named if isinstance(text, str)), "")
    except (ValueError, RecursionError, TypeError, LookupError, AttributeError):
        return ""


def _shown(text: str, length: int) -> str:
    return "".join(character for character in text if character.isprintable())[:length]


def _media_type(response: HttpResponse) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _looks_like_page(body: bytes) -> bool:
    return body.lstrip(_BLANK)[:100].lower().startswith(_PAGE_BEGINNINGS)
