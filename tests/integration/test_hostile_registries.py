"""Registries that an attacker runs, or that are broken: each is refused by name, and in time.

``pytest -v`` prints the list. Where a failure may pass, it was asked again before; how often, and
what is kept of a pull that broke off, is in test_registry_faults and test_registry_answers.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.attacked import NAME, Scene, attacked, image, machine_on_v1
from support.images import BuiltImage
from support.machine import Machine
from support.registry import TokenAuth, faulty_registry

from bootd.model.errors import (
    BootdError,
    ConnectionFailedError,
    DigestMismatchError,
    HostUnknownError,
    ImageNotFoundError,
    ManifestTooLargeError,
    NotARegistryError,
    RateLimitedError,
    RedirectLoopError,
    RegistryBlockedError,
    ServerFailedError,
    SizeMismatchError,
    TimedOutError,
    TlsFailedError,
    UnauthorizedError,
)

PAGE = b"<!DOCTYPE html><html><head><title>Guests &amp; co</title></head><body>hi</body></html>"
BOMB = gzip.compress(bytes(64 << 20))
ALL = ("manifest", "configuration", "layer")
DOCUMENTS = ALL[:2]

Errors = type[BootdError] | tuple[type[BootdError], ...]


def redirect(to: str) -> dict[str, Any]:
    return {"status": 307, "headers": {"Location": to}}


def told(**headers: str) -> dict[str, Any]:
    return {"headers": {name.replace("_", "-"): value for name, value in headers.items()}}


FAULTS: dict[str, tuple[dict[str, Any], Errors, str, tuple[str, ...]]] = {
    "asks for a login": ({"status": 401}, UnauthorizedError, "401", ALL),
    "forbids it": ({"status": 403}, UnauthorizedError, "403", ALL),
    "has not got it": ({"status": 404}, ImageNotFoundError, "not found", ALL),
    "is asked too often": (
        {"status": 429, **told(Retry_After="1")}, RateLimitedError, "asked again at", ALL),
    "is asked too often for a century": (
        {"status": 429, **told(Retry_After="3153600000")}, RateLimitedError, "asked again at",
        ALL),
    "fails": ({"status": 500}, ServerFailedError, "500", ALL),
    "has an unknown status": ({"status": 799}, ServerFailedError, "799", ALL),
    "has no content": ({"status": 204}, ServerFailedError, "204", ALL),
    "sends a part unasked": (
        {"content_range": "bytes 5-9/10"}, ServerFailedError, "206", ALL),
    "redirects to itself": (redirect("/loop"), RedirectLoopError, "more than 10 times", ALL),
    "redirects to a file": (redirect("file:///etc/shadow"), ServerFailedError, "'file'", ALL),
    "redirects to another protocol": (redirect("gopher://x/"), ServerFailedError, "gopher", ALL),
    "redirects to nowhere": ({"status": 307}, ServerFailedError, "307", ALL),
    "redirects to a host that is not there": (
        redirect("http://no-such-host.invalid/x"), HostUnknownError, "no-such-host.invalid", ALL),
    "answers with a web page": (
        {"replace": PAGE, **told(Content_Type="text/html")}, NotARegistryError, "Guests & co", ALL),
    "stalls": ({"stall": True}, TimedOutError, "in time", ALL),
    "drips": ({"drip": 0.3}, TimedOutError, "bytes", ALL),
    "drips its headers": ({"drip_head": 0.2}, TimedOutError, "in time", ALL),
    "breaks off": ({"cut_at": 10}, ConnectionFailedError, "IncompleteRead", ALL),
    "resets": ({"reset": True}, ConnectionFailedError, "reset", ALL),
    "does not end": (
        {"endless": True}, (ManifestTooLargeError, SizeMismatchError), "bytes", ALL),
    "has other bytes": ({"corrupt": True}, DigestMismatchError, "sha256:", ALL),
    "has a thousand headers": (
        {"headers": {f"X-{at}": "x" for at in range(1_000)}}, ConnectionFailedError,
        "more than 100 headers", ALL),
    "has a header of a megabyte": (
        told(X_Long="x" * (1 << 20)), ConnectionFailedError, "header line", ALL),
    "sends a bomb": (
        {"replace": BOMB, **told(Content_Encoding="gzip")},
        (ManifestTooLargeError, SizeMismatchError), "bytes", ALL),
    "packs in an unknown way": (
        told(Content_Encoding="rot13"), ServerFailedError, "rot13", ("manifest",)),
}  # fmt: skip
ATTACKS = [(what, name) for name, fault in FAULTS.items() for what in fault[3]]


def realm(to: str, scheme: str = "Bearer") -> Callable[[Scene], None]:
    """Return what makes a registry send its callers elsewhere for a token."""

    def prepare(scene: Scene) -> None:
        headers = {"WWW-Authenticate": f'{scheme} realm="{to}",service="x"'}
        scene.registry.fail("/v2/", times=-1, status=401, headers=headers)

    return prepare


def token(**fault: Any) -> Callable[[Scene], None]:
    """Return what makes a registry's token server answer so."""

    def prepare(scene: Scene) -> None:
        scene.registry.token_auth = TokenAuth()
        scene.registry.fail("/token", times=-1, **fault)

    return prepare


