"""Who answered, what it means, and what is asked then: redirects, portals, proxies, bad moments."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import socket
import ssl
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from support.registry import FaultyRegistry, TokenAuth, faulty_registry
from support.registry_client import (
    BLOB,
    IMAGE,
    MANIFEST,
    Machine,
    content,
    layer,
    machine,
    read,
    registry,
    write_auth,
)

from bootd.model.errors import (
    BootdError,
    ConnectionFailedError,
    DigestMismatchError,
    HostUnknownError,
    ImageNotFoundError,
    NotARegistryError,
    RateLimitedError,
    ServerFailedError,
    TlsFailedError,
    TransportError,
    UnauthorizedError,
)
from bootd.registry.sources.source import ImageSource

__all__ = ["machine", "registry"]

PAGE = b"<!DOCTYPE html><html><head><title>Guests &amp; co</title></head><body>hi</body></html>"
HTML = {"Content-Type": "text/html; charset=utf-8"}
CONFIG = r"GET .*/blobs/" + json.loads(IMAGE.manifest)["config"]["digest"]
EXPIRED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Expired</Message></Error>"


CALM = {"first_byte_seconds": 10.0, "stall_seconds": 10.0, "document_seconds": 20.0}


@pytest.fixture
def source(registry: FaultyRegistry, machine: Machine) -> ImageSource:
    """The image; nothing is slow here on purpose."""
    return machine.open(registry.reference(), **CALM)


@pytest.fixture
def storage() -> Iterator[FaultyRegistry]:
    """A host that serves blobs, and manifests, to whoever is redirected there."""
    with faulty_registry() as made:
        made.add_image(IMAGE)
        yield made


def lead_to(storage: FaultyRegistry, registry: FaultyRegistry, times: int = -1) -> None:
    """Let a registry redirect to storage for the layer's blob."""
    target = f"http://{storage.host}/elsewhere/{layer().digest}?sig=abc"
    registry.fail(BLOB, times=times, status=307, headers={"Location": target})


# What a redirect leads to


@pytest.mark.parametrize("kind", ["password", "identity token"])
@pytest.mark.parametrize("what", ["blob", "manifest", "part"])
def test_another_hosts_challenge_gets_no_credentials(
    what: str,
    kind: str,
    registry: FaultyRegistry,
    storage: FaultyRegistry,
    machine: Machine,
) -> None:
    if kind == "password":
        registry.token_auth = TokenAuth(username="user", password="secret")
        write_auth(machine, registry.host, {"username": "user", "password": "secret"})
    else:
        registry.token_auth = TokenAuth(identity_token="refresh-me")
        write_auth(machine, registry.host, {"identitytoken": "refresh-me"})
    source = machine.open(registry.reference())
    source.resolve()
    with faulty_registry() as thief:
        thief.token_auth = TokenAuth()
        challenge = f'Bearer realm="http://{thief.host}/token",service="x"'
        storage.fail("", times=-1, status=401, headers={"WWW-Authenticate": challenge})
        lead_to(storage, registry)
        path = f"http://{storage.host}/v2/os/image/manifests/latest"
        registry.fail(MANIFEST, times=-1, status=307, headers={"Location": path})
        ask: dict[str, Callable[[], object]] = {
            "manifest": source.resolve,
            "part": lambda: list(source.part(layer(), 10, 20)),
            "blob": lambda: read(source),
        }
        with pytest.raises(ServerFailedError, match=storage.host):
            ask[what]()
        assert thief.requests == []
        assert all("Authorization" not in one.headers for one in storage.requests)
    registry.faults.clear()
    assert read(source) == content()
    # The token was good all the time.
    assert registry.token_auth.issued == 1


def test_a_way_back_from_another_host_gives_a_challenge_no_weight(
    registry: FaultyRegistry, storage: FaultyRegistry, machine: Machine
) -> None:
    """Storage may lead to any path of the registry, also to one whose answers others make."""
    registry.token_auth = TokenAuth(username="user", password="secret")
    write_auth(machine, registry.host, {"username": "user", "password": "secret"})
    source = machine.open(registry.reference())
    source.resolve()
    with faulty_registry() as thief:
        thief.token_auth = TokenAuth()
        lead_to(storage, registry)
        back = {"Location": f"http://{registry.host}/elsewhere/reflected"}
        storage.fail("", times=-1, status=307, headers=back)
        challenge = f'Bearer realm="http://{thief.host}/token",service="x"'
        headers = {"WWW-Authenticate": challenge}
        registry.fail("reflected", times=-1, status=401, headers=headers)
        with pytest.raises(ServerFailedError):
            read(source)
        assert thief.requests == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 429, 503])
