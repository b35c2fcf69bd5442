"""The Debian packages depend on what the project does, and each brings only what its role needs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NAMES = {"pyOpenSSL": "openssl", "PyYAML": "yaml"}
"""What Debian calls a project behind ``python3-``, where that is not its own name."""


DEBIAN = ROOT / "packaging/debian"


def _fields(package: str) -> dict[str, str]:
    """The fields of a package in debian/control by their names, with their lines as they are."""
    control = (DEBIAN / "control").read_text()
    [paragraph] = [
        part for part in control.split("\n\n") if part.startswith(f"Package: {package}\n")
    ]
    return dict(re.findall(r"^([A-Z][\w-]*):((?:.*\n?)(?:^ .*\n?)*)", paragraph, re.MULTILINE))


def _named(package: str, *fields: str) -> set[str]:
    """The packages that fields of a package name."""
    text = ",".join(_fields(package).get(field, "") for field in fields)
    words = (re.split(r"[ (]", one.strip())[0] for one in re.split(r"[,|]", text))
    return {word for word in words if word and not word.startswith("$")}


def test_the_packages_depend_on_what_the_project_depends_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [_fields(package)["Depends"].rstrip() for package in ("bootd-tools", "bootd")]
    depends = ",\n".join([*lists, ""])
    for requirement in project["dependencies"]:
        name, relation, version = re.split("([=>]=)", requirement.partition(",")[0])
        name = _NAMES.get(name, name)
        # An exact version is that of PyPI's, which the tests see; Debian has one anyway.
        least = f" (>= {version})" if relation == ">=" else ""
        assert f"\n python3-{name}{least},\n" in depends, requirement


_SETS_UP = {"bootd", "bootd-dracut", "bootd-initramfs-tools", "dracut", "initramfs-tools"}


def test_tools_bring_nothing_that_changes_how_a_machine_boots() -> None:
    brought = _named("bootd-tools", "Pre-Depends", "Depends", "Recommends")
    assert not brought & {*_SETS_UP, "systemd", "dracut-core", "initramfs-tools-core"}
    places = (DEBIAN / "bootd-tools.install").read_text()
    assert {line.split()[1] for line in places.splitlines()} == {
        *("usr/bin", "usr/lib/python3/dist-packages", "usr/share/dbus-1/interfaces"),
        *("usr/share/bash-completion/completions", "usr/share/zsh/vendor-completions"),
        "usr/share/fish/vendor_completions.d",
    }


def test_no_package_decides_what_builds_the_initramfs() -> None:
    # dracut and initramfs-tools conflict; of each the part without the hooks does not.
    for package in ("bootd", "bootd-tools", "bootd-dracut", "bootd-initramfs-tools"):
        strong = _named(package, "Pre-Depends", "Depends", "Recommends")
        assert not strong & _SETS_UP - {"bootd"}, package
        assert not {"Conflicts", "Breaks", "Replaces", "Provides"} & _fields(package).keys()


def test_pages_that_manuals_name_are_in_the_package() -> None:
    listed = (DEBIAN / "bootd.docs").read_text().split()
    installed = {path for name in listed for path in (ROOT / name, *(ROOT / name).glob("*"))}
    manuals = "".join(path.read_text() for path in sorted((ROOT / "docs/man").glob("*.md")))
    named = re.findall(r"/usr/share/doc/bootd/([\w./-]+)", manuals)
    assert named
    for name in named:
        pattern = re.sub(r"[A-Z]+", "*", name)
        assert set((ROOT / "docs").glob(pattern)) & installed, name
    assert set((ROOT / "docs/schemas").iterdir()) <= installed
    # A page of the checkout is nowhere on a machine; a link leads to one that is there.
    assert not re.findall(r"\bdocs/[\w-]+\.md", manuals)
    for page in (path for path in installed if path.suffix == ".md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            target = (page.parent / link).resolve()
            assert target in installed or target.parent == ROOT / "docs/man", (page, link)
