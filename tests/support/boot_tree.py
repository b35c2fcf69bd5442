"""What the tests of the boot entries share: entries, kernels and GRUB's idea of an order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cmp_to_key
from pathlib import Path

from bootd.boot.entry import BootEntry
from bootd.model.deployment import DeploymentId, KernelFiles
from bootd.model.tree import Directory, Metadata, Node, RegularFile
from bootd.sysroot import Sysroot

KERNEL_DIGEST = "ab" * 32


def deployment_id(number: int) -> DeploymentId:
    return DeploymentId(f"{number:016x}.0")


def boot_entry(
    serial: int, *, tries: int | None = None, done: int = 0, deployment: int = 0xA
) -> BootEntry:
    return BootEntry(
        serial=serial,
        deployment=deployment_id(deployment),
        tries_left=tries,
        tries_done=done,
        title="Test",
        linux=f"/bootd/{KERNEL_DIGEST}/vmlinuz",
        initrds=(f"/bootd/{KERNEL_DIGEST}/initrd",),
        arguments=("quiet", 'name="a b"'),
    )


def install_test_kernel(sysroot: Sysroot) -> None:
    """Put files where `boot_entry` points to."""
    folder = sysroot.boot / "bootd" / KERNEL_DIGEST
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vmlinuz").write_bytes(b"kernel")
    (folder / "initrd").write_bytes(b"initramfs")


def entry_names(sysroot: Sysroot) -> list[str]:
    return sorted(path.name for path in (sysroot.boot / "loader/entries").iterdir())


def store_kernel(sysroot: Sysroot, kernel: bytes, initramfs: bytes, digest: str) -> KernelFiles:
    """Put two objects into the store, under made-up names, and describe them."""
    names = []
    for content in (kernel, initramfs):
        name = f"{len(content) % 251:02x}{content[:1].hex() * 31}"
        path = sysroot.objects / name[:2] / name[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        names.append(name)
    return KernelFiles(
        version="6.12.0-test",
        kernel_object=names[0],
        initramfs_object=names[1],
        kernel_size=len(kernel),
        initramfs_size=len(initramfs),
        digest=digest,
    )


def tree_of(files: Mapping[str, Node]) -> Directory:
    """Return a root folder with nodes at some paths, and the folders they need."""
    root = Directory(Metadata())
    for path, node in files.items():
        *parents, name = path.strip("/").encode().split(b"/")
        folder = root
        for parent in parents:
            child = folder.entries.setdefault(parent, Directory(Metadata()))
            assert isinstance(child, Directory)
            folder = child
        folder.entries[name] = node
    return root


def large_file(letter: str, size: int = 1000) -> RegularFile:
    return RegularFile(Metadata(), size, verity=bytes.fromhex(letter * 64))


def small_file(content: bytes) -> RegularFile:
    return RegularFile(Metadata(), len(content), content=content)


class InlineContents:
    """Reads files that carry their content."""

    def read(self, file: RegularFile) -> bytes:
        assert file.content is not None
        return file.content


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def grub_order(names: list[str]) -> list[str]:
    """Sort file names as GRUB's blscfg does: as RPM name, version and release, newest first."""
    return sorted(names, key=cmp_to_key(_compare_packages), reverse=True)


def _compare_packages(first: str, second: str) -> int:
    for one, other in zip(_split_package(first), _split_package(second), strict=True):
        if result := _compare_rpm(one, other):
            return result
    return 0


def _split_package(file_name: str) -> tuple[str, str, str]:
    name, version, release = [*file_name.removesuffix(".conf").rsplit("-", 2), "", ""][:3]
    return name, version, release


def _compare_rpm(first: str, second: str) -> int:
    """Compare as rpmvercmp does, for strings without tilde and caret."""
    pattern = re.compile("[0-9]+|[A-Za-z]+")
    ones, others = pattern.findall(first), pattern.findall(second)
    for one, other in zip(ones, others, strict=False):
        if one[0].isdigit() != other[0].isdigit():
            return 1 if one[0].isdigit() else -1
        key = (int(one), int(other)) if one[0].isdigit() else (one, other)
        if key[0] != key[1]:
            return 1 if key[0] > key[1] else -1
    return (len(ones) > len(others)) - (len(ones) < len(others))
