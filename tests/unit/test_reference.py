"""Image references: the grammar, and that nothing else gets through."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.effort import heavy

from bootd.model.digest import Digest
from bootd.model.errors import InvalidReferenceError
from bootd.registry.reference import (
    CopiedReference,
    LayoutReference,
    RegistryReference,
    parse_reference,
)

SHA256 = "sha256:" + "0a" * 32
SHA512 = "sha512:" + "0b" * 64


@pytest.mark.parametrize(
    ("text", "domain", "path", "tag", "digest"),
    [
        ("quay.io/os", "quay.io", "os", "latest", None),
        ("quay.io/team/os:1.2", "quay.io", "team/os", "1.2", None),
        ("docker://quay.io/os", "quay.io", "os", "latest", None),
        ("localhost/os", "localhost", "os", "latest", None),
        ("box:5000/os", "box:5000", "os", "latest", None),
        ("127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000", "a/b/c", "x", None),
        ("[::1]:5000/os", "[::1]:5000", "os", "latest", None),
        ("[fe80::1]/os", "[fe80::1]", "os", "latest", None),
        ("Quay.IO/os", "quay.io", "os", "latest", None),
        (f"quay.io/os@{SHA256}", "quay.io", "os", None, SHA256),
        (f"quay.io/os:v1@{SHA256}", "quay.io", "os", "v1", SHA256),
        (f"quay.io/os@{SHA512}", "quay.io", "os", None, SHA512),
        ("quay.io/a.b/c_d/e__f/g---h:A_b.C-d", "quay.io", "a.b/c_d/e__f/g---h", "A_b.C-d", None),
    ],
)
def test_registry_references(
    text: str, domain: str, path: str, tag: str | None, digest: Digest | None
) -> None:
    found = parse_reference(text)
    assert isinstance(found, RegistryReference)
    assert (found.domain, found.path, found.tag, found.digest) == (domain, path, tag, digest)
    assert parse_reference(str(found)) == found


@pytest.mark.parametrize(
    ("text", "archive", "path", "tag", "digest"),
    [
        ("oci:/srv/os", False, "/srv/os", None, None),
        ("oci:/srv/os:v1", False, "/srv/os", "v1", None),
        (f"oci:/srv/os@{SHA256}", False, "/srv/os", None, SHA256),
        ("oci-archive:/srv/os.tar:v1", True, "/srv/os.tar", "v1", None),
    ],
)
def test_layout_references(
    text: str, archive: bool, path: str, tag: str | None, digest: Digest | None
) -> None:
    found = parse_reference(text)
    assert found == LayoutReference(Path(path), archive, tag, digest)
    assert str(found) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "debian",
        "debian:13",
        "library/debian",
        "quay.io",
        "quay.io/",
        "quay.io//os",
        "quay.io/os/",
        "quay.io/Os",
        "quay.io/os:",
        "quay.io/os:-x",
        "quay.io/os:" + "x" * 129,
        "quay.io/os@",
        "quay.io/os@sha256:abc",
        f"quay.io/os@{SHA256.upper()}",
        f"quay.io/os@{SHA256}@{SHA256}",
        "quay.io/a_-b",
        "quay.io/a___b",
        "quay.io/.a",
        "quay.io/../a",
        "quay.io:0/os",
        "quay.io:65536/os",
        "quay.io:x/os",
        "-quay.io/os",
        "quay..io/os",
        "user@quay.io/os",
        "quay.io/os?x",
        "quay.io/os\n",
        " quay.io/os",
        "quay.io/ös",
        "quay.io/" + "a" * 300,
        "x" * 5_000,
        "oci:relative",
        "oci:",
        "oci:/srv/os:ta g",
        "oci:/srv\0/os",
        "oci-archive:x.tar",
        "oci:/" + "x" * 5_000,
        "containers-storage:",
        "docker-archive:x.tar",
        "dir:x",
        "dir:",
        "dir:/srv/\n",
    ],
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(InvalidReferenceError) as caught:
        parse_reference(text)
    assert len(caught.value.message) < 1_000
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("dir:/srv/os", "/srv/os"),
        ("dir:/srv/o:s@1", "/srv/o:s@1"),
        ("docker-archive:/srv/os.tar", "/srv/os.tar"),
        ("docker-archive:/srv/os.tar:quay.io/team/os:1", "/srv/os.tar"),
        ("docker-archive:/srv/os.tar:@1", "/srv/os.tar"),
        ("containers-storage:localhost/os:latest", None),
        ("containers-storage:localhost/os@" + SHA256, None),
        ("containers-storage:@0123456789ab", None),
        ("containers-storage:[overlay@/var/lib/other]localhost/os", None),
    ],
)
def test_references_of_what_is_copied(text: str, path: str | None) -> None:
    found = parse_reference(text)
    assert isinstance(found, CopiedReference)
    assert (found.path and str(found.path)) == path
    assert str(found) == text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("registry:quay.io/team/os:1", "registry"),
        ("docker:quay.io/team/os:1", "docker"),
        ("docker-daemon:os:latest", "docker-daemon"),
        ("ostree-unverified-registry:quay.io/team/os:1", "ostree-unverified-registry"),
        ("ostree-image-signed:docker://quay.io/team/os:1", "ostree-image-signed"),
        ("ostree-remote-image:fedora:docker://quay.io/os", "ostree-remote-image"),
        ("ostree:os@/srv/repo", "ostree"),
        ("sif:/srv/os.sif", "sif"),
        ("ftp://quay.io/os", "ftp"),
        ("DOCKER://quay.io/os", "DOCKER"),
        ("OCI:/srv/os", "OCI"),
        ("somewhere:quay.io/os", "somewhere"),
    ],
)
def test_unknown_transports_are_called_that(text: str, name: str) -> None:
    if "@" in text:
        text = text.replace("@", "")
    with pytest.raises(InvalidReferenceError, match=f"the transport '{name}' of") as caught:
        parse_reference(text)
    assert "docker://" in caught.value.hint
    assert "containers-storage:" in caught.value.hint


@pytest.mark.parametrize("text", ["https://quay.io/team/os:1", "http://quay.io/os"])
def test_an_address_of_the_web_is_no_reference(text: str) -> None:
    with pytest.raises(InvalidReferenceError, match=r"begins with https?://") as caught:
        parse_reference(text)
    assert "Leave it out" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "me:SECRET@quay.io/team/os:1",
        "docker://me:SECRET@quay.io/team/os:1",
        "https://me:SECRET@quay.io/team/os:1",
        "registry:me:SECRET@quay.io/team/os:1",
        "ostree-image-signed:docker://me:SECRET@quay.io/team/os",
        f"me:SECRET@quay.io/os@{SHA256}",
        "me:SECRET@quay.io/os@sha256:zz",
        "me:SEC/RET@quay.io/os",
        "me:SECRET@SECRET@quay.io/os",
        "SECRET@quay.io/os",
        "me:SECRET@localhost",
        "me:SECRET@localhost:5000",
        "me:SECRET@localhost:5000/os",
        "me:SECRET@",
        "containers-storage:me:SECRET@quay.io/os",
        "oci:me:SECRET@quay.io/os",
        "x" * 900 + "me:SECRET@quay.io/" + "x" * 900,
    ],
)
def test_passwords_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidReferenceError, match="user name or password") as caught:
        parse_reference(text)
    assert "SECRET" not in caught.value.message + caught.value.hint
    assert "SEC" not in caught.value.message


def test_missing_registry_is_told() -> None:
    with pytest.raises(InvalidReferenceError, match="does not name its registry") as caught:
        parse_reference("debian:13")
    assert "registry.example/" in caught.value.hint


@heavy(60, full=10_000)
@given(
    st.one_of(
        st.text(max_size=60),
        st.text(alphabet="aA0./:@-_[]oci sha256", max_size=60),
        st.from_regex(r"(dir|docker-archive|containers-storage|ostree):[/@a:0]{1,20}"),
        st.from_regex(r"[a-z]{1,5}\.[a-z]{2}(:[0-9]{1,5})?/[a-z0-9._/-]{1,20}(:[\w.-]{1,10})?"),
    )
)
@example("a" * 200 + "." * 50 + "/" + "a-" * 400)
def test_only_our_errors_leave(text: str) -> None:
    try:
        found = parse_reference(text)
    except InvalidReferenceError:
        return
    assert parse_reference(str(found)) == found
