"""registries.conf: which places a reference is fetched from."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootd.model.errors import InvalidConfigurationError, RegistryBlockedError
from bootd.registry.reference import RegistryReference, parse_reference
from bootd.registry.registries_conf import load_registries

DIGEST = "sha256:" + "0a" * 32


def write(root: Path, main: str = "", **drop_ins: str) -> None:
    folder = root / "etc/containers"
    (folder / "registries.conf.d").mkdir(parents=True, exist_ok=True)
    (folder / "registries.conf").write_text(main)
    for name, text in drop_ins.items():
        (folder / "registries.conf.d" / f"{name}.conf").write_text(text)


def places(root: Path, reference: str) -> list[str]:
    """The places in order; an insecure one ends in an exclamation mark."""
    parsed = parse_reference(reference)
    assert isinstance(parsed, RegistryReference)
    found = load_registries(root).locations(parsed)
    return [one.name + ("!" if one.insecure else "") for one in found]


MIRRORS = """
[[registry]]
prefix = "example.com/foo"
location = "inside.example.net/bar"
[[registry.mirror]]
location = "mirror-0.local/for-foo"
[[registry.mirror]]
location = "mirror-1.local/mirrors/foo"
insecure = true
"""


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("", "quay.io/os", ["quay.io/os"]),
        ("", "docker.io/debian", ["docker.io/library/debian"]),
        ("", "docker.io/team/os", ["docker.io/team/os"]),
        ('unqualified-search-registries = ["a.b"]', "quay.io/os", ["quay.io/os"]),
        ('[aliases]\n"os" = "quay.io/os"', "quay.io/os", ["quay.io/os"]),
        (
            MIRRORS,
            "example.com/foo/image:v1",
            [
                "mirror-0.local/for-foo/image",
                "mirror-1.local/mirrors/foo/image!",
                "inside.example.net/bar/image",
            ],
        ),
        (MIRRORS, "example.com/food/image", ["example.com/food/image"]),
        (MIRRORS, "example.com/other", ["example.com/other"]),
        ('[[registry]]\nlocation = "a.b:5000"\ninsecure = true', "a.b:5000/os", ["a.b:5000/os!"]),
        ('[[registry]]\nlocation = "a.b"\ninsecure = true', "a.b:5000/os", ["a.b:5000/os"]),
        ('[[registry]]\nlocation = "a.b/"\ninsecure = true', "a.b/os", ["a.b/os!"]),
        ('[[registry]]\nprefix = "a.b"\ninsecure = true', "a.b/os", ["a.b/os!"]),
        (
            (
                '[[registry]]\nprefix = "a.b"\nlocation = "c.d"\n'
                '[[registry]]\nprefix = "a.b/os"\nlocation = "e.f/x"'
            ),
            "a.b/os/image",
            ["e.f/x/image"],
        ),
        (
            '[[registry]]\nprefix = "a.b/os:v1"\nlocation = "e.f/os"',
            "a.b/os:v1",
            ["e.f/os"],
        ),
        (
            '[[registry]]\nprefix = "a.b/os:v1"\nlocation = "e.f/os"',
            "a.b/os:v2",
            ["a.b/os"],
        ),
        ('[[registry]]\nprefix = "*.b.c"\ninsecure = true', "x.a.b.c/os", ["x.a.b.c/os!"]),
        ('[[registry]]\nprefix = "*.b.c"\ninsecure = true', "a.b.c:5000/os", ["a.b.c:5000/os!"]),
        ('[[registry]]\nprefix = "*.b.c"\ninsecure = true', "b.c/os", ["b.c/os"]),
        ('[[registry]]\nprefix = "*.b.c"\ninsecure = true', "ab.c/os", ["ab.c/os"]),
        ('[[registry]]\nprefix = "*.b.c"\nlocation = "x.y/z"', "a.b.c/os", ["x.y/z/os"]),
        (
            (
                '[[registry]]\nprefix = "*.b.c"\nlocation = "x.y"\n'
                '[[registry]]\nprefix = "a.b.c"\nlocation = "v.w"'
            ),
            "a.b.c/os",
            ["v.w/os"],
        ),
        (
            '[[registry]]\nprefix = "docker.io/library"\nlocation = "hub.local"',
            "docker.io/debian",
            ["hub.local/debian"],
        ),
    ],
)
def test_places(text: str, reference: str, expected: list[str], tmp_path: Path) -> None:
    write(tmp_path, text)
    assert places(tmp_path, reference) == expected


@pytest.mark.parametrize(
    ("table", "mirror", "by_tag", "by_digest"),
    [
        ("", "", True, True),
        ("", 'pull-from-mirror = "all"', True, True),
        ("", 'pull-from-mirror = "digest-only"', False, True),
        ("", 'pull-from-mirror = "tag-only"', True, False),
        ("mirror-by-digest-only = true", "", False, True),
    ],
)
def test_mirrors_by_kind_of_reference(
    table: str, mirror: str, by_tag: bool, by_digest: bool, tmp_path: Path
) -> None:
    write(
        tmp_path,
        f'[[registry]]\nlocation = "a.b"\n{table}\n[[registry.mirror]]\nlocation = "m.n"\n{mirror}',
    )
    assert places(tmp_path, "a.b/os:v1") == (["m.n/os"] if by_tag else []) + ["a.b/os"]
    for reference in (f"a.b/os@{DIGEST}", f"a.b/os:v1@{DIGEST}"):
        assert places(tmp_path, reference) == (["m.n/os"] if by_digest else []) + ["a.b/os"]


def test_drop_ins_replace_by_prefix_in_order(tmp_path: Path) -> None:
    write(
        tmp_path,
        '[[registry]]\nprefix = "a.b"\nlocation = "main.x"\ninsecure = true\n'
        '[[registry]]\nprefix = "c.d"\nlocation = "kept.x"',
        z='[[registry]]\nprefix = "a.b"\nlocation = "z.x"',
        m='[[registry]]\nprefix = "a.b"\nlocation = "m.x"',
    )
    (tmp_path / "etc/containers/registries.conf.d/zz.txt").write_text("not TOML")
    (tmp_path / "etc/containers/registries.conf.d/folder.conf").mkdir()
    assert places(tmp_path, "a.b/os") == ["z.x/os"]
    assert places(tmp_path, "c.d/os") == ["kept.x/os"]


def test_no_files_at_all(tmp_path: Path) -> None:
    assert places(tmp_path, "quay.io/os") == ["quay.io/os"]


def test_blocked(tmp_path: Path) -> None:
    write(tmp_path, '[[registry]]\nprefix = "a.b/bad"\nblocked = true')
    assert places(tmp_path, "a.b/good") == ["a.b/good"]
    with pytest.raises(RegistryBlockedError, match=r"a\.b/bad"):
        places(tmp_path, "a.b/bad/os")


@pytest.mark.parametrize(
    "text",
    [
        "[[registry",
        "registry = 5",
        "registry = [5]",
        "[[registry]]",
        '[[registry]]\nlocation = 5\nprefix = "a.b"',
        '[[registry]]\nlocation = "a.b"\ninsecure = "maybe"',
        '[[registry]]\nlocation = "https://a.b"',
        '[[registry]]\nprefix = "a.*.b"',
        '[[registry]]\nprefix = "*.a.b/c"',
        '[[registry]]\nlocation = "a.b"\n[[registry.mirror]]\ninsecure = true',
        '[[registry]]\nlocation = "a.b"\n[[registry.mirror]]\nlocation = "http://m.n"',
        (
            '[[registry]]\nlocation = "a.b"\n'
            '[[registry.mirror]]\nlocation = "m.n"\npull-from-mirror = "x"'
        ),
        (
            '[[registry]]\nlocation = "a.b"\nmirror-by-digest-only = true\n'
            '[[registry.mirror]]\nlocation = "m.n"\npull-from-mirror = "all"'
        ),
        '[[registry]]\nprefix = "a.b"\nlocation = "UPPER CASE"',
        '[registries.search]\nregistries = ["a.b"]',
        "# " + "x" * (1 << 20),
    ],
)
def test_wrong_files_are_named(text: str, tmp_path: Path) -> None:
    write(tmp_path, text)
    with pytest.raises(InvalidConfigurationError, match=r"registries\.conf"):
        places(tmp_path, "a.b/os")