def test_storage_that_refuses_once_is_asked_by_a_new_redirect(
    status: int, registry: FaultyRegistry, storage: FaultyRegistry, source: ImageSource
) -> None:
    lead_to(storage, registry)
    storage.fail("", status=status)
    assert read(source) == content()
    assert (registry.count(BLOB), storage.count("elsewhere")) == (2, 2)


@pytest.mark.parametrize(("status", "requests"), [(401, 2), (403, 2), (404, 2), (429, 3), (522, 3)])
def test_what_storage_says_is_told_as_its_own(
    status: int,
    requests: int,
    registry: FaultyRegistry,
    storage: FaultyRegistry,
    source: ImageSource,
) -> None:
    lead_to(storage, registry)
    storage.fail("", times=-1, status=status, replace=EXPIRED)
    with pytest.raises((ServerFailedError, RateLimitedError)) as caught:
        read(source)
    told = caught.value
    assert f"{storage.host}, where {registry.host}/os/image redirects to" in told.message
    assert f"{status}; it says 'AccessDenied: Expired'" in told.message
    assert "sig=" not in told.message
    assert "storage" in told.hint
    assert told.exit_status == 75
    assert storage.count("elsewhere") == requests


def test_mirrors_storage_that_refuses_leaves_the_registry(
    registry: FaultyRegistry, storage: FaultyRegistry, machine: Machine
) -> None:
    with faulty_registry() as mirror:
        mirror.add_image(IMAGE)
        (machine.root / "etc/containers/registries.conf").write_text(
            f'[[registry]]\nprefix = "os.example"\nlocation = "{registry.host}"\ninsecure = true\n'
            f'[[registry.mirror]]\nlocation = "{mirror.host}"\ninsecure = true\n'
        )
        lead_to(storage, mirror)
        storage.fail("", times=-1, status=403)
        source = machine.open("os.example/os/image:latest")
        assert read(source) == content()
        assert registry.count(BLOB) == 1


@pytest.mark.parametrize(
    "query",
    [
        "X-Amz-Credential=AKIA%2F2026%2fus&sig=a%2Bb%2F%3D%3D&st=%7Etilde~&e=&se=00%3A00",
        "b=a'(b)*!|x&{}=[%5B]&%2D%2E%5F%41=\"<>\\^`",
        "a=b?c=d/../e//f&%zz=%&=",
        "",
        "a=x\u00e9",
    ],
)
@pytest.mark.parametrize("path", ["%7Euser/a|b", "a/../b/./c//d", "x;p;"])
def test_a_location_is_asked_for_byte_by_byte(
    path: str,
    query: str,
    registry: FaultyRegistry,
    storage: FaultyRegistry,
    source: ImageSource,
) -> None:
    # A name beyond ASCII cannot stand in a request line.
    sent = f"/{path}?{query}".replace("\u00e9", "%E9")
    target = f"http://{storage.host}/{path}?{query}#there"
    registry.fail(BLOB, status=307, headers={"Location": target})
    storage.fail(r"", replace=content(), status=200)
    assert read(source) == content()
    assert [one.path for one in storage.requests] == [sent]


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/elsewhere/DIGEST?a=%7E|b&c=", "/elsewhere/DIGEST?a=%7E|b&c="),
        ("//HOST/elsewhere/DIGEST?%41", "/elsewhere/DIGEST?%41"),
        ("./DIGEST?signed=%7e", "/v2/os/image/blobs/DIGEST?signed=%7e"),
        ("../../../../elsewhere/DIGEST", "/elsewhere/DIGEST"),
    ],
)
def test_a_relative_location(
    location: str, path: str, registry: FaultyRegistry, source: ImageSource
) -> None:
    digest = str(layer().digest)
    location = location.replace("DIGEST", digest).replace("HOST", registry.host)
    registry.fail(BLOB + "$", status=307, headers={"Location": location})
    assert read(source) == content()
    assert registry.requests[-1].path == path.replace("DIGEST", digest)


def test_what_a_location_keeps_secret_is_not_logged(
    registry: FaultyRegistry,
    storage: FaultyRegistry,
    source: ImageSource,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "bootd")
    host = f"bucket:PASSWORD@{storage.host}"
    target = f"http://{host}/elsewhere/{layer().digest}?sig=SIGNATURE"
    registry.fail(BLOB, times=-1, status=307, headers={"Location": target})
    storage.fail("", times=-1, status=403)
    with pytest.raises(ServerFailedError) as caught:
        read(source)
    said = "\n".join([caught.value.message, caught.value.hint, *caplog.messages])
    assert storage.host in said
    assert "PASSWORD" not in said
    assert "SIGNATURE" not in said
    # Records hold errors, and these the connections.
    caplog.clear()


