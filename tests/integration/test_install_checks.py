"""What is known to be wrong with a target is said before an image is asked for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.block_tree import XBOOTLDR_TYPE
from support.installing import (
    disk_image,
    installable_image,
    loop_device,
    mounted_device,
    partition_device,
    tool,
)

from bootd.boot.devices import block_device
from bootd.boot.devices.block_device import ESP_TYPE
from bootd.model.errors import (
    BootdError,
    BootPartitionFullError,
    InvalidArgumentError,
    NoSpaceError,
    TransportError,
)
from bootd.operations.install import install_to_disk, install_to_filesystem
from bootd.operations.install_settings import Settings
from bootd.operations.installing.target import MORE_ROOM, look_at
from bootd.operations.progress import Silent

UNREACHABLE = Settings(image="127.0.0.1:1/os:stable")
"""Asking for that is the first step that is not a check, and fails otherwise."""
EXT4 = ("mkfs.ext4", "-q", "-b", "4096")
OTHER_TYPE = "0fc63daf-8483-4772-8e79-3d69d8477de4"
SIZE = 512 << 20


@contextmanager
def made(
    folder: Path, name: str, make: tuple[str, ...], *, kind: str | None = None, options: str = ""
) -> Iterator[Path]:
    """A new file system, mounted; on a partition if there is a type of one."""
    disk = disk_image(folder / f"{name}.img", SIZE)
    with ExitStack() as stack:
        device = stack.enter_context(
            loop_device(disk) if kind is None else partition_device(disk, kind)
        )
        tool(*make, device)
        yield stack.enter_context(mounted_device(device, folder / name, options or "defaults"))


@contextmanager
def without_disk(folder: Path, name: str, kind: str) -> Iterator[Path]:
    """A file system that lies on no disk, mounted."""
    where = folder / name
    for path in (where, *(folder / f"{name}-{part}" for part in ("lower", "upper", "work"))):
        path.mkdir(exist_ok=True)
    layers = f"lowerdir={where}-lower,upperdir={where}-upper,workdir={where}-work"
    tool("mount", "-t", kind, *(("-o", layers) if kind == "overlay" else ()), kind, where)
    try:
        yield where
    finally:
        tool("umount", where)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    with made(tmp_path, "root", EXT4) as mounted:
        yield mounted


@pytest.fixture
def esp(tmp_path: Path) -> Iterator[Path]:
    with made(tmp_path, "esp", EXT4, kind=ESP_TYPE) as mounted:
        yield mounted


def refused(root: Path, esp: Path, *, error: type[BootdError] = InvalidArgumentError) -> BootdError:
    before = [sorted(path.rglob("*")) for path in (root, esp)]
    with pytest.raises(error) as raised:
        install_to_filesystem(root, esp, UNREACHABLE, Silent())
    assert [sorted(path.rglob("*")) for path in (root, esp)] == before
    assert raised.value.hint
    return raised.value


def accepted(root: Path, esp: Path) -> None:
    """The next thing is to ask for the image."""
    with pytest.raises(TransportError):
        install_to_filesystem(root, esp, UNREACHABLE, Silent())


def test_what_will_do_is_taken(root: Path, esp: Path) -> None:
    accepted(root, esp)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (EXT4, None),
        (EXT4, OTHER_TYPE),
        (EXT4, XBOOTLDR_TYPE),
        (("mkfs.ext2", "-q"), None),
        (("mkfs.xfs", "-q"), ESP_TYPE),
        (("mkfs.btrfs", "-q"), ESP_TYPE),
    ],
)
def test_what_firmware_does_not_read_is_no_esp(
    tmp_path: Path, root: Path, make: tuple[str, ...], kind: str | None
) -> None:
    with made(tmp_path, "boot", make, kind=kind) as boot:
        message = refused(root, boot).message
        assert message == f"{boot} is {make[0][5:]}; firmware starts a machine from VFAT only"


@pytest.mark.parametrize("make", [EXT4, ("mkfs.ext3", "-q")])
def test_what_a_loader_is_started_from_already_is_an_esp(
    tmp_path: Path, root: Path, make: tuple[str, ...]
) -> None:
    with made(tmp_path, "boot", make) as boot:
        refused(root, boot)
        (boot / "EFI/BOOT").mkdir(parents=True)
        (boot / "EFI/BOOT/BOOTIA32.EFI").write_bytes(b"for another architecture")
        refused(root, boot)
        (boot / "EFI/BOOT/BOOTX64.EFI").write_bytes(b"a loader")
        accepted(root, boot)


@pytest.mark.parametrize("kind", ["tmpfs", "overlay"])
def test_what_lies_on_no_disk_is_neither(tmp_path: Path, root: Path, esp: Path, kind: str) -> None:
    with without_disk(tmp_path, "volatile", kind) as volatile:
        assert f"{volatile} is {kind} from '{kind}'" in refused(volatile, esp).message
        assert f"{volatile} is {kind} from '{kind}'" in refused(root, volatile).message


@pytest.mark.parametrize("which", ["root", "esp"])
@pytest.mark.parametrize("how", ["file system", "mount point", "from the beginning"])
def test_what_is_read_only_is_refused(root: Path, esp: Path, which: str, how: str) -> None:
    mounted = {"root": root, "esp": esp}[which]
    match how:
        case "file system":
            tool("mount", "-o", "remount,ro", mounted)
        case "mount point":
            tool("mount", "-o", "remount,bind,ro", mounted)
        case _:
            device = tool("findmnt", "--noheadings", "--output", "SOURCE", mounted).strip()
            tool("umount", mounted)
            tool("mount", "-o", "ro", device, mounted)
    error = refused(root, esp)
    assert error.message == f"{mounted} is mounted read-only"
    assert f"remount,rw {mounted}" in error.hint


def test_one_file_system_is_not_both(tmp_path: Path, root: Path) -> None:
    assert refused(root, root).message == f"{root} and {root} are the same file system"
    (tmp_path / "again").mkdir()
    with mounted_device(root, tmp_path / "again", "bind") as again:
        assert "are the same file system" in refused(root, again).message


def test_two_subvolumes_are_one_file_system(tmp_path: Path) -> None:
    disk = disk_image(tmp_path / "disk.img", SIZE)
    with loop_device(disk) as device:
        tool("mkfs.btrfs", "-q", device)
        with mounted_device(device, tmp_path / "top") as top:
            for name in ("os", "boot"):
                tool("btrfs", "subvolume", "create", top / name)
        with (
            mounted_device(device, tmp_path / "os", "subvol=os") as root,
            mounted_device(device, tmp_path / "boot", "subvol=boot") as boot,
        ):
            assert "are the same file system" in refused(root, boot).message


def test_a_root_without_a_uuid_needs_another_name(tmp_path: Path, esp: Path) -> None:
    make = (*EXT4, "-U", "00000000-0000-0000-0000-000000000000")
    with made(tmp_path, "nameless", make) as root:
        error = refused(root, esp)
        assert "has no UUID that blkid can read" in error.message
        assert "--kernel-argument root=" in error.hint
        image = installable_image(tmp_path / "image")
        named = Settings(image=image, kernel_arguments=("root=PARTLABEL=os",))
        document = install_to_filesystem(root, esp, named, Silent())
        assert document.kernel_arguments[-2:] == ["rw", "root=PARTLABEL=os"]


def test_a_full_esp_is_refused(root: Path, esp: Path) -> None:
    status = os.statvfs(esp)
    with (esp / "full").open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, (status.f_bavail - 3_000) * status.f_frsize)
    message = refused(root, esp, error=BootPartitionFullError).message
    assert message.startswith(f"{esp} has 12 MB of ")


def test_an_esp_too_small_for_this_kernel_is_told_with_the_numbers(
    tmp_path: Path, root: Path, esp: Path
) -> None:
    big = {"usr/lib/modules/6.12.0-test/vmlinuz": os.urandom(30 << 20)}
    settings = Settings(image=installable_image(tmp_path / "image", **big))
    status = os.statvfs(esp)
    full = esp / "full"
    with full.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, (status.f_bavail - 5_000) * status.f_frsize)
    before = [sorted(path.rglob("*")) for path in (root, esp)]
    with pytest.raises(
        BootPartitionFullError, match=r"need 31\.\d MB; .* has 20\.\d MB of"
    ) as raised:
        install_to_filesystem(root, esp, settings, Silent())
    assert raised.value.hint == MORE_ROOM
    assert [sorted(path.rglob("*")) for path in (root, esp)] == before
    with full.open("r+b") as stream:
        stream.truncate((status.f_bavail - 14_000) * status.f_frsize)
    document = install_to_filesystem(root, esp, settings, Silent())
    [warning] = document.warnings
    assert "no second one" in warning


def test_another_type_of_partition_is_told(tmp_path: Path, root: Path) -> None:
    with made(tmp_path, "boot", EXT4, kind=OTHER_TYPE) as boot:
        (boot / "EFI/BOOT").mkdir(parents=True)
        (boot / "EFI/BOOT/BOOTX64.EFI").write_bytes(b"a loader")
        [warning] = look_at(root, boot, "x86_64", (), again=False).warnings
        assert f"sfdisk --part-type {tmp_path}/boot.img 1 {ESP_TYPE}" in warning


def note(sysfs: Path, device: Path, **facts: str) -> Path:
    """Put into a folder what sysfs says of a device; return that device's folder."""
    number = device.stat().st_rdev
    folder = sysfs / f"{os.major(number)}:{os.minor(number)}"
    for name, text in facts.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return folder


