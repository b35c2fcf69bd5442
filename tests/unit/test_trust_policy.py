"""The policy for images: its form, its scopes, and what each rule for signed names accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bootd.model.digest import Digest
from bootd.registry.reference import LayoutReference, RegistryReference, parse_reference
from bootd.trust.policy import InsecureAcceptAnything, Policy, Reject, SignedBy, parse_policy
from bootd.trust.scopes import docker_reference, scopes_of
from bootd.trust.sigstore.identity import parse_identity
from bootd.trust.simple.docker_reference import DockerReference, parse_docker_reference
from bootd.trust.strict_json import InvalidJsonError

ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]
DIGEST = "sha256:" + "0" * 64


def policy(default: Any = None, **transports: Any) -> Policy:
    value = {"default": REJECT if default is None else default, "transports": transports}
    return parse_policy(json.dumps(value).encode())


def scope_for(of: Policy, reference: str) -> str:
    return of.requirements(scopes_of(parse_reference(reference)))[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not JSON",
        "[]",
        "null",
        "{}",
        '{"default": null}',
        '{"default": []}',
        '{"default": {}}',
        '{"default": [{}]}',
        '{"default": [{"type": "Reject"}]}',
        '{"default": [{"type": "reject", "type": "insecureAcceptAnything"}]}',
        '{"default": [{"type": "reject"}], "default": [{"type": "reject"}]}',
        '{"default": [{"type": "reject"}], "extra": 1}',
        '{"default": [{"type": "reject"}], "transports": []}',
        '{"default": [{"type": "reject"}], "transports": {"docker": {"a": []}}}',
        '{"default": [{"type": "reject"}], "transports": {"oci": {"name": [{"type": "reject"}]}}}',
        '{"default": [{"type": "reject"}], "transports": {"dir": {"/": [{"type": "reject"}]}}}',
        '{"default": [{"type": "reject"}], "transports": {"dir": {"/a/..": [{"type": "reject"}]}}}',
        '{"default": [{"type": "signedBy", "keyType": "GPGKeys"}]}',
        '{"default": [{"type": "signedBy", "keyType": "RSA", "keyPath": "/k"}]}',
        '{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "k"}]}',
        '{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPaths": []}]}',
        '{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyData": "%"}]}',
        '{"default": [{"type": "sigstoreSigned"}]}',
        '{"default": [{"type": "sigstoreSigned", "keyPath": "/k", "keyData": "YQ=="}]}',
        '{"default": [{"type": "sigstoreSigned", "keyPath": 1}]}',
        '{"default": [{"type": "sigstoreSigned", "pki": {"caRootsPath": "/r"}}]}',
        '{"default": [{"type": "sigstoreSigned", "rekorPublicKeyPath": "/a"}]}',
        '{"default": [{"type": "sigstoreSigned", "fulcio": {"caPath": "/a"}}]}',
        '{"default": [{"type": "signedBaseLayer"}]}',
        '{"default": NaN}',
        "[" * 100_000,
        '{"default": ' + "[" * 40 + "]" * 40 + "}",
    ],
)
def test_what_is_wrong_anywhere_is_no_policy(text: str) -> None:
    with pytest.raises(InvalidJsonError):
        parse_policy(text.encode())


def test_the_narrowest_scope_decides() -> None:
    scopes = {
        "registry.example:5000/team/os:stable": ACCEPT,
        "registry.example:5000/team/os": REJECT,
        "registry.example:5000/team": ACCEPT,
        "registry.example:5000": REJECT,
        "*.example": ACCEPT,
        "": REJECT,
    }
    wanted = "registry.example:5000/team/os:stable"
    for scope in scopes:
        assert scope_for(policy(docker=scopes), wanted) == f"docker:{scope}"
        scopes = {key: value for key, value in scopes.items() if key != scope}
    assert scope_for(policy(docker={}), wanted) == "default"
    assert scope_for(policy(docker={f"registry.example:5000/team/os@{DIGEST}": ACCEPT}),
                     f"registry.example:5000/team/os:stable@{DIGEST}") != "default"  # fmt: skip


def test_a_repository_is_no_scope_for_one_whose_name_begins_alike() -> None:
    assert scope_for(policy(docker={"quay.io/team/o": ACCEPT}), "quay.io/team/os") == "default"
    assert scope_for(policy(docker={"quay.io": ACCEPT}), "my.quay.io/team/os") == "default"


def test_a_short_name_of_docker_hub_has_one_scope() -> None:
    for name in ("docker.io/debian", "docker.io/library/debian", "index.docker.io/debian"):
        assert scope_for(policy(docker={"docker.io/library": ACCEPT}), name) == (
            "docker:docker.io/library"
        )


def test_folders_are_scopes_of_images_in_files() -> None:
    reference = LayoutReference(Path("/srv/images/os"), archive=False, tag="latest", digest=None)
    assert scopes_of(reference).names == ("/srv/images/os", "/srv/images", "/srv")
    archive = LayoutReference(Path("/srv/os.tar"), archive=True, tag=None, digest=None)
    assert scopes_of(archive).transport == "oci-archive"
    assert docker_reference(archive) is None


def test_a_digest_decides_where_there_is_a_tag_too() -> None:
    named = RegistryReference("quay.io", "team/os", "stable", Digest(DIGEST))
    assert str(docker_reference(named)) == f"quay.io/team/os@{DIGEST}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("busybox:1", "docker.io/library/busybox:1"),
        ("team/os", "docker.io/team/os"),
        ("localhost/os:1", "localhost/os:1"),
        ("host:5000/os", "host:5000/os"),
        (f"quay.io/a/b:c@{DIGEST}", f"quay.io/a/b:c@{DIGEST}"),
        ("[::1]:5000/os:1", "[::1]:5000/os:1"),
        ("quay.io/A/b", None),
        ("quay.io/a:", None),
        ("quay.io/a@sha256:short", None),
        ("quay.io//a", None),
        ("quay.io/", None),
        ("", None),
        ("g" * 64, "docker.io/library/" + "g" * 64),
        ("0" * 64, None),
        ("quay.io/" + "a" * 300, None),
    ],
)
def test_signed_names_are_read_as_podman_reads_them(text: str, expected: str | None) -> None:
    reference = parse_docker_reference(text)
    assert (None if reference is None else str(reference)) == expected


NAME = DockerReference("quay.io/team/os", tag="stable")
BY_DIGEST = DockerReference("quay.io/team/os", digest=DIGEST)


@pytest.mark.parametrize(
    ("rule", "wanted", "signed", "accepted"),
    [
        ({"type": "matchExact"}, NAME, "quay.io/team/os:stable", True),
        ({"type": "matchExact"}, NAME, "quay.io/team/os:other", False),
        ({"type": "matchExact"}, NAME, "quay.io/team/os", False),
        ({"type": "matchExact"}, BY_DIGEST, "quay.io/team/os:stable", False),
        ({"type": "matchRepoDigestOrExact"}, BY_DIGEST, "quay.io/team/os:stable", True),
        ({"type": "matchRepoDigestOrExact"}, BY_DIGEST, "quay.io/team/os", False),
        ({"type": "matchRepoDigestOrExact"}, NAME, "quay.io/team/os:other", False),
        ({"type": "matchRepository"}, NAME, "quay.io/team/os", True),
        ({"type": "matchRepository"}, NAME, "quay.io/team/other", False),
        ({"type": "matchRepository"}, None, "quay.io/team/os", False),
        (
            {"type": "exactReference", "dockerReference": "a.example/b:1"},
            None,
            "a.example/b:1",
            True,
        ),
        ({"type": "exactRepository", "dockerRepository": "a.example/b"}, NAME, "a.example/b", True),
        (
            {"type": "remapIdentity", "prefix": "quay.io/team", "signedPrefix": "a.example/x"},
            NAME,
            "a.example/x/os:stable",
            True,
        ),
        (
            {"type": "remapIdentity", "prefix": "quay.io/tea", "signedPrefix": "a.example/x"},
            NAME,
            "a.example/xm/os:stable",
            False,
        ),
        (
            {"type": "remapIdentity", "prefix": "other.example", "signedPrefix": "a.example"},
            NAME,
            "quay.io/team/os:stable",
            True,
        ),
    ],
)
def test_a_rule_for_signed_names(
    rule: Any, wanted: DockerReference | None, signed: str, accepted: bool
) -> None:
    name = parse_docker_reference(signed)
    assert name is not None
    assert parse_identity(rule).accepts(wanted, name) is accepted


@pytest.mark.parametrize(
    "rule",
    [
        None,
        {},
        {"type": "matchAnything"},
        {"type": "matchExact", "extra": 1},
        {"type": "exactReference", "dockerReference": "quay.io/a/b"},
        {"type": "exactReference", "dockerReference": "quay.io/A"},
        {"type": "exactRepository"},
        {"type": "remapIdentity", "prefix": "quay.io/a/", "signedPrefix": "b.example"},
        {"type": "remapIdentity", "prefix": "quay.io"},
    ],
)
def test_what_is_no_rule_for_signed_names(rule: Any) -> None:
    with pytest.raises(InvalidJsonError):
        parse_identity(rule)


def test_values_of_a_policy() -> None:
    found = policy(
        ACCEPT,
        docker={
            "quay.io": [
                {"type": "reject"},
                {"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["/a", "/b"]},
            ]
        },
    )
    assert found.default == (InsecureAcceptAnything(),)
    rejected, signed = found.transports["docker"]["quay.io"]
    assert rejected == Reject()
    assert isinstance(signed, SignedBy)
    assert signed.keys.paths == ("/a", "/b")
