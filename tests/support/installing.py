"""What the tests of the installer share: an image that can be installed, disks in files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.images import build_oci_layout, entry, tar_layer
from support.machine import image_files

LOADER = b"MZ a boot loader " * 300
KEY = (
    b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKq0v2yq5m1uJ8m6o0xw0y0xJr3w2cQkQ1rXl3b5s7tU root@desk\n"
)
NOT_IN_ETC = b"a host could not tell this from another\n" * 9


def installable_image(folder: Path, version: str = "v1", **more: bytes | str | None) -> str:
    """Put an image under the tag ``latest`` of an OCI layout folder; return its reference.

    A value of None in `more` makes a folder; the name of what is left out is given with "".
    """
    files = image_files(
        version,
        **{
            "root": "var/roothome",
            "usr/lib/systemd/boot/": None,
            "usr/lib/systemd/boot/efi/": None,
            "usr/lib/systemd/boot/efi/systemd-bootx64.efi": b"MZ not signed" * 9,
            "usr/lib/systemd/boot/efi/systemd-bootx64.efi.signed": LOADER,
            "usr/lib/systemd/boot/efi/systemd-bootaa64.efi": LOADER,
            "etc/machine-id": b"0123456789abcdef0123456789abcdef\n",
            "var/roothome/": None,
            "var/lib/": None,
            "var/.updated": b"when the image was built\n",
            **more,
        },
    )
    files = {name: value for name, value in files.items() if value != ""}
    odd = [
        (
            entry("var/lib/odd", mode=0o4710, uid=33, gid=44, xattrs={"user.note": "kept"}),
            NOT_IN_ETC,
        ),
        (entry("var/lib/other-name", b"1", target="var/lib/odd"), b""),
    ]
    build_oci_layout(
        folder,
        [tar_layer(files), tar_layer(odd)],
        labels={"org.opencontainers.image.version": version},
    )
    return f"oci:{folder}:latest"


def tool(*command: str | Path) -> str:
    """What a program prints; it must succeed."""
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout.decode()}{done.stderr.decode()}"
    return done.stdout.decode()


def disk_image(path: Path, size: int = 4 << 30) -> Path:
    """An empty disk in a sparse file."""
    path.touch()
    os.truncate(path, size)
    return path


@contextmanager
def loop_device(path: Path, *options: str) -> Iterator[Path]:
    """A block device that is a file."""
    device = Path(tool("losetup", "--find", "--show", *options, path).strip())
    try:
        yield device
    finally:
        subprocess.run(["partx", "--delete", device], capture_output=True, check=False)
        tool("losetup", "--detach", device)


@contextmanager
def partition_device(disk: Path, kind: str) -> Iterator[Path]:
    """A block device that is the only partition of a disk, of a type in its partition table."""
    script = f"label: gpt\nstart=2048, type={kind}\n".encode()
    subprocess.run(["sfdisk", "--quiet", disk], input=script, check=True)
    with loop_device(disk, "--offset", str(2048 * 512)) as device:
        yield device


@contextmanager
def mounted_device(device: Path, folder: Path, options: str = "defaults") -> Iterator[Path]:
    """A file system that is mounted."""
    folder.mkdir(exist_ok=True)
    tool("mount", "-o", options, device, folder)
    try:
        yield folder
    finally:
        tool("umount", folder)


def partition_options(disk: Path) -> Sequence[tuple[str, ...]]:
    """How to attach the first and the second partition of a disk, as losetup's options."""
    lines = [line for line in tool("sfdisk", "--dump", disk).splitlines() if "start=" in line]
    pairs = [line.split("start=")[1].split(",")[:2] for line in lines]
    numbers = [(int(start), int(size.split("=")[1])) for start, size in pairs]
    return [
        ("--offset", str(start * 512), "--sizelimit", str(size * 512)) for start, size in numbers
    ]
