"""Credentials: which file, which entry, which helper."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bootd.model.errors import InvalidConfigurationError, ProcessFailedError
from bootd.registry.login.credentials import (
    Credentials,
    auth_files,
    credentials_for,
    find_credentials,
)


def auth(user: str, password: str = "secret") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def found_in(path: Path, repository: str) -> Credentials | None:
    return find_credentials(repository, [path])


def user_in(path: Path, repository: str) -> str | None:
    found = found_in(path, repository)
    return found.username if found else None


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (
            {},
            [
                "run/ostree/auth.json",
                "etc/ostree/auth.json",
                "usr/lib/ostree/auth.json",
                "run/containers/0/auth.json",
                "root/.config/containers/auth.json",
                "root/.docker/config.json",
            ],
        ),
        (
            {"XDG_RUNTIME_DIR": "/run/user/0", "XDG_CONFIG_HOME": "/cfg", "HOME": "/home/me"},
            [
                "run/ostree/auth.json",
                "etc/ostree/auth.json",
                "usr/lib/ostree/auth.json",
                "run/user/0/containers/auth.json",
                "cfg/containers/auth.json",
                "home/me/.docker/config.json",
            ],
        ),
    ],
)
def test_places(environment: dict[str, str], expected: list[str], tmp_path: Path) -> None:
    assert auth_files(tmp_path, environment) == [tmp_path / one for one in expected]


def test_explicit_file_is_the_only_one(tmp_path: Path) -> None:
    environment = {"REGISTRY_AUTH_FILE": "/x/auth.json", "HOME": "/home/me"}
    assert auth_files(tmp_path, environment) == [Path("/x/auth.json")]


def test_first_file_that_knows_the_repository_wins(tmp_path: Path) -> None:
    files = [
        tmp_path / "missing",
        write(tmp_path / "empty", ""),
        write(tmp_path / "braces", {}),
        write(tmp_path / "other", {"auths": {"other.io": auth("other")}}),
        write(tmp_path / "first", {"auths": {"quay.io": auth("first")}}),
        write(tmp_path / "second", {"auths": {"quay.io/os": auth("second")}}),
    ]
    found = find_credentials("quay.io/os", files)
    assert found == Credentials("first", "secret", "", f"{files[4]} (quay.io)")
    assert "secret" not in repr(found)
    assert find_credentials("ghcr.io/os", files) is None


@pytest.mark.parametrize(
    ("repository", "user"),
    [
        ("my.local/foo/bar/image", "image"),
        ("my.local/foo/bar/other", "foo"),
        ("my.local/foo", "foo"),
        ("my.local/food", "all"),
        ("my.local/x", "all"),
        ("my.local:5000/x", "port"),
        ("your.local/x", None),
        ("docker.io/library/debian", "hub"),
        ("legacy.io/x", "legacy"),
    ],
)
def test_longest_key_wins(repository: str, user: str | None, tmp_path: Path) -> None:
    auths = {
        "my.local/foo/bar/image": auth("image"),
        "my.local/foo": auth("foo"),
        "my.local": auth("all"),
        "my.local:5000": auth("port"),
        "https://index.docker.io/v1/": auth("hub"),
        "https://legacy.io/v2/": auth("legacy"),
        "empty.io": {},
    }
    path = write(tmp_path / "auth.json", {"auths": auths})
    assert user_in(path, repository) == user


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (auth("me", "a:b"), ("me", "a:b", "")),
        ({"auth": base64.b64encode(b"me:pw\0\0").decode()}, ("me", "pw", "")),
        ({"username": "me", "password": "pw"}, ("me", "pw", "")),
        ({**auth("me"), "identitytoken": "tok"}, ("", "", "tok")),
        ({"auth": "", "email": "x"}, None),
        ({}, None),
    ],
)
def test_entries(
    entry: dict[str, str], expected: tuple[str, str, str] | None, tmp_path: Path
) -> None:
    path = write(tmp_path / "auth.json", {"auths": {"quay.io": entry}})
    found = found_in(path, "quay.io/os")
    assert (found and (found.username, found.password, found.identity_token)) == expected


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "5",
        "[" * 100_000,
        '{"auths": 5}',
        '{"auths": {"quay.io": "secret"}}',
        '{"auths": {"quay.io": {"auth": "secret!"}}}',
        '{"auths": {"quay.io": {"auth": "c2VjcmV0"}}}',
        '{"credHelpers": {"quay.io": "../../bin/secret"}}',
        " " * (2 << 20),
    ],
)
def test_damaged_files_are_named_without_their_secrets(content: str, tmp_path: Path) -> None:
    path = write(tmp_path / "auth.json", content)
    with pytest.raises(InvalidConfigurationError, match=r"auth\.json") as caught:
        found_in(path, "quay.io/os")
    assert "c2VjcmV0" not in caught.value.message
    assert '"secret"' not in caught.value.message


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigurationError, match="cannot be read"):
        found_in(tmp_path, "quay.io/os")


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a credential helper that answers what `answer` holds, and keeps what it was asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker-credential-test"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = get ] || exit 9\ncat > {folder}/asked\n'
        f"cat {folder}/answer\nexit $(cat {folder}/status)\n"
    )
    program.chmod(0o755)
    (folder / "status").write_text("0")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.mark.parametrize(
    ("content", "repository", "asked"),
    [
        ({"credHelpers": {"quay.io": "test"}, "auths": {"quay.io": auth("x")}}, "quay.io/os", True),
        (
            {"credHelpers": {"other.io": "test"}, "auths": {"quay.io": auth("x")}},
            "quay.io/os",
            False,
        ),
        ({"credsStore": "test", "auths": {"quay.io": {}}}, "quay.io/os", True),
        ({"credsStore": "test", "auths": {"quay.io": auth("x")}}, "quay.io/os", False),
        ({"credHelpers": {"docker.io": "test"}}, "docker.io/library/os", True),
    ],
)
def test_helpers(
    content: dict[str, Any], repository: str, asked: bool, helper: Path, tmp_path: Path
) -> None:
    (helper / "answer").write_text('{"ServerURL": "x", "Username": "me", "Secret": "pw"}')
    path = write(tmp_path / "auth.json", content)
    assert user_in(path, repository) == ("me" if asked else "x")
    assert (helper / "asked").exists() == asked
    if asked:
        server = "https://index.docker.io/v1/" if repository.startswith("docker.io") else "quay.io"
        assert (helper / "asked").read_text() == server


def test_helper_with_an_identity_token(helper: Path, tmp_path: Path) -> None:
    (helper / "answer").write_text('{"Username": "<token>", "Secret": "tok"}')
    found = found_in(write(tmp_path / "auth.json", {"credsStore": "test"}), "quay.io/os")
    named_by = f"docker-credential-test, which {tmp_path}/auth.json (credsStore) names"
    assert found == Credentials("", "", "tok", named_by)


def test_helper_that_knows_nothing(helper: Path, tmp_path: Path) -> None:
    (helper / "answer").write_text("credentials not found in native keychain\n")
    (helper / "status").write_text("1")
    assert found_in(write(tmp_path / "auth.json", {"credsStore": "test"}), "quay.io/os") is None


@pytest.mark.parametrize(
    ("main", "drop_ins", "user"),
    [
        ("", {}, "file"),
        ('["test"]', {}, "me"),
        ('["containers-auth.json"]', {}, "file"),
        ('["containers-auth.json", "test"]', {}, "file"),
        ('["test", "containers-auth.json"]', {}, "me"),
        ("[]", {}, "file"),
        ('["containers-auth.json"]', {"50-cloud": '["test"]'}, "me"),
        ("", {"10-a": '["test"]', "20-b": '["containers-auth.json"]'}, "file"),
        ("", {"10-a": '["test"]', "20-b": "[]"}, "me"),
        ('["no-such-helper", "test"]', {}, "me"),
        ('["no-such-helper", "containers-auth.json"]', {}, "file"),
    ],
)
def test_helpers_of_registries_conf(
    main: str, drop_ins: dict[str, str], user: str, helper: Path, tmp_path: Path
) -> None:
    (helper / "answer").write_text('{"Username": "me", "Secret": "pw"}')
    for name, names in {"registries.conf": main, **_in_folder(drop_ins)}.items():
        if names:
            write(tmp_path / "etc/containers" / name, f"credential-helpers = {names}\n")
    write(tmp_path / "etc/ostree/auth.json", {"auths": {"quay.io": auth("file")}})
    found = credentials_for("quay.io/team/os", tmp_path, {})
    assert found is not None
    assert found.username == user


def _in_folder(drop_ins: dict[str, str]) -> dict[str, str]:
    return {f"registries.conf.d/{name}.conf": names for name, names in drop_ins.items()}


def test_helpers_that_know_nothing_leave_the_others_their_turn(
    helper: Path, tmp_path: Path
) -> None:
    (helper / "answer").write_text('{"Username": "", "Secret": ""}')
    text = 'credential-helpers = ["test", "containers-auth.json"]\n'
    write(tmp_path / "etc/containers/registries.conf", text)
    assert credentials_for("quay.io/os", tmp_path, {}) is None
    write(tmp_path / "etc/ostree/auth.json", {"auths": {"quay.io": auth("file")}})
    found = credentials_for("quay.io/os", tmp_path, {})
    assert found is not None
    assert found.username == "file"


def test_helper_of_registries_conf_that_is_missing_is_told_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "etc/containers/registries.conf.d/50-cloud.conf"
    write(path, 'credential-helpers = ["no-such-helper", "containers-auth.json"]\n')
    with pytest.raises(ProcessFailedError, match="no-such-helper, which is not") as caught:
        credentials_for("quay.io/os", tmp_path, {})
    assert str(path) in caught.value.message


@pytest.mark.parametrize("names", ['"test"', "[5]", '[""]', "{}", '["' + "x" * 200 + '"]'])
def test_helpers_that_are_no_list_of_names(names: str, tmp_path: Path) -> None:
    write(tmp_path / "etc/containers/registries.conf", f"credential-helpers = {names}\n")
    with pytest.raises(InvalidConfigurationError, match=r"registries\.conf: credential-helpers"):
        credentials_for("quay.io/os", tmp_path, {})


def test_helper_of_registries_conf_whose_name_is_a_path(tmp_path: Path) -> None:
    text = 'credential-helpers = ["../../bin/x"]\n'
    write(tmp_path / "etc/containers/registries.conf", text)
    with pytest.raises(InvalidConfigurationError, match="not a credential helper's name"):
        credentials_for("quay.io/os", tmp_path, {})


def test_helpers_use_the_proxy_of_the_settings(helper: Path, tmp_path: Path) -> None:
    (helper / "docker-credential-test").write_text(
        f'#!/bin/sh\ncat > /dev/null\nprintf %s "$HTTPS_PROXY" > {helper}/proxy\n'
        'echo \'{"Username": "me", "Secret": "pw"}\'\n'
    )
    write(tmp_path / "etc/containers/registries.conf", 'credential-helpers = ["test"]\n')
    credentials_for("quay.io/os", tmp_path, {}, {"HTTPS_PROXY": "http://proxy.example"})
    assert (helper / "proxy").read_text() == "http://proxy.example"


@pytest.mark.parametrize(
    ("answer", "status"),
    [("", "0"), ("[]", "0"), ('{"Username": 5, "Secret": "x"}', "0"), ("broken", "1"), ("", "2")],
)
def test_helper_that_fails(answer: str, status: str, helper: Path, tmp_path: Path) -> None:
    (helper / "answer").write_text(answer)
    (helper / "status").write_text(status)
    path = write(tmp_path / "auth.json", {"credsStore": "test"})
    with pytest.raises(ProcessFailedError, match="docker-credential-test"):
        found_in(path, "quay.io/os")


def test_helper_that_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "auth.json", {"credHelpers": {"quay.io": "no-such-helper"}})
    with pytest.raises(ProcessFailedError, match="not installed") as caught:
        found_in(path, "quay.io/os")
    assert f"{path} (credHelpers, quay.io)" in caught.value.message


def test_helper_for_all_registries_that_is_missing_is_told_and_asks_for_nothing(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "auth.json", {"credsStore": "no-such-helper"})
    why = f"{path} (credsStore) names docker-credential-no-such-helper, which is not installed"
    assert found_in(path, "quay.io/os") == Credentials("", "", "", "", why)
    later = write(tmp_path / "later.json", {"auths": {"quay.io": auth("later")}})
    found = find_credentials("quay.io/os", [path, later])
    assert found is not None
    assert found.username == "later"