def test_a_body_without_end_of_a_redirect_is_not_read(
    registry: FaultyRegistry, storage: FaultyRegistry, source: ImageSource
) -> None:
    target = f"http://{storage.host}/elsewhere/{layer().digest}"
    registry.fail(BLOB, status=307, headers={"Location": target}, endless=True)
    assert read(source) == content()


# Web pages in place of answers


@pytest.mark.parametrize(
    "page",
    [
        {"replace": PAGE, "headers": HTML},
        {"replace": b"\xef\xbb\xbf\r\n <HTML><body>", "headers": {"Content-Type": "text/plain"}},
        {"replace": PAGE, "headers": {"Content-Type": None}},
        {"replace": PAGE, "headers": HTML, "pack": "gzip"},
        {"replace": b"", "headers": HTML},
        {"replace": PAGE, "headers": HTML, "status": 511},
        {"replace": PAGE, "headers": HTML, "status": 403},
        {"replace": PAGE, "headers": HTML, "status": 451},
    ],
)
@pytest.mark.parametrize("where", [MANIFEST, CONFIG, BLOB, "GET /token"])
def test_a_web_page_is_nobodys_image(
    where: str, page: dict[str, Any], registry: FaultyRegistry, source: ImageSource
) -> None:
    registry.token_auth = TokenAuth() if "token" in where else None
    page = {**page, "headers": {"Docker-Content-Digest": None, "ETag": None, **page["headers"]}}
    registry.fail(where, times=-1, **page)
    with pytest.raises(NotARegistryError) as caught:
        read(source) if where == BLOB else source.resolve()
    assert f"{registry.host} answered with a web page" in caught.value.message
    assert ("'Guests & co'" in caught.value.message) == (page["replace"] == PAGE)
    assert "portal" in caught.value.hint
    assert caught.value.exit_status == 75
    assert registry.count(where) <= 3


@pytest.mark.parametrize("where", [MANIFEST, CONFIG, BLOB])
def test_a_web_page_for_a_moment(where: str, registry: FaultyRegistry, source: ImageSource) -> None:
    registry.fail(where, times=2, replace=PAGE, headers={**HTML, "Docker-Content-Digest": None})
    assert source.resolve().digest == IMAGE.digest
    assert read(source) == content()


def test_a_login_page_behind_a_redirect(
    registry: FaultyRegistry, storage: FaultyRegistry, source: ImageSource
) -> None:
    registry.fail("", times=-1, status=302, headers={"Location": f"http://{storage.host}/login"})
    storage.fail("login", times=-1, status=200, replace=PAGE, headers=HTML)
    with pytest.raises(NotARegistryError) as caught:
        source.resolve()
    led = f"{storage.host}, where {registry.host}/os/image led to, answered with a web page"
    assert led in caught.value.message


def test_a_page_that_says_not_found_points_at_the_name(
    registry: FaultyRegistry, source: ImageSource
) -> None:
    registry.fail("", times=-1, status=404, replace=PAGE, headers=HTML)
    with pytest.raises(ImageNotFoundError) as caught:
        source.resolve()
    assert "web page" in caught.value.hint


def test_a_challenge_may_be_a_web_page(registry: FaultyRegistry, machine: Machine) -> None:
    write_auth(machine, registry.host, {"username": "user", "password": "secret"})
    challenge = {**HTML, "WWW-Authenticate": 'Basic realm="x"'}
    registry.fail("", status=401, replace=PAGE, headers=challenge)
    assert machine.open(registry.reference()).resolve().digest == IMAGE.digest
    assert registry.requests[-1].headers["Authorization"].startswith("Basic ")


def test_a_layer_that_is_marked_as_a_page_and_is_none(
    registry: FaultyRegistry, source: ImageSource
) -> None:
    registry.fail(BLOB, headers=HTML)
    assert read(source) == content()


def test_what_cannot_be_read_in_place_of_a_manifest(
    registry: FaultyRegistry, source: ImageSource
) -> None:
    registry.digests = False
    for body in (b"", b'{"schemaVersion": 2, "lay'):
        registry.fail(MANIFEST, replace=body)
    assert source.resolve().digest == IMAGE.digest
    registry.fail(MANIFEST, times=-1, replace=b"")
    with pytest.raises(ServerFailedError, match="nothing in place of a manifest"):
        source.resolve()


@pytest.mark.parametrize("where", [MANIFEST, CONFIG])
def test_a_document_that_is_cut_short_without_a_length(
    where: str, registry: FaultyRegistry, source: ImageSource
) -> None:
    registry.fail(where, cut_at=40, headers={"Content-Length": None})
    assert source.resolve().digest == IMAGE.digest
    registry.fail(where, times=-1, cut_at=40, headers={"Content-Length": None})
    with pytest.raises(TransportError) as caught:
        source.resolve()
    assert caught.value.exit_status == 75


