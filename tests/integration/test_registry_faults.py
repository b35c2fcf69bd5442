"""A registry that misbehaves: what each fault becomes, and what is fetched in spite of it."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.images import (
    build_image,
    build_index,
    digest,
    encode,
    host_architecture,
    tar_layer,
)
from support.registry import FaultyRegistry, TokenAuth, faulty_registry
from support.registry_client import (
    BLOB,
    IMAGE,
    MANIFEST,
    Machine,
    PatientClock,
    SlowClock,
    content,
    layer,
    machine,
    read,
    registry,
    source,
    write_auth,
)

from bootd.model.errors import (
    BootdError,
    ConnectionFailedError,
    DigestMismatchError,
    HostUnknownError,
    ImageNotFoundError,
    InvalidConfigurationError,
    InvalidManifestError,
    ManifestTooLargeError,
    NoMatchingPlatformError,
    RateLimitedError,
    RedirectLoopError,
    RegistryBlockedError,
    ServerFailedError,
    SizeMismatchError,
    TimedOutError,
    TlsFailedError,
    UnauthorizedError,
    UnknownMediaTypeError,
)
from bootd.model.registry.image import CachedCheck
from bootd.registry.blobs.blob import BlobStream
from bootd.registry.sources.source import ImageSource, consume_blob
from bootd.registry.wire import connections

__all__ = ["machine", "registry", "source"]

# Manifests


def test_connections_are_used_again(registry: FaultyRegistry, source: ImageSource) -> None:
    image = source.resolve()
    for blob, _ in image.layers:
        read(source, blob)
    source.poll(source.poll(None)[1])
    # One was the attempt at TLS: the registry is marked insecure.
    assert registry.connections == 2
    assert len(registry.requests) == 6


@pytest.mark.parametrize(
    ("fault", "error", "requests"),
    [
        ({"status": 401}, UnauthorizedError, 1),
        ({"status": 403}, UnauthorizedError, 1),
        ({"status": 404}, ImageNotFoundError, 1),
        ({"status": 418}, ServerFailedError, 1),
        ({"status": 429}, RateLimitedError, 3),
        ({"status": 500}, ServerFailedError, 3),
        ({"status": 503}, ServerFailedError, 3),
        ({"status": 302, "headers": {"Location": "/v2/loop"}}, RedirectLoopError, 11),
        ({"status": 302, "headers": {"Location": "ftp://127.0.0.1/x"}}, ServerFailedError, 1),
        ({"cut_at": 10}, ConnectionFailedError, 3),
        ({"stall": True}, TimedOutError, 3),
        ({"drip": 0.01}, TimedOutError, 3),
        ({"drip_head": 0.02}, TimedOutError, 3),
        ({"endless": True}, ManifestTooLargeError, 1),
        ({"replace": b" " * (5 << 20)}, ManifestTooLargeError, 1),
        ({"corrupt": True}, DigestMismatchError, 1),
        ({"replace": b"{}"}, DigestMismatchError, 1),
    ],
)
def test_manifest_faults(
    fault: dict[str, Any],
    error: type[BootdError],
    requests: int,
    registry: FaultyRegistry,
    source: ImageSource,
) -> None:
    pattern = "GET /v2/" if "Location" in fault.get("headers", {}) else MANIFEST
    registry.fail(pattern, times=-1, **fault)
    with pytest.raises(error) as caught:
        source.resolve()
    assert caught.value.message
    assert caught.value.hint
    assert len(registry.requests) == requests


@pytest.mark.parametrize(
    ("manifest", "media_type", "error"),
    [
        (b"[]", "application/vnd.oci.image.manifest.v1+json", InvalidManifestError),
        (b'{"schemaVersion":1}', "application/json", UnknownMediaTypeError),
        (b"{}", "text/plain", UnknownMediaTypeError),
        (
            encode({"schemaVersion": 2, "manifests": []}),
            "application/vnd.oci.image.index.v1+json",
            NoMatchingPlatformError,
        ),
    ],
)
def test_wrong_manifests(
    manifest: bytes,
    media_type: str,
    error: type[BootdError],
    registry: FaultyRegistry,
    source: ImageSource,
) -> None:
    registry.manifests["os/image", "latest"] = (media_type, manifest)
    with pytest.raises(error):
        source.resolve()


def test_config_too_large(registry: FaultyRegistry, machine: Machine) -> None:
    image = build_image([tar_layer({})], labels={"x": "y" * (5 << 20)})
    registry.add_image(image, tag="big")
    with pytest.raises(ManifestTooLargeError, match="image configuration"):
        machine.open(registry.reference(tag="big")).resolve()
    assert registry.count("GET .*/blobs/") == 0


def test_a_failure_that_passes_is_waited_for(
    registry: FaultyRegistry, source: ImageSource, machine: Machine
) -> None:
    registry.fail(MANIFEST, status=429, headers={"Retry-After": "7"})
    registry.fail(MANIFEST, status=502)
    assert source.resolve().digest == IMAGE.digest
    assert 7.0 <= machine.clock.waits[0] <= 8.0
    assert 0.0 <= machine.clock.waits[1] <= 2.0


def test_a_wait_beyond_the_bound_is_not_waited(
    registry: FaultyRegistry, source: ImageSource, machine: Machine
) -> None:
    registry.fail(MANIFEST, status=429, headers={"Retry-After": "86400"})
    with pytest.raises(RateLimitedError, match=r"asked again at \d{4}-.* UTC, in 86400 s"):
        source.resolve()
    assert machine.clock.waits == []


def test_refused_connection(machine: Machine) -> None:
    # Bound to the end, so that nobody listens there.
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(ConnectionFailedError, match="refused"):
            machine.open(f"{host}/os/image").resolve()
    assert len(machine.clock.waits) == 2


def test_unknown_host(machine: Machine) -> None:
    with pytest.raises(HostUnknownError, match=r"registry\.invalid"):
        machine.open("registry.invalid/os/image").resolve()
    # A resolver may say so for a moment, when a network comes up.
    assert len(machine.clock.waits) == 2


def test_blocked_registry(machine: Machine) -> None:
    folder = machine.root / "etc/containers"
    folder.mkdir(parents=True)
    (folder / "registries.conf").write_text(
        '[[registry]]\nlocation = "bad.example"\nblocked = true'
    )
    with pytest.raises(RegistryBlockedError, match=r"bad\.example"):
        machine.open("bad.example/os/image")


# Polls


@pytest.mark.parametrize(
    ("etags", "digests", "line"),
    [
        (True, True, "HEAD /v2/os/image/manifests/latest"),
        (False, True, "HEAD /v2/os/image/manifests/latest"),
        (True, False, "GET /v2/os/image/manifests/latest"),
        (False, False, "GET /v2/os/image/manifests/latest"),
    ],
)
def test_poll_with_nothing_new_is_one_request(
    etags: bool, digests: bool, line: str, registry: FaultyRegistry, machine: Machine
) -> None:
    registry.etags, registry.digests = etags, digests
    found, check = machine.open(registry.reference()).poll(None)
    assert found == IMAGE.digest
    registry.requests.clear()
    check = CachedCheck.model_validate_json(check.model_dump_json())
    assert machine.open(registry.reference()).poll(check) == (found, check)
    assert [request.line for request in registry.requests] == [line]


def test_an_index_within_an_index_is_asked_for_by_its_digest(
    registry: FaultyRegistry, machine: Machine
) -> None:
    inner = build_index([(IMAGE, {"os": "linux", "architecture": host_architecture()})])
    foreign = build_index([(IMAGE, {"os": "linux", "architecture": "s390x"})])
    registry.add_image(
        build_index([(foreign, {"os": "linux", "architecture": "s390x"}), (inner, None)])
    )
    registry.requests.clear()
    source = machine.open(registry.reference())
    assert source.poll(None)[0] == IMAGE.digest
    asked = [request.line for request in registry.requests if request.status == 200]
    manifests = "GET /v2/os/image/manifests/"
    assert asked == [f"{manifests}latest", f"{manifests}{inner.digest}"]
    assert source.resolve().digest == IMAGE.digest


def test_poll_by_digest_asks_nothing_again(registry: FaultyRegistry, machine: Machine) -> None:
    reference = f"{registry.host}/os/image@{IMAGE.digest}"
    found, check = machine.open(reference).poll(None)
    registry.requests.clear()
    assert machine.open(reference).poll(check) == (found, check)
    assert registry.requests == []


@pytest.mark.parametrize("digests", [True, False])
def test_poll_sees_what_is_new(digests: bool, registry: FaultyRegistry, machine: Machine) -> None:
    registry.digests = digests
    check = machine.open(registry.reference()).poll(None)[1]
    new = build_image([tar_layer({"x": b"y"})])
    registry.add_image(new)
    assert machine.open(registry.reference()).poll(check)[0] == new.digest


def test_poll_goes_on_where_head_is_not_served(registry: FaultyRegistry, machine: Machine) -> None:
    check = machine.open(registry.reference()).poll(None)[1]
    registry.fail("HEAD", status=405, times=-1)
    assert machine.open(registry.reference()).poll(check)[0] == IMAGE.digest


def test_another_references_poll_is_no_use(registry: FaultyRegistry, machine: Machine) -> None:
    other = build_image([tar_layer({"x": b"y"})])
    registry.add_image(other, name="os/other")
    check = machine.open(registry.reference()).poll(None)[1]
    assert machine.open(registry.reference("os/other")).poll(check)[0] == other.digest


# Blobs


@pytest.mark.parametrize(
    ("fault", "requests"),
    [
        ({}, 1),
        ({"cut_at": 0}, 2),
        ({"cut_at": 100_000}, 2),
        ({"cut_at": 100_000, "times": 2}, 3),
        ({"stall": True}, 2),
        ({"status": 500}, 2),
        ({"status": 503, "headers": {"Retry-After": "1"}}, 2),
        ({"status": 429}, 2),
        ({"drip": 0.01}, 2),
    ],
)
def test_blob_arrives_in_spite_of(
    fault: dict[str, Any], requests: int, registry: FaultyRegistry, source: ImageSource
) -> None:
    registry.fail(BLOB, **fault)
    assert read(source) == content()
    assert registry.count(BLOB) == requests


def test_a_cache_may_need_long_before_it_answers(
    registry: FaultyRegistry, machine: Machine
) -> None:
    first_byte = threading.Event()
    registry.fail(BLOB, wait=first_byte)
    source = machine.open(registry.reference(), first_byte_seconds=20.0)
    # It says nothing for longer than it may be silent within an answer.
    timer = threading.Timer(1.0, first_byte.set)
    timer.start()
    assert read(source) == content()
    timer.join()
    assert registry.count(BLOB) == 1


def test_silence_within_an_answer_is_no_wait_for_its_first_byte(
    registry: FaultyRegistry, machine: Machine
) -> None:
    registry.fail(BLOB, stall=True)
    source = machine.open(registry.reference(), first_byte_seconds=3_600.0)
    assert read(source) == content()
    assert registry.count(BLOB) == 2


def test_a_download_has_a_bound_in_all(registry: FaultyRegistry, machine: Machine) -> None:
    registry.fail(BLOB, times=-1, drip=0.01)
    with pytest.raises(TimedOutError):
        read(machine.open(registry.reference(), total_seconds=0.3, minimum_rate=0))
    assert registry.count(BLOB) == 1


def test_cut_blob_goes_on_where_it_broke(
    registry: FaultyRegistry, source: ImageSource, machine: Machine
) -> None:
    registry.fail(BLOB, cut_at=100_000)
    assert read(source) == content()
    again = registry.requests[-1]
    assert again.status == 206
    assert again.headers["Range"] == "bytes=100000-"
    assert again.headers["If-Range"] == f'"{layer().digest}"'
    assert machine.kept() == {}


@pytest.mark.parametrize(
    "second",
    [
        {"ignore_range": True},
        {"content_range": "bytes 0-9/610304"},
        {"content_range": "bytes 99-1/610304"},
        {"content_range": "bananas"},
        {"status": 416},
    ],
)
def test_servers_that_serve_ranges_badly(
    second: dict[str, Any], registry: FaultyRegistry, source: ImageSource
) -> None:
    registry.fail(BLOB, cut_at=100_000)
    registry.fail(BLOB, **second)
    assert read(source) == content()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 404}, ImageNotFoundError),
        ({"status": 500}, ServerFailedError),
        ({"cut_at": 100}, ConnectionFailedError),
        ({"cut_at": 0}, ConnectionFailedError),
        ({"stall": True}, TimedOutError),
        ({"drip": 0.01}, TimedOutError),
        ({"corrupt": True}, DigestMismatchError),
        ({"endless": True}, SizeMismatchError),
        ({"replace": b"short"}, SizeMismatchError),
        ({"replace": b"short", "headers": {"Content-Length": None}}, ConnectionFailedError),
        ({"replace": content() + b"x"}, SizeMismatchError),
        ({"content_range": "bytes 5-9/10"}, ServerFailedError),
    ],
)
def test_blob_faults(
    fault: dict[str, Any],
    error: type[BootdError],
    registry: FaultyRegistry,
    source: ImageSource,
) -> None:
    registry.fail(BLOB, times=-1, **fault)
    with pytest.raises(error) as caught:
        read(source)
    assert caught.value.hint


@pytest.mark.parametrize("seed", range(15))
def test_whatever_happens_the_bytes_are_right(
    seed: int, registry: FaultyRegistry, machine: Machine
) -> None:
    """Several runs over one partial folder, each with its own mishaps."""
    chance = random.Random(seed)
    mishaps: list[Callable[[], dict[str, Any]]] = [
        lambda: {"cut_at": chance.randrange(len(content()))},
        lambda: {"cut_at": chance.randrange(len(content())), "corrupt": chance.random() < 0.3},
        lambda: {"ignore_range": True, "cut_at": chance.randrange(len(content()))},
        lambda: {"content_range": f"bytes {chance.randrange(9)}-99/{len(content())}"},
        lambda: {"status": chance.choice([404, 416, 429, 500])},
        lambda: {"replace": content()[: chance.randrange(len(content()))]},
    ]
    machine.clock = SlowClock()
    for _ in range(6):
        registry.faults.clear()
        for _ in range(chance.randrange(6)):
            registry.fail(BLOB, **chance.choice(mishaps)())
        source = machine.open(registry.reference(), partial_after_seconds=chance.choice([0.0, 0.5]))
        with suppress(BootdError):
            assert consume_blob(source, layer(), b"".join) == content()
            assert machine.kept() == {}
    registry.faults.clear()
    assert consume_blob(machine.open(registry.reference()), layer(), b"".join) == content()
    assert machine.kept() == {}


def test_wrong_size_in_the_descriptor(source: ImageSource) -> None:
    with pytest.raises(SizeMismatchError):
        read(source, layer(size=layer().size + 1))
    with pytest.raises(SizeMismatchError):
        read(source, layer(size=layer().size - 1))


def test_sha512(registry: FaultyRegistry, source: ImageSource) -> None:
    name = "sha512:" + hashlib.sha512(content()).hexdigest()
    registry.blobs[name] = content()
    assert read(source, layer(digest=name)) == content()


def test_foreign_urls_are_not_followed(registry: FaultyRegistry, source: ImageSource) -> None:
    gone = layer(digest=digest(b"foreign"), size=7, urls=[f"http://{registry.host}/x"])
    with pytest.raises(ImageNotFoundError):
        read(source, gone)
    assert registry.count("/x") == 0


# Resuming in a later run


def interrupt(machine: Machine, registry: FaultyRegistry, at: int = 200_000) -> None:
    registry.fail(BLOB, cut_at=at)
    registry.fail(BLOB, status=404)
    with pytest.raises(ImageNotFoundError):
        read(machine.open(registry.reference()))
    assert machine.kept() == {str(layer().digest): at}
    registry.faults.clear()
    registry.requests.clear()


def test_later_run_goes_on(registry: FaultyRegistry, machine: Machine) -> None:
    interrupt(machine, registry)
    assert read(machine.open(registry.reference())) == content()
    assert [request.headers.get("Range") for request in registry.requests] == ["bytes=200000-"]
    assert machine.kept() == {}


def test_given_up_stream_is_kept(registry: FaultyRegistry, machine: Machine) -> None:
    with machine.open(registry.reference()).blob(layer()) as stream:
        first = next(stream)
    assert machine.kept() == {str(layer().digest): len(first)}


def test_what_arrives_fast_is_not_kept(registry: FaultyRegistry, machine: Machine) -> None:
    with machine.open(registry.reference(), partial_after_seconds=30.0).blob(layer()) as stream:
        next(stream)
    assert set(machine.kept().values()) == {0}
    assert read(machine.open(registry.reference())) == content()
    assert machine.kept() == {}


def keep_a_middle(machine: Machine, registry: FaultyRegistry) -> None:
    """Break off a blob after a part that came fast, and another that came slowly."""
    machine.clock = SlowClock()
    registry.fail(BLOB, cut_at=100_000)
    registry.fail(BLOB, status=429, headers={"Retry-After": "31"})
    registry.fail(BLOB, cut_at=200_000)
    with pytest.raises(ConnectionFailedError):
        read(machine.open(registry.reference(), partial_after_seconds=30.0))
    assert machine.kept() == {str(layer().digest): 300_000}
    registry.faults.clear()
    registry.requests.clear()


def test_only_what_was_slow_is_kept(registry: FaultyRegistry, machine: Machine) -> None:
    keep_a_middle(machine, registry)
    assert read(machine.open(registry.reference(), partial_after_seconds=30.0)) == content()
    ranges = [request.headers.get("Range") for request in registry.requests]
    assert ranges == [f"bytes=0-{(128 << 10) - 1}", "bytes=300000-"]
    assert machine.kept() == {}


def test_what_is_kept_stays_when_what_comes_before_it_breaks_off(
    registry: FaultyRegistry, machine: Machine
) -> None:
    keep_a_middle(machine, registry)
    registry.fail(BLOB, cut_at=50_000)
    registry.fail(BLOB, times=-1, status=404)
    with pytest.raises(ImageNotFoundError):
        read(machine.open(registry.reference()))
    registry.faults.clear()
    registry.requests.clear()
    assert read(machine.open(registry.reference())) == content()
    assert registry.sent(BLOB) == layer().size - 300_000 + (128 << 10)


def test_a_server_without_ranges_sends_what_is_kept_once_more(
    registry: FaultyRegistry, machine: Machine
) -> None:
    keep_a_middle(machine, registry)
    registry.fail(BLOB, times=-1, ignore_range=True)
    assert read(machine.open(registry.reference())) == content()
    assert registry.count(BLOB) == 2
    assert machine.kept() == {}


def test_a_partial_without_any_byte_is_none(registry: FaultyRegistry, machine: Machine) -> None:
    machine.partial.mkdir()
    path = machine.partial / layer().digest
    path.touch()
    os.truncate(path, 500_000)
    interrupt(machine, registry)
    assert read(machine.open(registry.reference())) == content()
    assert [request.headers.get("Range") for request in registry.requests] == ["bytes=200000-"]


def test_whole_partial_needs_no_request(registry: FaultyRegistry, machine: Machine) -> None:
    machine.partial.mkdir()
    (machine.partial / layer().digest).write_bytes(content())
    assert read(machine.open(registry.reference())) == content()
    assert registry.requests == []


def test_partial_that_cannot_be_read_to_its_end(registry: FaultyRegistry, machine: Machine) -> None:
    machine.partial.mkdir()
    path = machine.partial / layer().digest
    path.write_bytes(content()[:600_000])
    with machine.open(registry.reference()).blob(layer()) as stream:
        first = next(stream)
        os.truncate(path, len(first))
        assert first + b"".join(stream) == content()
    assert registry.requests[-1].headers["Range"] == f"bytes={len(first)}-"
    assert machine.kept() == {}


@pytest.mark.parametrize("damage", [bytes(200_000), content() + b"more"], ids=["zeros", "too long"])
def test_damaged_partial_is_fetched_anew(
    damage: bytes, registry: FaultyRegistry, machine: Machine
) -> None:
    machine.partial.mkdir()
    (machine.partial / layer().digest).write_bytes(damage)
    calls: list[int] = []

    def consume(stream: BlobStream) -> bytes:
        calls.append(1)
        return b"".join(stream)

    source = machine.open(registry.reference())
    assert consume_blob(source, layer(), consume) == content()
    assert machine.kept() == {}
    assert len(calls) == (2 if len(damage) < layer().size else 1)


def test_consumer_that_chokes_on_a_damaged_partial(
    registry: FaultyRegistry, machine: Machine
) -> None:
    machine.partial.mkdir()
    (machine.partial / layer().digest).write_bytes(bytes(200_000))

    def consume(stream: BlobStream) -> bytes:
        first = next(stream)
        if not any(first):
            raise InvalidManifestError("not what it should be")
        return first + b"".join(stream)

    assert consume_blob(machine.open(registry.reference()), layer(), consume) == content()


def test_wrong_bytes_are_not_asked_for_twice(registry: FaultyRegistry, source: ImageSource) -> None:
    registry.fail(BLOB, times=-1, corrupt=True)
    with pytest.raises(DigestMismatchError):
        consume_blob(source, layer(), b"".join)
    assert registry.count(BLOB) == 1


def test_oldest_partials_make_room(registry: FaultyRegistry, machine: Machine) -> None:
    machine.partial.mkdir()
    for number in range(3):
        (machine.partial / f"sha256:{number:064x}").write_bytes(bytes(100_000))
    (machine.partial / "rubbish").write_bytes(b"x")
    limit = layer().size + 150_000
    with machine.open(registry.reference(), partial_limit=limit).blob(layer()) as stream:
        next(stream)
    assert sorted(machine.kept()) == sorted([f"sha256:{2:064x}", layer().digest])


@pytest.mark.parametrize("changes", [{"partial_limit": 0}, {"partial_minimum": 1 << 30}])
def test_nothing_is_kept_beyond_the_bounds(
    changes: dict[str, int], registry: FaultyRegistry, machine: Machine
) -> None:
    with machine.open(registry.reference(), **changes).blob(layer()) as stream:
        next(stream)
        assert not machine.partial.exists()


def test_two_streams_of_one_blob(registry: FaultyRegistry, machine: Machine) -> None:
    first = machine.open(registry.reference()).blob(layer())
    second = machine.open(registry.reference()).blob(layer())
    with first, second:
        start = next(first)
        assert b"".join(second) == content()
        assert start + b"".join(first) == content()
    assert machine.kept() == {}


def test_disk_that_fills_up_while_bytes_are_kept(
    registry: FaultyRegistry, machine: Machine
) -> None:
    machine.partial.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", machine.partial], check=True
    )
    try:
        assert read(machine.open(registry.reference())) == content()
        assert machine.kept() == {}
    finally:
        subprocess.run(["umount", machine.partial], check=True)


def test_partial_folder_that_is_no_folder(registry: FaultyRegistry, machine: Machine) -> None:
    machine.partial.write_bytes(b"")
    assert read(machine.open(registry.reference())) == content()


# Redirects


def test_authorization_stays_with_the_registry(registry: FaultyRegistry, machine: Machine) -> None:
    registry.basic_auth = ("user", "secret")
    write_auth(machine, registry.host, {"username": "user", "password": "secret"})
    with faulty_registry() as store:
        store.add_image(IMAGE)
        target = f"http://{store.host}/elsewhere/{layer().digest}"
        registry.fail(BLOB, times=-1, status=307, headers={"Location": target})
        source = machine.open(registry.reference())
        source.resolve()
        assert read(source) == content()
        assert [request.line for request in store.requests] == [f"GET /elsewhere/{layer().digest}"]
        assert "Authorization" not in store.requests[0].headers
        assert registry.requests[-1].headers["Authorization"].startswith("Basic ")


def test_authorization_goes_along_on_the_same_host(
    registry: FaultyRegistry, machine: Machine
) -> None:
    registry.basic_auth = ("user", "secret")
    write_auth(machine, registry.host, {"username": "user", "password": "secret"})
    target = f"/v2/os/image/blobs/{layer().digest}?signed"
    source = machine.open(registry.reference())
    source.resolve()
    registry.fail(BLOB + "$", status=302, headers={"Location": target})
    assert read(source) == content()


# Authorization


def test_anonymous_token(registry: FaultyRegistry, source: ImageSource) -> None:
    registry.token_auth = TokenAuth()
    assert source.resolve().digest == IMAGE.digest
    assert registry.count("GET /token") == 1
    assert "scope=repository%3Aos%2Fimage%3Apull" in registry.requests[1].path
    assert "service=test%2Cregistry" in registry.requests[1].path


def test_token_with_credentials(registry: FaultyRegistry, machine: Machine) -> None:
    registry.token_auth = TokenAuth(username="user", password="secret")
    write_auth(machine, f"{registry.host}/os", {"username": "user", "password": "secret"})
    assert machine.open(registry.reference()).resolve().digest == IMAGE.digest


def test_token_with_an_identity_token(registry: FaultyRegistry, machine: Machine) -> None:
    registry.token_auth = TokenAuth(identity_token="refresh-me")
    write_auth(machine, registry.host, {"identitytoken": "refresh-me"})
    assert machine.open(registry.reference()).resolve().digest == IMAGE.digest
    assert registry.count("POST /token") == 1


def test_identity_token_stays_with_the_token_server(
    registry: FaultyRegistry, machine: Machine
) -> None:
    registry.token_auth = TokenAuth(identity_token="refresh-me")
    write_auth(machine, registry.host, {"identitytoken": "refresh-me"})
    with faulty_registry() as thief:
        target = f"http://{thief.host}/token"
        registry.fail("POST /token", status=307, headers={"Location": target})
        with pytest.raises(ServerFailedError, match="redirects a form"):
            machine.open(registry.reference()).resolve()
        assert thief.requests == []


def test_token_that_expires_in_the_middle_of_a_pull(
    registry: FaultyRegistry, source: ImageSource
) -> None:
    registry.token_auth = TokenAuth(uses=2)
    image = source.resolve()
    registry.fail(BLOB, cut_at=100_000)
    for blob, _ in image.layers:
        assert read(source, blob) == content(blob)
    assert registry.token_auth.issued == 3


def test_token_is_renewed_before_it_expires(registry: FaultyRegistry, machine: Machine) -> None:
    @dataclass(frozen=True, slots=True)
    class Later(PatientClock):
        times: list[float] = field(default_factory=lambda: [0.0])

        def monotonic(self) -> float:
            return self.times[0]

    clock = machine.clock = Later()
    registry.token_auth = TokenAuth(expires_in=300)
    source = machine.open(registry.reference())
    source.resolve()
    clock.times[0] = 299.0
    read(source)
    assert registry.token_auth.issued == 2
    assert [request.status for request in registry.requests].count(401) == 1


@pytest.mark.parametrize("given", [None, {"username": "user", "password": "wrong"}])
@pytest.mark.parametrize("kind", ["basic", "token"])
def test_refused_credentials(
    kind: str, given: dict[str, str] | None, registry: FaultyRegistry, machine: Machine
) -> None:
    if kind == "basic":
        registry.basic_auth = ("user", "secret")
    else:
        registry.token_auth = TokenAuth(username="user", password="secret")
    if given:
        write_auth(machine, registry.host, given)
    with pytest.raises(UnauthorizedError) as caught:
        machine.open(registry.reference()).resolve()
    assert "wrong" not in caught.value.message
    assert len(registry.requests) <= 3


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"token": 5}', b'{"token": "a\\nb"}'])
def test_damaged_tokens(answer: bytes, registry: FaultyRegistry, source: ImageSource) -> None:
    registry.token_auth = TokenAuth()
    registry.fail("GET /token", times=-1, replace=answer)
    with pytest.raises(ServerFailedError):
        source.resolve()


def test_netrc_does_not_replace_credentials(
    registry: FaultyRegistry, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine.root / ".netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("HOME", str(machine.root))
    machine.open(registry.reference()).resolve()
    assert all("Authorization" not in request.headers for request in registry.requests)


# TLS


@pytest.fixture
def tls_registry() -> Iterator[FaultyRegistry]:
    with faulty_registry(tls=True) as found:
        found.add_image(IMAGE)
        yield found


def test_authority_from_certs_d(tls_registry: FaultyRegistry, machine: Machine) -> None:
    tls_registry.configure(machine.root)
    source = machine.open(tls_registry.reference())
    source.resolve()
    assert read(source) == content()
    assert tls_registry.connections == 1


def test_cut_tls_connection_is_taken_up_again(
    tls_registry: FaultyRegistry, machine: Machine
) -> None:
    tls_registry.configure(machine.root)
    tls_registry.fail(BLOB, cut_at=100_000)
    assert read(machine.open(tls_registry.reference())) == content()


def test_tls_headers_that_drip(tls_registry: FaultyRegistry, machine: Machine) -> None:
    tls_registry.configure(machine.root)
    tls_registry.fail(MANIFEST, drip_head=0.02)
    assert machine.open(tls_registry.reference()).resolve().digest == IMAGE.digest
    assert tls_registry.count(MANIFEST) == 2


def test_unknown_authority(tls_registry: FaultyRegistry, machine: Machine) -> None:
    with pytest.raises(TlsFailedError, match="certificate"):
        machine.open(tls_registry.reference()).resolve()
    assert machine.clock.waits == []


def test_plain_http_where_tls_is_meant(registry: FaultyRegistry, machine: Machine) -> None:
    (machine.root / "etc/containers/registries.conf.d").rename(machine.root / "unused")
    with pytest.raises((TlsFailedError, ConnectionFailedError)):
        machine.open(registry.reference()).resolve()


def test_damaged_authority(tls_registry: FaultyRegistry, machine: Machine) -> None:
    folder = machine.root / "etc/docker/certs.d" / tls_registry.host
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_text("rubbish")
    with pytest.raises(InvalidConfigurationError, match=r"ca\.crt"):
        machine.open(tls_registry.reference()).resolve()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_insecure_takes_any_certificate(tls_registry: FaultyRegistry, machine: Machine) -> None:
    folder = machine.root / "etc/containers"
    folder.mkdir(parents=True)
    (folder / "registries.conf").write_text(
        f'[[registry]]\nlocation = "{tls_registry.host}"\ninsecure = true\n'
    )
    assert machine.open(tls_registry.reference()).resolve().digest == IMAGE.digest


def test_no_redirect_from_tls_to_plain(
    tls_registry: FaultyRegistry, registry: FaultyRegistry, machine: Machine
) -> None:
    tls_registry.configure(machine.root)
    target = f"http://{registry.host}/elsewhere/{layer().digest}"
    tls_registry.fail(BLOB, status=307, headers={"Location": target})
    with pytest.raises(TlsFailedError, match="plain HTTP"):
        read(machine.open(tls_registry.reference()))
    assert registry.requests == []


def test_authority_of_the_settings(
    tls_registry: FaultyRegistry, machine: Machine, tmp_path: Path
) -> None:
    assert tls_registry.authority is not None
    path = tmp_path / "company.pem"
    path.write_bytes(tls_registry.authority.cert_pem.bytes())
    source = machine.open(tls_registry.reference(), ca_file=path)
    assert source.resolve().digest == IMAGE.digest


@pytest.mark.parametrize("in_one_file", [True, False])
def test_client_certificate_of_the_settings(
    in_one_file: bool, tls_registry: FaultyRegistry, machine: Machine, tmp_path: Path
) -> None:
    authority = trustme.CA()
    tls_registry.demand_certificates(authority)
    tls_registry.configure(machine.root)
    with pytest.raises((TlsFailedError, ConnectionFailedError)):
        machine.open(tls_registry.reference()).resolve()
    issued = authority.issue_cert("machine.example")
    certificate, key = tmp_path / "machine.pem", None
    certificate.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
    if not in_one_file:
        certificate.write_bytes(issued.cert_chain_pems[0].bytes())
        key = tmp_path / "machine.key"
        key.write_bytes(issued.private_key_pem.bytes())
    settings = {"client_certificate": certificate, "client_key": key}
    source = machine.open(tls_registry.reference(), **settings)
    assert source.resolve().digest == IMAGE.digest


def test_authority_of_a_proxy_with_tls(
    tls_registry: FaultyRegistry, machine: Machine, tmp_path: Path
) -> None:
    assert tls_registry.authority is not None
    path = tmp_path / "company.pem"
    path.write_bytes(tls_registry.authority.cert_pem.bytes())
    folder = machine.root / "etc/containers"
    folder.mkdir(parents=True)
    (folder / "registries.conf").write_text(
        '[[registry]]\nlocation = "registry.invalid"\ninsecure = true\n'
    )
    proxy = f"https://{tls_registry.host}"
    with pytest.raises(BootdError):
        machine.open("registry.invalid/os/image", proxy=proxy).resolve()
    assert tls_registry.requests == []
    source = machine.open("registry.invalid/os/image", proxy=proxy, ca_file=path)
    assert source.resolve().digest == IMAGE.digest
    assert tls_registry.requests[-1].path.startswith("http://registry.invalid/v2/")


@pytest.mark.parametrize("name", ["ca_file", "client_certificate"])
@pytest.mark.parametrize("content", [None, "rubbish"])
def test_certificate_of_the_settings_that_cannot_be_used(
    name: str, content: str | None, tls_registry: FaultyRegistry, machine: Machine, tmp_path: Path
) -> None:
    path = tmp_path / "some.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidConfigurationError, match=r"some\.pem"):
        machine.open(tls_registry.reference(), **{name: path}).resolve()


# Proxies and mirrors


def test_proxy_from_the_environment(
    registry: FaultyRegistry, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{registry.host}")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    folder = machine.root / "etc/containers"
    (folder / "registries.conf").write_text(
        '[[registry]]\nlocation = "registry.invalid"\ninsecure = true\n'
    )
    assert machine.open("registry.invalid/os/image").resolve().digest == IMAGE.digest
    assert registry.requests[0].path == "http://registry.invalid/v2/os/image/manifests/latest"


def test_proxy_of_the_settings(
    registry: FaultyRegistry, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    (machine.root / "etc/containers/registries.conf").write_text(
        '[[registry]]\nlocation = "registry.invalid"\ninsecure = true\n'
    )
    settings = {"proxy": f"http://me:pa%40ss@{registry.host}", "no_proxy": ("other.invalid",)}
    source = machine.open("registry.invalid/os/image", **settings)
    assert source.resolve().digest == IMAGE.digest
    wanted = "Basic " + base64.b64encode(b"me:pa@ss").decode()
    assert registry.requests[0].headers["Proxy-Authorization"] == wanted
    with pytest.raises(HostUnknownError):
        machine.open("registry.invalid/os/image", proxy="").resolve()


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "http://proxy.invalid:80"])
def test_proxy_that_does_not_serve(
    proxy: str, registry: FaultyRegistry, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    for reference in (registry.reference(), "registry.invalid/os"):
        with pytest.raises(ConnectionFailedError, match="proxy"):
            machine.open(reference).resolve()


Mirrors = Callable[[str], str]


@pytest.fixture
def mirror() -> Iterator[FaultyRegistry]:
    with faulty_registry() as found:
        found.add_image(IMAGE, name="copy/os/image")
        yield found


@pytest.fixture
def mirrored(machine: Machine, registry: FaultyRegistry, mirror: FaultyRegistry) -> Mirrors:
    def configure(more: str) -> str:
        (machine.root / "etc/containers/registries.conf").write_text(
            f'[[registry]]\nprefix = "os.example"\nlocation = "{registry.host}"\ninsecure = true\n'
            f'[[registry.mirror]]\nlocation = "{mirror.host}/copy"\ninsecure = true\n{more}\n'
        )
        return "os.example/os/image:latest"

    return configure


def test_mirror_is_asked_first(
    registry: FaultyRegistry, machine: Machine, mirrored: Mirrors
) -> None:
    source = machine.open(mirrored(""))
    image = source.resolve()
    assert (image.digest, image.reference) == (IMAGE.digest, "os.example/os/image:latest")
    assert read(source) == content()
    assert registry.requests == []


@pytest.mark.parametrize(
    "fault", [{"status": 404}, {"status": 500}, {"cut_at": 5}, {"corrupt": True}, {"status": 401}]
)
def test_mirror_that_fails_is_passed_over(
    fault: dict[str, Any],
    mirror: FaultyRegistry,
    machine: Machine,
    mirrored: Mirrors,
) -> None:
    mirror.fail("GET", times=-1, **fault)
    source = machine.open(mirrored(""))
    assert source.resolve().digest == IMAGE.digest
    asked = len(mirror.requests)
    assert read(source) == content()
    assert len(mirror.requests) == asked


def test_mirror_that_fails_in_the_middle_of_a_blob(
    registry: FaultyRegistry, mirror: FaultyRegistry, machine: Machine, mirrored: Mirrors
) -> None:
    source = machine.open(mirrored(""))
    mirror.fail(BLOB, cut_at=100_000)
    mirror.fail(BLOB, status=404)
    assert read(source) == content()
    assert registry.requests[-1].headers["Range"] == "bytes=100000-"


def test_mirror_with_wrong_bytes_is_not_asked_again(
    mirror: FaultyRegistry, machine: Machine, mirrored: Mirrors
) -> None:
    source = machine.open(mirrored(""))
    mirror.fail(BLOB, times=-1, corrupt=True)
    assert consume_blob(source, layer(), b"".join) == content()
    assert mirror.count(BLOB) == 1


def test_consumer_that_does_not_like_right_bytes_is_asked_once(
    machine: Machine, mirrored: Mirrors
) -> None:
    calls: list[int] = []

    def consume(stream: BlobStream) -> None:
        calls.append(len(b"".join(stream)))
        raise InvalidManifestError("whatever")

    with pytest.raises(InvalidManifestError):
        consume_blob(machine.open(mirrored("")), layer(), consume)
    assert len(calls) == 1


def test_mirror_for_digests_only(
    mirror: FaultyRegistry, machine: Machine, mirrored: Mirrors
) -> None:
    reference = mirrored('pull-from-mirror = "digest-only"')
    machine.open(reference).resolve()
    assert mirror.requests == []
    machine.open(f"os.example/os/image@{IMAGE.digest}").resolve()
    assert mirror.requests != []


def test_error_of_the_registry_itself_is_told(
    registry: FaultyRegistry, mirror: FaultyRegistry, machine: Machine, mirrored: Mirrors
) -> None:
    mirror.fail("GET", times=-1, status=500)
    registry.fail("GET", times=-1, status=404)
    with pytest.raises(ImageNotFoundError, match=registry.host):
        machine.open(mirrored("")).resolve()


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[Any]]]:
    """Names that lead where a test says, and each time that one was looked up.

    A name that leads to nothing said leads where nobody answers.
    """
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(full.getsockname())
        asked: dict[str, list[Any]] = {"down.example": []}
        real = socket.getaddrinfo

        def look_up(host: str, port: int, *rest: Any, **more: Any) -> Any:
            if host not in asked:
                return real(host, port, *rest, **more)
            asked[host].append(port)
            address, port = full.getsockname()
            return real(address, port, *rest, **more)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        yield asked


def test_addresses_that_are_dead_are_found_out_once(
    registry: FaultyRegistry, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[str] = []
    real = socket.socket.connect

    def look_up(*_: Any, **__: Any) -> Any:
        port = int(registry.host.rpartition(":")[2])
        places = [("127.0.0.2", 1), ("127.0.0.1", port)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]

    class Noted(socket.socket):
        def connect(self, place: Any) -> None:
            began.append(place[0])
            real(self, place)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr("bootd.registry.wire.connecting.socket.socket", Noted)
    (machine.root / "etc/containers/registries.conf").write_text(
        '[[registry]]\nlocation = "os.example"\ninsecure = true\n'
    )
    assert machine.open("os.example/os/image").resolve().digest == IMAGE.digest
    # With TLS, which the registry has not, and without.
    assert began == ["127.0.0.2", "127.0.0.1", "127.0.0.1"]


def dead_mirror(machine: Machine, registry: FaultyRegistry, mirror: str) -> str:
    (machine.root / "etc/containers/registries.conf").write_text(
        f'[[registry]]\nprefix = "os.example"\nlocation = "{registry.host}"\ninsecure = true\n'
        f'[[registry.mirror]]\nlocation = "{mirror}"\n'
    )
    return "os.example/os/image:latest"


def test_a_mirror_that_is_down_is_asked_once(
    registry: FaultyRegistry, machine: Machine, lookups: dict[str, list[Any]]
) -> None:
    reference = dead_mirror(machine, registry, "down.example")
    notes = {"unreachable": machine.root / "run/unreachable.json", "connect_seconds": 0.3}
    source = machine.open(reference, **notes)
    assert source.resolve().digest == IMAGE.digest
    assert read(source) == content()
    assert b"".join(source.part(layer(), 5, 9)) == content()[5:9]
    # Another process, such as one that imports layers or the next check's, does not ask again.
    later = machine.open(reference, **notes)
    assert read(later) == content()
    assert later.resolve().digest == IMAGE.digest
    assert lookups["down.example"] == [443]
    assert machine.clock.waits == []


def test_a_mirror_whose_token_server_is_down_is_asked_once(
    mirror: FaultyRegistry, machine: Machine, mirrored: Mirrors, lookups: dict[str, list[Any]]
) -> None:
    challenge = {"WWW-Authenticate": 'Bearer realm="http://down.example/token"'}
    mirror.fail("GET .*/manifests/", times=-1, status=401, headers=challenge)
    notes = {"unreachable": machine.root / "run/unreachable.json", "connect_seconds": 0.3}
    for _ in range(2):
        assert machine.open(mirrored(""), **notes).resolve().digest == IMAGE.digest
    assert lookups["down.example"] == [80]
    assert machine.clock.waits == []


def test_a_silent_mirror_is_not_waited_for_twice(
    mirror: FaultyRegistry, machine: Machine, mirrored: Mirrors
) -> None:
    mirror.fail("GET", times=-1, wait=mirror.closing)
    for _ in range(2):
        source = machine.open(mirrored(""), unreachable=machine.root / "run/unreachable.json")
        assert source.resolve().digest == IMAGE.digest
    assert mirror.connections == 1 + 1  # It has no TLS, and that is looked for first.
    assert machine.clock.waits == []


def test_a_slow_mirror_is_waited_for_if_the_registry_cannot_be_reached(
    mirror: FaultyRegistry, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootd.registry.settings._HASTY_FIRST_BYTE_SECONDS", 0.2)
    folder = machine.root / "etc/containers"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "registries.conf").write_text(
        '[[registry]]\nlocation = "127.0.0.1:1"\n[[registry.mirror]]\n'
        f'location = "{mirror.host}/copy"\ninsecure = true\n'
    )
    first_byte = threading.Event()
    mirror.fail("GET .*/manifests/", times=-1, wait=first_byte)
    timer = threading.Timer(1.5, first_byte.set)
    timer.start()
    source = machine.open("127.0.0.1:1/os/image", first_byte_seconds=20.0, document_seconds=20.0)
    assert source.resolve().digest == IMAGE.digest
    timer.join()


def test_a_mirror_that_needs_long_to_connect_is_waited_for_if_there_is_nobody_else(
    mirror: FaultyRegistry, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = machine.root / "etc/containers"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "registries.conf").write_text(
        '[[registry]]\nlocation = "127.0.0.1:1"\n[[registry.mirror]]\n'
        f'location = "{mirror.host}/copy"\ninsecure = true\n'
    )
    real = connections.connect

    def far_away(host: str, port: int, seconds: float, *rest: Any) -> socket.socket:
        if f"{host}:{port}" == mirror.host and seconds < 5.0:
            raise TimeoutError
        return real(host, port, seconds, *rest)

    monkeypatch.setattr(connections, "connect", far_away)
    source = machine.open("127.0.0.1:1/os/image")
    assert source.resolve().digest == IMAGE.digest
    assert read(source) == content()


def test_what_is_down_is_asked_again_after_a_while(
    registry: FaultyRegistry, machine: Machine, lookups: dict[str, list[Any]]
) -> None:
    reference = dead_mirror(machine, registry, "down.example")
    notes = {"unreachable": machine.root / "run/unreachable.json", "connect_seconds": 0.3}
    machine.open(reference, **notes).resolve()
    machine.clock = SlowClock([7_200.0])
    machine.open(reference, **notes).resolve()
    assert len(lookups["down.example"]) == 2


@pytest.mark.parametrize(
    "note",
    ["", "{", "[]", '{"down": 5}', '{"down": {"down.example": "x"}}', '{"down": {"x": 1e300}}'],
)
@pytest.mark.usefixtures("lookups")
def test_a_note_of_what_is_down_that_cannot_be_read(
    note: str, registry: FaultyRegistry, machine: Machine
) -> None:
    path = machine.root / "unreachable.json"
    path.write_text(note)
    reference = dead_mirror(machine, registry, "down.example")
    source = machine.open(reference, unreachable=path, connect_seconds=0.3)
    assert source.resolve().digest == IMAGE.digest


def test_the_registry_is_waited_for_although_its_mirror_is_down(
    registry: FaultyRegistry, machine: Machine, lookups: dict[str, list[Any]]
) -> None:
    reference = dead_mirror(machine, registry, "down.example")
    notes = {"unreachable": machine.root / "run/unreachable.json", "connect_seconds": 0.3}
    machine.open(reference, **notes).resolve()
    registry.fail(MANIFEST, times=3, status=503)
    # Two attempts in haste, the mirror, and then as many as there are for the last one.
    assert machine.open(reference, **notes).resolve().digest == IMAGE.digest
    assert registry.count(MANIFEST) == 1 + 4
    assert len(lookups["down.example"]) == 2


def test_nothing_is_noted_where_nobody_serves(machine: Machine) -> None:
    folder = machine.root / "etc/containers"
    folder.mkdir(parents=True)
    (folder / "registries.conf").write_text(
        '[[registry]]\nlocation = "127.0.0.1:1"\n[[registry.mirror]]\nlocation = "127.0.0.1:2"\n'
    )
    path = machine.root / "unreachable.json"
    with pytest.raises(ConnectionFailedError, match=r"127\.0\.0\.1:1"):
        machine.open("127.0.0.1:1/os", unreachable=path).resolve()
    assert not path.exists()
