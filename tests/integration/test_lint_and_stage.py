"""The linter and staging have the same rules: odd trees, as a folder and as a layer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.images import build_image, entry, tar_layer, write_oci_layout
from support.machine import Machine, image_files

from bootd.model.errors import ContentError
from bootd.model.lint import LintSeverity
from bootd.operations.lint import all_lints, lint

MODULES = "usr/lib/modules/6.12.0-test"
RULES = {"etc-twice", "kernel", "kernel-arguments", "limits"}
"""The lints of what staging refuses; what the others call fatal is found out by booting."""
SUSE = b'ID="opensuse-microos"\nID_LIKE="suse opensuse"\n'
BIG = b"x" * 100

Files = dict[str, bytes | str | None]

TREES: dict[str, tuple[Files, bool]] = {
    "a plain one": ({}, True),
    "an engine's files beside defaults in /usr/etc": (
        {"etc": b"", "etc/hosts": b"", "etc/resolv.conf": b"", "usr/etc/motd": BIG},
        True,
    ),
    "an engine's link beside defaults in /usr/etc": (
        {"etc": b"", "etc/mtab": "/proc/mounts", "usr/etc/motd": BIG},
        True,
    ),
    "a resolv.conf that says something beside them": (
        {"etc": b"", "etc/resolv.conf": b"nameserver 192.0.2.1\n", "usr/etc/motd": BIG},
        False,
    ),
    "a resolv.conf that is a link beside them": (
        {"etc": b"", "etc/resolv.conf": "../run/resolv.conf", "usr/etc/motd": BIG},
        False,
    ),
    "both folders": ({"usr/etc/motd": BIG}, False),
    "both folders, one with an engine's files only": ({"usr/etc/hosts": b""}, True),
    "both folders on openSUSE": ({"usr/lib/os-release": SUSE, "usr/etc/motd": BIG}, True),
    "openSUSE with a file where folders belong": (
        {"usr/lib/os-release": SUSE, "usr/etc/motd": BIG, "usr/lib/bootd": b"x"},
        False,
    ),
    "/etc as a link": ({"etc": "usr/etc", "usr/etc/motd": BIG}, False),
    "/usr/etc as a file": ({"usr/etc": b"x"}, False),
    "no kernel": ({f"{MODULES}/vmlinuz": b""}, False),
    "a kernel as a link": ({f"{MODULES}/vmlinuz": "/boot/vmlinuz"}, False),
    "a small kernel": ({f"{MODULES}/vmlinuz": b"k" * 64}, False),
    "a kernel just large enough": ({f"{MODULES}/vmlinuz": b"k" * 65}, True),
    "two kernels": ({"usr/lib/modules/7/vmlinuz": BIG, "usr/lib/modules/7/initrd": BIG}, False),
    "an initramfs of the third name": (
        {f"{MODULES}/initramfs.img": None, f"{MODULES}/initrd": BIG},
        False,
    ),
    "a version with a blank": (
        {"usr/lib/modules/6 x/vmlinuz": BIG, "usr/lib/modules/6 x/initrd": BIG},
        False,
    ),
    "a UKI beside the kernel": ({f"{MODULES}/x.efi": BIG, "boot/EFI/Linux/y.efi": BIG}, True),
    "arguments that are no TOML": ({"usr/lib/bootc/kargs.d/9.toml": b"quiet"}, False),
    "arguments as a link": ({"usr/lib/bootc/kargs.d/9.toml": "10-image.toml"}, False),
    "a large file of arguments": (
        {"usr/lib/bootc/kargs.d/9.toml": b"kargs = []\n" + b"#" * 65_536},
        False,
    ),
    "many arguments together": (
        {
            f"usr/lib/bootc/kargs.d/{number}.toml": b"kargs = [%b]" % (b'"a",' * 100)
            for number in range(11)
        },
        False,
    ),
    "arguments under another name": ({"usr/lib/bootc/kargs.d/9.conf": b"quiet"}, True),
}


def files_of(changes: Files) -> Files:
    """The files of a small image with some changes; an empty file in place of a folder removes."""
    files = image_files("v1")
    for path, value in changes.items():
        for name in [name for name in files if name.startswith(f"{path}/") and value is not None]:
            del files[name]
        files.pop(path, None)
        if value is None:
            files[f"{path}/"] = None
        elif path != "etc" or value:
            files[path] = value
    return files


def lay_out(folder: Path, files: Files) -> None:
    for name, value in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match value:
            case None:
                path.mkdir(exist_ok=True)
            case str():
                path.symlink_to(value)
            case _:
                path.write_bytes(value)


def refusal_of_stage(folder: Path, layers: list[bytes]) -> ContentError | None:
    machine = Machine(folder / "root", folder / "image")
    machine.folder.mkdir(parents=True)
    write_oci_layout(machine.image, build_image(layers))
    try:
        machine.upgrade()
    except ContentError as error:
        return error
    return None


def refusals_of_lint(root: Path) -> list[str]:
    skip = {one.rule.id for one in all_lints()} - RULES
    findings = lint(root, skip=skip).findings
    return [one.problem for one in findings if one.severity is LintSeverity.FATAL]


@pytest.mark.parametrize("size", [32_000, 33_000])
def test_they_agree_on_attributes(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = image_files("v1")
    lay_out(tmp_path / "tree", files)
    target = tmp_path / "tree/usr/bin/tool"
    layers = [
        tar_layer(files),
        tar_layer([(entry("usr/bin/tool", xattrs={"user.large": "A" * size}), b"tool")]),
    ]
    refusal = refusal_of_stage(tmp_path, layers)
    monkeypatch.setattr(os, "listxattr", lambda path, **_: ["user.large"] * (path == target))
    monkeypatch.setattr(os, "getxattr", lambda *_, **__: b"A" * size)
    told = refusals_of_lint(tmp_path / "tree")
    assert (refusal is None, not told) == (size < 32_767, size < 32_767)


@pytest.mark.parametrize("name", TREES)
def test_they_agree(name: str, tmp_path: Path) -> None:
    changes, is_fit = TREES[name]
    files = files_of(changes)
    lay_out(tmp_path / "tree", files)
    refusal = refusal_of_stage(tmp_path, [tar_layer(files)])
    told = refusals_of_lint(tmp_path / "tree")
    assert (refusal is None, not told) == (is_fit, is_fit), (refusal, told)