# What a proxy packed


@pytest.mark.parametrize("where", [MANIFEST, CONFIG, BLOB])
@pytest.mark.parametrize("pack", ["gzip", "deflate"])
def test_what_was_packed_on_the_way_is_unpacked(
    pack: str, where: str, registry: FaultyRegistry, source: ImageSource
) -> None:
    registry.fail(where, times=-1, pack=pack)
    assert source.resolve().digest == IMAGE.digest
    assert read(source) == content()
    assert all(one.headers["Accept-Encoding"] == "identity" for one in registry.requests)


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (zlib.compress(IMAGE.manifest, wbits=-15), "deflate"),
        (gzip.compress(IMAGE.manifest[:50]) + gzip.compress(IMAGE.manifest[50:]), "X-GZip"),
        (gzip.compress(IMAGE.manifest) + bytes(100), "identity, gzip"),
        (IMAGE.manifest, "gzip"),
        (IMAGE.manifest, "identity"),
    ],
)
def test_spellings_of_packed(
    body: bytes, coding: str, registry: FaultyRegistry, source: ImageSource
) -> None:
    registry.fail(MANIFEST, replace=body, headers={"Content-Encoding": coding})
    registry.digests = True
    # The registry computes the header of what it has, not of what is sent.
    assert source.resolve().digest == IMAGE.digest


def test_an_unknown_packing_is_named(registry: FaultyRegistry, source: ImageSource) -> None:
    registry.fail(MANIFEST, times=-1, headers={"Content-Encoding": "br"})
    with pytest.raises(ServerFailedError, match="packs its answer with 'br'") as caught:
        source.resolve()
    assert "proxy" in caught.value.hint


def test_packed_bytes_that_are_wrong_are_found_out(
    registry: FaultyRegistry, source: ImageSource
) -> None:
    registry.fail(MANIFEST, times=-1, replace=b'{"a": 1}', pack="gzip")
    with pytest.raises(DigestMismatchError):
        source.resolve()


def test_a_bomb_does_not_go_off(registry: FaultyRegistry, source: ImageSource) -> None:
    bomb = gzip.compress(bytes(20 << 20))
    registry.fail(MANIFEST, times=-1, replace=bomb, headers={"Content-Encoding": "gzip"})
    with pytest.raises(BootdError, match="4194304 are allowed"):
        source.resolve()


def test_an_archive_that_is_marked_as_packed_stays_one(
    registry: FaultyRegistry, source: ImageSource
) -> None:
    """As storage serves a gzip file that was uploaded with the word gzip."""
    data = gzip.compress(content())
    name = "sha256:" + hashlib.sha256(data).hexdigest()
    registry.blobs[name] = data
    registry.fail(name, times=-1, headers={"Content-Encoding": "gzip"})
    registry.fail(name, cut_at=1_000, headers={"Content-Encoding": "gzip"})
    registry.faults.reverse()
    assert read(source, layer(digest=name, size=len(data))) == data
    assert [one.status for one in registry.requests] == [200, 206]


def test_a_packed_blob_that_is_cut_is_asked_for_from_its_begin(
    registry: FaultyRegistry, source: ImageSource
) -> None:
    registry.fail(BLOB, pack="gzip", cut_at=300_000)
    registry.fail(BLOB, times=-1, pack="gzip")
    assert read(source) == content()
    assert "Range" not in registry.requests[-1].headers


# Moments that pass

PASSING = [408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 522, 525, 530, 598, 599]


@pytest.mark.parametrize("status", PASSING)
def test_statuses_that_pass(status: int, registry: FaultyRegistry, source: ImageSource) -> None:
    registry.token_auth = TokenAuth()
    for where in (MANIFEST, CONFIG, BLOB, "GET /token"):
        registry.fail(where, status=status)
    assert source.resolve().digest == IMAGE.digest
    assert read(source) == content()


@pytest.mark.parametrize("status", [400, 405, 418, 451, 501, 505])
def test_statuses_that_do_not_pass(
    status: int, registry: FaultyRegistry, source: ImageSource, machine: Machine
) -> None:
    registry.fail("", times=-1, status=status)
    with pytest.raises(TransportError, match=str(status)):
        source.resolve()
    assert machine.clock.waits == []