LOGINS: dict[str, tuple[Callable[[Scene], None], type[BootdError], str]] = {
    "tokens from a file": (realm("file:///etc/shadow"), ServerFailedError, "names no token server"),
    "tokens from nowhere": (realm(""), ServerFailedError, "names no token server"),
    "tokens from a host that is not there": (
        realm("http://no-such-host.invalid/token"), HostUnknownError, "no-such-host.invalid"),
    "a login that nobody knows": (realm("x", "Negotiate"), UnauthorizedError, "401"),
    "a challenge that does not end": (
        realm("x" * 60_000), ServerFailedError, "names no token server"),
    "a token server that fails": (token(status=500), ServerFailedError, "500"),
    "a token server that is a web page": (
        token(replace=PAGE, headers={"Content-Type": "text/html"}), NotARegistryError, "Guests"),
    "a token that is no JSON": (token(replace=b"secret"), ServerFailedError, "no JSON"),
    "a token that is no text": (token(replace=b'{"token":[]}'), ServerFailedError, "no token"),
    "a token with another header in it": (
        token(replace=b'{"token":"x\\r\\nHost: evil"}'), ServerFailedError, "no token"),
    "a token of a megabyte": (
        token(replace=b'{"token":"%b"}' % (b"x" * (1 << 20))), ServerFailedError, "no JSON"),
    "a token that lasts for ever and never": (
        token(replace=b'{"token":"x","expires_in":NaN}'), UnauthorizedError, "401"),
    "a token server that does not end": (token(endless=True), ServerFailedError, "no JSON"),
    "a token server that stalls": (token(stall=True), TimedOutError, "in time"),
}  # fmt: skip
PLACES: dict[str, tuple[str, type[BootdError]]] = {
    "a host that is not there": (f"no-such-host.invalid/{NAME}:latest", HostUnknownError),
    "a port where nobody listens": (f"127.0.0.1:1/{NAME}:latest", ConnectionFailedError),
    "a registry that is blocked": (f"blocked.example/{NAME}:latest", RegistryBlockedError),
}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return machine_on_v1(tmp_path_factory.mktemp("registries"))


@pytest.fixture
def scene(machine: Machine) -> Iterator[Scene]:
    with attacked(machine) as made:
        yield made


def _pattern(what: str, served: BuiltImage) -> str:
    if what == "manifest":
        return "/manifests/"
    config = json.loads(served.manifest)["config"]["digest"]
    return f"/blobs/{served.layers[0]['digest'] if what == 'layer' else config}"


@pytest.mark.parametrize(
    ("what", "name"), ATTACKS, ids=[f"{what}: the registry {name}" for what, name in ATTACKS]
)
def test_a_hostile_registry_is_refused(what: str, name: str, scene: Scene) -> None:
    fault, error, words, _ = FAULTS[name]
    # Nothing that was kept of another attack is to be of use.
    served = image(f"{what} {name}")
    scene.serve(served)
    scene.registry.fail(f"{_pattern(what, served)}|/loop", **{"times": -1, **fault})
    scene.refuses(error, words)


@pytest.mark.parametrize("name", LOGINS)
def test_a_hostile_login_is_refused(name: str, scene: Scene) -> None:
    prepare, error, words = LOGINS[name]
    scene.serve(image("v2"))
    prepare(scene)
    scene.refuses(error, words)


@pytest.mark.parametrize("name", PLACES)
def test_a_place_that_does_not_serve_is_told(name: str, scene: Scene) -> None:
    reference, error = PLACES[name]
    folder = scene.machine.folder / "etc/containers/registries.conf.d"
    (folder / "blocked.conf").write_text('[[registry]]\nprefix="blocked.example"\nblocked=true\n')
    scene.refuses(error, reference.partition("/")[0], reference)


def test_a_certificate_that_nobody_vouches_for_is_refused(scene: Scene) -> None:
    with faulty_registry(tls=True) as registry:
        registry.add_image(image("v2"), NAME)
        scene.refuses(TlsFailedError, "certificate", registry.reference(NAME))
        assert registry.requests == []


def test_they_are_forty_and_more() -> None:
    assert len(ATTACKS) + len(LOGINS) + len(PLACES) >= 40


def test_after_all_of_them_a_good_registry_is_obeyed(scene: Scene) -> None:
    scene.recovers()