@pytest.mark.parametrize("metadata", ["0.90", "1.0", "1.1", "1.2"])
def test_an_array_is_what_its_members_are(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, metadata: str
) -> None:
    # An array takes a kernel with md; what is looked at is what such a one says of it.
    sysfs = tmp_path / "sysfs"
    with ExitStack() as stack:
        esp = stack.enter_context(made(tmp_path, "array", EXT4))
        device = Path(tool("findmnt", "--noheadings", "--output", "SOURCE", esp).strip())
        array = note(sysfs, device, md__metadata_version=metadata)
        disks = [disk_image(tmp_path / name, SIZE) for name in ("one.img", "two.img")]
        for disk in disks:
            member = stack.enter_context(partition_device(disk, ESP_TYPE))
            note(sysfs, member, loop__backing_file=str(disk), loop__offset=str(2048 * 512))
            (array / "slaves" / member.name).mkdir(parents=True)
        monkeypatch.setattr(block_device, "_DEVICES", sysfs)
        if metadata in {"1.1", "1.2"}:
            assert f"an md array with metadata {metadata}" in refused(root, esp).message
            return
        found = look_at(root, esp, "x86_64", (), again=False)
        assert [(one.disk, one.number, one.kind) for one in found.partitions] == [
            (disk, 1, ESP_TYPE) for disk in disks
        ]


@pytest.mark.parametrize("through_a_loop_device", [False, True])
def test_a_file_that_cannot_grow_is_refused(tmp_path: Path, *, through_a_loop_device: bool) -> None:
    settings = Settings(image=installable_image(tmp_path / "image"))
    small = disk_image(tmp_path / "small.img", 40 << 20)
    with loop_device(small) as device, ExitStack() as stack:
        tool(*EXT4, device)
        folder = stack.enter_context(mounted_device(device, tmp_path / "small"))
        file = target = disk_image(folder / "disk.img")
        if through_a_loop_device:
            target = stack.enter_context(loop_device(file))
        with pytest.raises(NoSpaceError, match=f"the file system of {file} has 3. MB free"):
            install_to_disk(target, settings, Silent())
        assert file.stat().st_blocks == 0
        assert subprocess.run(
            ["sfdisk", "--dump", file], capture_output=True, check=False
        ).returncode