@pytest.mark.parametrize(
    "fault",
    [
        {"reset": True},
        {"cut_at": 3},
        {"replace": b""},
        {"replace": b"{"},
        {"replace": PAGE, "headers": HTML},
        {"status": 429, "headers": {"Retry-After": "5"}},
        {"status": 503, "replace": PAGE, "headers": {**HTML, "Retry-After": "5"}},
    ],
)
def test_a_token_server_that_fails_for_a_moment(
    fault: dict[str, Any], registry: FaultyRegistry, source: ImageSource, machine: Machine
) -> None:
    registry.token_auth = TokenAuth()
    registry.fail("GET /token", **fault)
    assert source.resolve().digest == IMAGE.digest
    assert registry.count("GET /token") == 2
    [wait] = machine.clock.waits
    assert (wait >= 5.0) == ("Retry-After" in fault.get("headers", {}))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, UnauthorizedError),
        (401, UnauthorizedError),
        (403, UnauthorizedError),
        (404, ServerFailedError),
        (429, RateLimitedError),
        (503, ServerFailedError),
    ],
)
def test_a_token_server_that_refuses(
    status: int, error: type[BootdError], registry: FaultyRegistry, source: ImageSource
) -> None:
    registry.token_auth = TokenAuth()
    said = b'{"details":"incorrect user name"}'
    registry.fail("GET /token", times=-1, status=status, replace=said)
    with pytest.raises(error, match=r"token server .*incorrect user name") as caught:
        source.resolve()
    assert f"{registry.host}, asked for {registry.host}/os/image" in caught.value.message


@pytest.mark.parametrize("as_date", [False, True])
@pytest.mark.parametrize("where", [MANIFEST, BLOB, "GET /token"])
def test_when_to_come_again_is_told(
    where: str, as_date: bool, registry: FaultyRegistry, source: ImageSource, machine: Machine
) -> None:
    registry.token_auth = TokenAuth()
    later = datetime.now(UTC) + timedelta(hours=1)
    value = format_datetime(later, usegmt=True) if as_date else "3600"
    registry.fail(where, times=-1, status=429, headers={"Retry-After": value})
    with pytest.raises(RateLimitedError, match=r"asked again at 20.* UTC, in 3(600|59\d) s"):
        read(source) if where == BLOB else source.resolve()
    assert machine.clock.waits == []


def refuse_tokens(registry: FaultyRegistry, times: int, more: str = "") -> None:
    """Let the registry refuse tokens that are good."""
    challenge = f'Bearer realm="http://{registry.host}/token",service="x"{more}'
    registry.fail("/v2/", times=times, status=401, headers={"WWW-Authenticate": challenge})


def test_a_fresh_token_that_is_refused_once_is_made_again(
    registry: FaultyRegistry, source: ImageSource, machine: Machine
) -> None:
    registry.token_auth = TokenAuth()
    refuse_tokens(registry, 1)
    assert source.resolve().digest == IMAGE.digest
    assert registry.token_auth.issued == 2
    assert len(machine.clock.waits) == 1


@pytest.mark.parametrize(
    ("more", "tokens"),
    [
        ("", 2),
        (',error="invalid_token"', 2),
        (',error="insufficient_scope"', 1),
        (',error="insufficient_scope",scope="repository:os/image:pull"', 1),
    ],
)
def test_a_token_that_stays_refused(
    more: str, tokens: int, registry: FaultyRegistry, source: ImageSource
) -> None:
    registry.token_auth = TokenAuth()
    refuse_tokens(registry, -1, more)
    with pytest.raises(UnauthorizedError):
        source.resolve()
    assert registry.token_auth.issued == tokens


@pytest.mark.parametrize(
    ("scope", "asked"),
    [
        ("repository:cache/os/image:pull", "repository%3Acache%2Fos%2Fimage%3Apull"),
        ("repository:cache/os/image:pull,push,delete", "repository%3Acache%2Fos%2Fimage%3Apull"),
        ("repository:cache/os/image:push", "repository%3Aos%2Fimage%3Apull"),
        ("registry:catalog:*", "repository%3Aos%2Fimage%3Apull"),
    ],
)
def test_the_registrys_name_of_a_repository_is_taken_second(
    scope: str, asked: str, registry: FaultyRegistry, source: ImageSource
) -> None:
    """A cache may keep an image under another name; no more than to pull is asked for."""
    registry.token_auth = TokenAuth()
    refuse_tokens(registry, 1, f',scope="{scope}"')
    assert source.resolve().digest == IMAGE.digest
    paths = [one.path for one in registry.requests if one.path.startswith("/token")]
    assert [path.partition("scope=")[2] for path in paths] == [
        "repository%3Aos%2Fimage%3Apull",
        asked,
    ]


@pytest.mark.parametrize("number", [socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_NONAME])
def test_a_resolver_that_fails_for_a_moment(
    number: int, source: ImageSource, monkeypatch: pytest.MonkeyPatch, machine: Machine
) -> None:
    left, real = [1], socket.getaddrinfo

    def resolve(*arguments: Any, **keywords: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise socket.gaierror(number, "not now")
        return real(*arguments, **keywords)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert source.resolve().digest == IMAGE.digest
    assert len(machine.clock.waits) == 1


def test_a_resolver_that_stays_out_of_order(
    source: ImageSource, monkeypatch: pytest.MonkeyPatch, machine: Machine
) -> None:
    def resolve(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "not now")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(HostUnknownError, match="not now"):
        source.resolve()
    assert len(machine.clock.waits) == machine.settings.attempts - 1


# TLS, and where there is none


@pytest.fixture
def tls_registry() -> Iterator[FaultyRegistry]:
    with faulty_registry(tls=True) as made:
        made.add_image(IMAGE)
        yield made


def test_a_handshake_that_is_cut(tls_registry: FaultyRegistry, machine: Machine) -> None:
    tls_registry.configure(machine.root)
    tls_registry.broken_handshakes = 2
    assert machine.open(tls_registry.reference()).resolve().digest == IMAGE.digest
    tls_registry.broken_handshakes = 100
    with pytest.raises(ConnectionFailedError, match="handshake was cut"):
        machine.open(tls_registry.reference()).resolve()


@pytest.mark.parametrize(
    ("dates", "hint"),
    [
        ((1, 2), r"clock says 20\d\d-.* UTC: set it right"),
        ((-2, -1), r"clock says 20\d\d-.* UTC: if that is right, .* new certificate"),
    ],
)
def test_a_certificate_whose_dates_are_wrong(
    dates: tuple[int, int], hint: str, tls_registry: FaultyRegistry, machine: Machine
) -> None:
    tls_registry.configure(machine.root)
    now = datetime.now(UTC)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert tls_registry.authority is not None
    begin, end = (now + timedelta(days=day) for day in dates)
    made = tls_registry.authority.issue_cert("localhost", not_before=begin, not_after=end)
    made.configure_cert(context)
    tls_registry.use_tls(context)
    with pytest.raises(TlsFailedError) as caught:
        machine.open(tls_registry.reference()).resolve()
    assert re.search(hint, caught.value.hint)
    assert machine.clock.waits == []


def test_a_certificate_for_another_name(tls_registry: FaultyRegistry, machine: Machine) -> None:
    tls_registry.configure(machine.root)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert tls_registry.authority is not None
    tls_registry.authority.issue_cert("other.example").configure_cert(context)
    tls_registry.use_tls(context)
    with pytest.raises(TlsFailedError) as caught:
        machine.open(tls_registry.reference()).resolve()
    assert "Check the name" in caught.value.hint


def test_plain_http_is_called_that(registry: FaultyRegistry, machine: Machine) -> None:
    (machine.root / "etc/containers/registries.conf.d").rename(machine.root / "unused")
    with pytest.raises(TlsFailedError, match="does not speak TLS") as caught:
        machine.open(registry.reference()).resolve()
    assert "insecure" in caught.value.hint


@pytest.mark.parametrize("fault", [{"reset": True}, {"cut_at": 0}, {"status": 502}])
def test_an_insecure_registry_fails_for_a_moment(
    fault: dict[str, Any], registry: FaultyRegistry, source: ImageSource
) -> None:
    registry.fail(MANIFEST, **fault)
    assert source.resolve().digest == IMAGE.digest


def test_an_insecure_registry_that_stays_away_is_not_a_certificates_fault(
    registry: FaultyRegistry, source: ImageSource
) -> None:
    registry.fail("", times=-1, reset=True)
    with pytest.raises(ConnectionFailedError, match="reset"):
        source.resolve()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_an_insecure_registry_with_tls_is_not_taken_for_plain_http(
    tls_registry: FaultyRegistry, machine: Machine
) -> None:
    """A broken handshake leads to a plain request, which such servers answer with 400."""
    (machine.root / "etc/containers").mkdir(parents=True)
    (machine.root / "etc/containers/registries.conf").write_text(
        f'[[registry]]\nlocation = "{tls_registry.host}"\ninsecure = true\n'
    )
    tls_registry.broken_handshakes = 1
    tls_registry.answers_plain_http = True
    assert machine.open(tls_registry.reference()).resolve().digest == IMAGE.digest


# What only saves time


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 412, 429, 500, 501, 503])
def test_head_is_no_more_than_a_try(
    status: int, registry: FaultyRegistry, machine: Machine
) -> None:
    check = machine.open(registry.reference()).poll(None)[1]
    registry.fail("HEAD", times=-1, status=status)
    assert machine.open(registry.reference()).poll(check)[0] == IMAGE.digest
    assert registry.count("HEAD") <= 2
    assert machine.clock.waits == []


@pytest.mark.parametrize("fault", [{"reset": True}, {"drip_head": 0.3}])
def test_head_that_is_not_answered(
    fault: dict[str, Any], registry: FaultyRegistry, machine: Machine
) -> None:
    check = machine.open(registry.reference()).poll(None)[1]
    registry.fail("HEAD", times=-1, **fault)
    assert machine.open(registry.reference()).poll(check)[0] == IMAGE.digest


@pytest.mark.parametrize("status", [400, 403, 404, 412, 500, 501])
def test_a_conditional_request_is_no_more_than_a_try(
    status: int, registry: FaultyRegistry, machine: Machine
) -> None:
    registry.digests = False
    check = machine.open(registry.reference()).poll(None)[1]
    registry.fail(MANIFEST, status=status)
    assert machine.open(registry.reference()).poll(check)[0] == IMAGE.digest
    assert "If-None-Match" not in registry.requests[-1].headers


@pytest.mark.parametrize(
    "refused",
    [
        *({"status": status} for status in (400, 403, 405, 412, 416, 500, 501, 503)),
        {"reset": True},
        {"cut_at": 0},
        {"status": 200, "replace": PAGE, "headers": HTML},
        {"pack": "gzip"},
    ],
)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_refused_range_is_not_the_last_word(
    elsewhere: bool,
    refused: dict[str, Any],
    registry: FaultyRegistry,
    storage: FaultyRegistry,
    source: ImageSource,
) -> None:
    server = storage if elsewhere else registry
    if elsewhere:
        lead_to(storage, registry)
    if not elsewhere and refused.get("status") == 403:
        # Of the registry itself it is about credentials.
        refused = {"status": 400}
    server.fail(layer().digest, cut_at=200_000)
    server.fail(layer().digest, times=-1, only_ranges=True, **refused)
    assert read(source) == content()
    assert "Range" not in server.requests[-1].headers


def test_a_range_that_is_refused_for_a_moment_is_used_later(
    registry: FaultyRegistry, machine: Machine
) -> None:
    registry.fail(BLOB, cut_at=200_000)
    registry.fail(BLOB, status=501)
    registry.fail(BLOB, cut_at=400_000)
    # A refusal is none of the failures in a row that there may be.
    assert read(machine.open(registry.reference(), attempts=3)) == content()
    ranges = [one.headers.get("Range") for one in registry.requests]
    assert ranges == [None, "bytes=200000-", None, "bytes=400000-"]


@pytest.mark.parametrize("status", [401, 404])
def test_the_registrys_own_word_on_a_range_is_the_last(
    status: int, registry: FaultyRegistry, source: ImageSource
) -> None:
    registry.fail(BLOB, cut_at=200_000)
    registry.fail(BLOB, times=-1, status=status)
    with pytest.raises((UnauthorizedError, ImageNotFoundError)):
        read(source)
    assert registry.count(BLOB) == 2


# Whose password it was


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_refused_credentials_are_named_by_file_and_key(
    kind: str, registry: FaultyRegistry, machine: Machine
) -> None:
    if kind == "basic":
        registry.basic_auth = ("user", "secret")
    else:
        registry.token_auth = TokenAuth(username="user", password="secret")
    write_auth(machine, f"{registry.host}/os", {"username": "user", "password": "old-one"})
    with pytest.raises(UnauthorizedError) as caught:
        machine.open(registry.reference()).resolve()
    file = machine.root / "etc/ostree/auth.json"
    assert f"credentials of {file} ({registry.host}/os) are refused" in caught.value.message
    assert "old-one" not in caught.value.message
    assert "Renew that entry" in caught.value.hint


def store_on_another_machine(machine: Machine) -> Path:
    """A workstation's file, which names a helper that is not here."""
    path = machine.root / "etc/ostree/auth.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"auths": {}, "credsStore": "desktop"}')
    return path


def test_a_helper_that_is_not_here_keeps_no_public_image_away(
    registry: FaultyRegistry, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    path = store_on_another_machine(machine)
    registry.token_auth = TokenAuth()
    assert machine.open(registry.reference()).resolve().digest == IMAGE.digest
    told = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert any(f"{path} (credsStore) names docker-credential-desktop" in one for one in told)


@pytest.mark.parametrize("kind", ["basic", "token"])
def test_a_helper_that_is_not_here_is_named_where_credentials_are_wanted(
    kind: str, registry: FaultyRegistry, machine: Machine
) -> None:
    path = store_on_another_machine(machine)
    if kind == "basic":
        registry.basic_auth = ("user", "secret")
    else:
        registry.token_auth = TokenAuth(username="user", password="secret")
    with pytest.raises(UnauthorizedError) as caught:
        machine.open(registry.reference()).resolve()
    assert f"{path} (credsStore) names docker-credential-desktop" in caught.value.message
    assert "Install that helper" in caught.value.hint


def test_a_password_that_was_changed_meanwhile(registry: FaultyRegistry, machine: Machine) -> None:
    registry.basic_auth = ("user", "secret")
    write_auth(machine, registry.host, {"username": "user", "password": "secret"})
    source = machine.open(registry.reference())
    source.resolve()
    registry.basic_auth = ("user", "newer")
    write_auth(machine, registry.host, {"username": "user", "password": "newer"})
    assert read(source) == content()


# Proxies


def through(proxy: FaultyRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://{proxy.host}")
    monkeypatch.setenv("no_proxy", "")


@pytest.mark.parametrize(("status", "waits"), [(407, 0), (403, 0), (502, 2), (503, 2)])
def test_a_proxy_that_refuses_to_connect(
    status: int,
    waits: int,
    registry: FaultyRegistry,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    through(registry, monkeypatch)
    registry.fail("CONNECT", times=-1, status=status)
    with pytest.raises(ConnectionFailedError, match=rf"proxy for os\.example.*{status}") as caught:
        machine.open("os.example/os/image").resolve()
    assert "proxy" in caught.value.hint.lower()
    assert ("USER:PASSWORD" in caught.value.hint) == (status == 407)
    assert len(machine.clock.waits) == waits


def test_a_proxy_that_wants_a_login_for_plain_http(
    registry: FaultyRegistry, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine.root / "etc/containers/registries.conf").write_text(
        '[[registry]]\nlocation = "os.example"\ninsecure = true\n'
    )
    through(registry, monkeypatch)
    registry.fail("", times=-1, status=407)
    with pytest.raises(ConnectionFailedError, match="407") as caught:
        machine.open("os.example/os/image").resolve()
    assert "USER:PASSWORD" in caught.value.hint


def test_an_exact_location_goes_through_a_proxy(
    registry: FaultyRegistry, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine.root / "etc/containers/registries.conf").write_text(
        '[[registry]]\nlocation = "os.example"\ninsecure = true\n'
    )
    through(registry, monkeypatch)
    target = f"http://os.example/elsewhere/{layer().digest}?a=%7E|&e="
    location = target.replace("//", "//bucket:PASSWORD@")
    registry.fail(BLOB, status=307, headers={"Location": location})
    registry.fail(r"\?a=", replace=content(), status=200)
    assert read(machine.open("os.example/os/image")) == content()
    assert registry.requests[-1].path == target


# Who served


def test_what_each_place_did(
    registry: FaultyRegistry, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bootd")
    with faulty_registry() as mirror:
        mirror.add_image(IMAGE)
        (machine.root / "etc/containers/registries.conf").write_text(
            f'[[registry]]\nprefix = "os.example"\nlocation = "{registry.host}"\ninsecure = true\n'
            f'[[registry.mirror]]\nlocation = "{mirror.host}"\ninsecure = true\n'
        )
        mirror.fail(BLOB, cut_at=100_000)
        mirror.fail(BLOB, times=-1, status=404)
        source = machine.open("os.example/os/image:latest", **CALM)
        source.resolve()
        assert read(source) == content()
        assert list(source.part(layer(), 10, 20)) == [content()[10:20]]
        used, helped = source.take_uses()
        assert (used.location, used.layer_bytes) == (f"{mirror.host}/os/image", 100_000)
        assert used.passed_over is not None
        assert "404" not in used.passed_over
        assert "not found" in used.passed_over
        assert (helped.location, helped.answers) == (f"{registry.host}/os/image", 2)
        assert helped.layer_bytes == len(content()) - 100_000 + 10
        assert source.take_uses() == []
        warnings = [one.message for one in caplog.records if one.levelname == "WARNING"]
        assert warnings == [f"{mirror.host}/os/image is passed over: {used.passed_over}"]


def test_a_place_that_was_down_before_is_told_as_that(
    registry: FaultyRegistry, machine: Machine
) -> None:
    (machine.root / "etc/containers/registries.conf").write_text(
        f'[[registry]]\nprefix = "os.example"\nlocation = "{registry.host}"\ninsecure = true\n'
        '[[registry.mirror]]\nlocation = "127.0.0.1:1"\n'
    )
    notes = {"unreachable": machine.root / "run/unreachable.json"}
    reasons = []
    for _ in range(2):
        source = machine.open("os.example/os/image:latest", **notes, **CALM)
        source.resolve()
        down, _ = source.take_uses()
        assert down.location == "127.0.0.1:1/os/image"
        reasons.append(down.passed_over)
    assert reasons == [
        "no answer from 127.0.0.1:1: Connection refused",
        "it could not be reached a short while ago",
    ]
