"""Installation for real: partitions, file systems, what is on them; refusals; second attempts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import stopped_installation
from support.efibootmgr import efibootmgr_in
from support.installing import (
    KEY,
    LOADER,
    disk_image,
    installable_image,
    loop_device,
    mounted_device,
    partition_device,
    partition_options,
    tool,
)
from support.machine import Machine

from bootd.boot.devices.block_device import ESP_TYPE, is_removable
from bootd.boot.loader.firmware import Firmware
from bootd.model.documents import InstallDocument
from bootd.model.errors import (
    AlreadyInstalledError,
    BootdError,
    DeviceInUseError,
    DeviceNotEmptyError,
    InvalidArgumentError,
    InvalidTreeError,
    NoBootLoaderError,
    NoFirmwareError,
    NoKernelError,
    NoSpaceError,
    TransportError,
)
from bootd.operations.install import (
    RootFileSystem,
    install,
    install_to_disk,
    install_to_filesystem,
)
from bootd.operations.install_settings import Settings
from bootd.operations.progress import Silent

FOLLOWED = "registry.example/os:stable"


@pytest.fixture
def image(tmp_path: Path) -> str:
    return installable_image(tmp_path / "image")


@pytest.fixture
def settings(image: str) -> Settings:
    return Settings(
        image=image,
        follow=FOLLOWED,
        kernel_arguments=("console=ttyS0",),
        root_keys=KEY,
        hostname="web1",
    )


@dataclass(frozen=True)
class Installed:
    """A disk's two partitions; the root one is mounted on `root`."""

    esp: Path
    device: Path
    root: Path

    @property
    def store(self) -> Path:
        return self.root / "bootd"


@contextmanager
def opened(disk: Path, folder: Path, options: str = "ro") -> Iterator[Installed]:
    esp, root = partition_options(disk)
    with (
        loop_device(disk, *esp) as esp_device,
        loop_device(disk, *root) as device,
        mounted_device(device, folder / "opened", options) as mounted,
    ):
        yield Installed(esp_device, device, mounted)


def check_root(found: Installed, document: InstallDocument) -> None:
    deployment = found.store / "deployments" / document.deployment
    etc = deployment / "etc"
    assert (etc / "hostname").read_text() == "web1\n"
    assert (etc / "machine-id").read_text() == "uninitialized\n"
    assert (etc / "motd").read_text().startswith("welcome to v1")
    assert json.loads((found.store / "intent.json").read_bytes())["image"] == FOLLOWED
    assert not (found.store / "installation-unfinished").exists()
    assert sorted(path.name for path in found.root.iterdir()) in (
        ["bootd"],
        ["bootd", "lost+found"],
    )
    assert not list(found.store.rglob(".new-*"))
    uuid = tool("blkid", "-p", "-s", "UUID", "-o", "value", found.device).strip()
    record = json.loads((deployment / "deployment.json").read_bytes())
    asked = record["image_arguments"]
    assert asked[:2] == ["quiet", "image=v1"]
    machine = [f"root=UUID={uuid}", "rw", "console=ttyS0"]
    assert record["kernel_arguments"] == [*asked, *machine]
    assert document.kernel_arguments == record["kernel_arguments"]


def check_var(var: Path) -> None:
    keys = var / "roothome/.ssh/authorized_keys"
    assert keys.read_bytes() == KEY
    assert (keys.stat().st_mode & 0o7777, keys.parent.stat().st_mode & 0o7777) == (0o600, 0o700)
    assert (keys.stat().st_uid, keys.parent.stat().st_uid) == (0, 0)
    odd, other = var / "lib/odd", var / "lib/other-name"
    assert odd.samefile(other)
    status = odd.stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o4710, 33, 44)
    assert os.getxattr(odd, "user.note") == b"kept"
    assert (var / "lib/seed").read_bytes() == b"image's own var\n"
    assert not (var / ".updated").exists()


def check_esp(esp: Path, document: InstallDocument) -> None:
    tool("fsck.vfat", "-n", esp)
    names = set(tool("mdir", "-/", "-b", "-i", esp, "::/").split())
    entry = f"::/loader/entries/{document.entry}"
    assert {entry, "::/loader/loader.conf", "::/loader/entries.srel"} <= names
    assert document.entry.endswith("+3-0.conf")
    text = tool("mtype", "-i", esp, entry)
    options = " ".join([*document.kernel_arguments, f"bootd={document.deployment}"])
    assert options.split()[-1] in text
    assert all(argument in text for argument in document.kernel_arguments)
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key in {"linux", "initrd"}:
            assert f"::{value.strip()}" in names
    assert "default bootd-*" in tool("mtype", "-i", esp, "::/loader/loader.conf")
    for name in ("systemd/systemd-bootx64.efi", "BOOT/BOOTX64.EFI"):
        assert tool("mtype", "-i", esp, f"::/EFI/{name}").encode() == LOADER


CHECKS = {
    "ext4": ("e2fsck", "-f", "-n"),
    "btrfs": ("btrfs", "check", "--readonly"),
    "xfs": ("xfs_repair", "-n"),
}


@pytest.mark.parametrize("filesystem", CHECKS)
def test_a_disk_image_becomes_a_machine(
    tmp_path: Path, settings: Settings, filesystem: str
) -> None:
    disk = disk_image(tmp_path / "disk.img")
    document = install_to_disk(disk, settings, Silent(), filesystem=filesystem)
    assert (document.device, document.filesystem) == (str(disk), filesystem)
    tool("sfdisk", "--verify", disk)
    dump = tool("sfdisk", "--dump", disk)
    assert "label: gpt" in dump
    types = [line.split("type=")[1].split(",")[0] for line in dump.splitlines() if "type=" in line]
    assert [one.lower() for one in types] == [
        "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
        "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
    ]
    with opened(disk, tmp_path) as found:
        check_root(found, document)
        check_var(found.store / "var")
        check_esp(found.esp, document)
        if filesystem == "ext4":
            assert "verity" in tool("dumpe2fs", "-h", found.device)
    _, root = partition_options(disk)
    with loop_device(disk, *root) as device:
        tool(*CHECKS[filesystem], device)


def test_a_block_device_becomes_a_machine_that_the_kernel_sees(
    tmp_path: Path, settings: Settings
) -> None:
    disk = disk_image(tmp_path / "disk.img")
    with loop_device(disk) as device:
        document = install_to_disk(device, settings, Silent())
        listing = tool("lsblk", "--noheadings", "--list", "--output", "TYPE", device)
        assert listing.split() == ["loop", "part", "part"]
    with opened(disk, tmp_path) as found:
        check_root(found, document)


@pytest.fixture
def firmware(tmp_path: Path) -> Firmware:
    (tmp_path / "efi").mkdir()
    return Firmware(tmp_path / "efi")


def test_this_machine_s_firmware_starts_its_new_disk(
    tmp_path: Path, settings: Settings, firmware: Firmware, monkeypatch: pytest.MonkeyPatch
) -> None:
    efibootmgr = efibootmgr_in(tmp_path, monkeypatch)
    disk = disk_image(tmp_path / "disk.img")
    with loop_device(disk) as device:
        document = install_to_disk(device, settings, Silent(), firmware=firmware)
        [entry] = document.firmware_entries
        assert (entry.number, entry.problem) == ("0002", None)
        assert entry.partition == tool("sfdisk", "--part-uuid", device, "1").strip().lower()
        assert efibootmgr.state["order"] == ["0002", "0000", "0004", "0001"]
        [made] = efibootmgr.changes()
        assert made[:5] == ["--create", "--disk", str(device), "--part", "1"]
        path = made[made.index("--loader") + 1].replace("\\", "/")
        with loop_device(disk, *partition_options(disk)[0]) as esp:
            assert tool("mtype", "-i", esp, f"::{path}").encode() == LOADER
        wiped = install_to_disk(device, settings, Silent(), firmware=firmware, wipe=True)
        assert wiped.firmware_entries[0].number == "0003"


def test_firmware_that_takes_no_entry_is_told_and_the_machine_is_there(
    tmp_path: Path, settings: Settings, firmware: Firmware, monkeypatch: pytest.MonkeyPatch
) -> None:
    efibootmgr_in(tmp_path, monkeypatch).change(broken=True)
    boot = disk_image(tmp_path / "boot.img", 1 << 30)
    table = f"label: gpt\nsize=512MiB, type={ESP_TYPE}\n".encode()
    subprocess.run(["sfdisk", "--quiet", boot], input=table, check=True)
    with (
        two_file_systems(tmp_path, ("mkfs.ext4", "-q"), "defaults") as (root, _, _),
        loop_device(boot) as disk,
    ):
        tool("partx", "--add", disk)
        tool("mkfs.ext4", "-q", f"{disk}p1")
        with mounted_device(Path(f"{disk}p1"), tmp_path / "efi-partition") as esp:
            document = install_to_filesystem(root, esp, settings, Silent(), firmware=firmware)
            check_tree(esp, document)
        [entry] = document.firmware_entries
        assert entry.problem is not None
        assert "No space left on device" in entry.problem
        assert entry.partition == tool("sfdisk", "--part-uuid", disk, "1").strip().lower()
        assert f"--disk {disk} --part 1" in entry.command


def test_a_partition_in_a_file_is_for_another_machine(
    tmp_path: Path, settings: Settings, firmware: Firmware, monkeypatch: pytest.MonkeyPatch
) -> None:
    efibootmgr = efibootmgr_in(tmp_path, monkeypatch)
    with two_file_systems(tmp_path, ("mkfs.ext4", "-q"), "defaults") as (root, esp, _):
        document = install_to_filesystem(root, esp, settings, Silent(), firmware=firmware)
    assert (document.firmware_entries, document.warnings) == ([], [])
    assert efibootmgr.state["calls"] == []


def test_a_disk_for_another_machine_leaves_the_firmware_alone(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    efibootmgr = efibootmgr_in(tmp_path, monkeypatch)
    absent = Firmware(tmp_path / "absent")
    disk = disk_image(tmp_path / "disk.img")
    assert install_to_disk(disk, settings, Silent(), firmware=absent).firmware_entries == []
    with loop_device(disk) as device:
        assert not is_removable(device)
        document = install_to_disk(device, settings, Silent(), wipe=True)
        assert document.firmware_entries == []
    assert efibootmgr.state["calls"] == []


def test_a_machine_without_efi_is_refused_before_all_else(tmp_path: Path) -> None:
    absent = Firmware(tmp_path / "absent")
    unreachable = Settings(image="127.0.0.1:1/os:stable")
    with loop_device(disk_image(tmp_path / "disk.img")) as device:
        with pytest.raises(NoFirmwareError, match="not started by EFI firmware"):
            install_to_disk(device, unreachable, Silent(), firmware=absent)
        with device.open("rb") as stream:
            assert not any(stream.read(1 << 20))
    nowhere = tmp_path / "nowhere"
    with pytest.raises(NoFirmwareError, match="not started by EFI firmware"):
        install_to_filesystem(nowhere, nowhere, unreachable, Silent(), firmware=absent)


def test_large_sectors(tmp_path: Path, settings: Settings) -> None:
    disk = disk_image(tmp_path / "disk.img")
    with loop_device(disk, "--sector-size", "4096") as device:
        document = install_to_disk(device, settings, Silent(), filesystem="xfs")
        check_esp(Path(f"{device}p1"), document)
        with mounted_device(Path(f"{device}p2"), tmp_path / "root", "ro") as root:
            assert "sectsz=4096" in tool("xfs_info", root)


@pytest.fixture
def full(tmp_path: Path, settings: Settings) -> Path:
    """A disk with a machine."""
    disk = disk_image(tmp_path / "disk.img")
    install_to_disk(disk, settings, Silent())
    return disk


def refused(disk: Path, settings: Settings, error: type[BootdError], *, wipe: bool = True) -> str:
    before = tool("sfdisk", "--dump", disk)
    with pytest.raises(error) as raised:
        install_to_disk(disk, settings, Silent(), wipe=wipe)
    assert tool("sfdisk", "--dump", disk) == before
    return raised.value.message


def test_a_disk_that_holds_something_needs_wipe(full: Path, settings: Settings) -> None:
    message = refused(full, settings, DeviceNotEmptyError, wipe=False)
    assert message == f"{full} holds a partition table with 2 partitions: esp, bootd"
    install_to_disk(full, settings, Silent(), wipe=True, filesystem="btrfs")


@pytest.mark.parametrize("what", ["ext4", "swap", "data of a kind that is not known"])
def test_what_a_disk_holds_is_named(tmp_path: Path, settings: Settings, what: str) -> None:
    disk = disk_image(tmp_path / "disk.img")
    match what:
        case "ext4":
            tool("mkfs.ext4", "-q", disk)
        case "swap":
            tool("mkswap", disk)
        case _:
            with disk.open("r+b") as stream:
                stream.seek(1_000_000)
                stream.write(b"x")
    with pytest.raises(DeviceNotEmptyError, match=rf"holds {what}$"):
        install_to_disk(disk, settings, Silent())


def test_disks_in_use_are_refused(full: Path, tmp_path: Path, settings: Settings) -> None:
    with opened(full, tmp_path) as found:
        message = refused(full, settings, DeviceInUseError)
        assert f"{found.device} is mounted on {found.root}" in message
        assert f"{found.esp} is attached to it" in message
    with loop_device(full) as device:
        tool("partx", "--add", device)
        with mounted_device(Path(f"{device}p2"), tmp_path / "part"):
            message = refused(device, settings, DeviceInUseError)
        assert message == f"{device} is in use: {device}p2 is mounted on {tmp_path}/part"
        with pytest.raises(InvalidArgumentError, match="p1 is a partition"):
            install_to_disk(Path(f"{device}p1"), settings, Silent())
        held = os.open(device, os.O_RDONLY | os.O_EXCL)
        try:
            refused(device, settings, DeviceInUseError)
        finally:
            os.close(held)


def test_a_disk_that_is_too_small_is_refused(tmp_path: Path, settings: Settings) -> None:
    disk = disk_image(tmp_path / "disk.img", 2 << 30)
    with pytest.raises(NoSpaceError, match="an installation may need 2,150 MB"):
        install_to_disk(disk, settings, Silent())
    assert not any(disk.read_bytes()[: 1 << 20])


@pytest.mark.parametrize("path", ["missing", "folder", "/dev/null"])
def test_what_is_no_disk_is_refused(tmp_path: Path, settings: Settings, path: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidArgumentError):
        install_to_disk(tmp_path / path, settings, Silent())


def test_a_disk_that_is_read_only_is_refused(tmp_path: Path, settings: Settings) -> None:
    with (
        loop_device(disk_image(tmp_path / "disk.img"), "--read-only") as device,
        pytest.raises(InvalidArgumentError, match="is read-only"),
    ):
        install_to_disk(device, settings, Silent())


def test_an_image_that_cannot_be_had_leaves_the_disk_alone(full: Path) -> None:
    refused(full, Settings(image="127.0.0.1:1/os:stable"), TransportError)


@pytest.mark.parametrize(
    ("missing", "error"),
    [
        (
            {
                "usr/lib/systemd/boot/efi/systemd-bootx64.efi": "",
                "usr/lib/systemd/boot/efi/systemd-bootx64.efi.signed": "",
                "usr/lib/systemd/boot/efi/systemd-bootaa64.efi": "",
            },
            NoBootLoaderError,
        ),
        ({"usr/lib/modules/6.12.0-test/vmlinuz": ""}, NoKernelError),
    ],
)
def test_an_image_that_cannot_boot_leaves_everything_alone(
    tmp_path: Path, settings: Settings, missing: dict[str, str], error: type[BootdError]
) -> None:
    installable_image(tmp_path / "image", **missing)
    disk = disk_image(tmp_path / "disk.img")
    with pytest.raises(error):
        install_to_disk(disk, settings, Silent())
    assert disk.stat().st_blocks == 0
    with two_file_systems(tmp_path, ("mkfs.ext4", "-q"), "defaults") as (root, esp, _):
        with pytest.raises(error):
            install_to_filesystem(root, esp, settings, Silent())
        assert [path.name for path in (*root.iterdir(), *esp.iterdir())] == ["lost+found"] * 2


def test_a_failure_leaves_an_unfinished_disk_that_can_be_taken_again(
    tmp_path: Path, settings: Settings
) -> None:
    disk = disk_image(tmp_path / "disk.img")
    installable_image(tmp_path / "image", root=None)
    with pytest.raises(InvalidTreeError):
        install_to_disk(disk, settings, Silent())
    assert 'name="bootd-unfinished"' in tool("sfdisk", "--dump", disk)
    assert tool("losetup", "--noheadings", "--associated", disk) == ""
    installable_image(tmp_path / "image")
    document = install_to_disk(disk, settings, Silent())
    with opened(disk, tmp_path) as found:
        check_root(found, document)


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGTERM, stopped_installation.CANCELLED),
        (signal.SIGHUP, stopped_installation.CANCELLED),
        (signal.SIGINT, stopped_installation.INTERRUPTED),
    ],
)
def test_a_signal_leaves_nothing_attached(
    tmp_path: Path, image: str, number: signal.Signals, status: int
) -> None:
    disk = disk_image(tmp_path / "disk.img")
    command = [sys.executable, stopped_installation.__file__, disk, image, str(int(number))]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert done.returncode == status, done.stderr
    assert tool("losetup", "--noheadings", "--associated", disk) == ""
    assert 'name="bootd-unfinished"' in tool("sfdisk", "--dump", disk)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


@contextmanager
def two_file_systems(folder: Path, make: tuple[str, ...], options: str) -> Iterator[list[Path]]:
    """A root file system and another one, mounted, as an installer of somebody's mounts them."""
    disks = [disk_image(folder / name, 1 << 30) for name in ("root.img", "esp.img")]
    with (
        loop_device(disks[0]) as root_device,
        partition_device(disks[1], ESP_TYPE) as esp_device,
    ):
        tool(*make, root_device)
        # What mounts it as VFAT is not in every kernel; an ESP by its type is taken as one.
        tool("mkfs.ext4", "-q", esp_device)
        if "subvol" in options:
            with mounted_device(root_device, folder / "top") as top:
                tool("btrfs", "subvolume", "create", top / "os")
        with (
            mounted_device(root_device, folder / "target", options) as root,
            mounted_device(esp_device, folder / "esp") as esp,
        ):
            yield [root, esp, root_device]


def check_tree(esp: Path, document: InstallDocument) -> None:
    assert (esp / "loader/entries" / document.entry).is_file()
    assert (esp / "EFI/BOOT/BOOTX64.EFI").read_bytes() == LOADER


@pytest.mark.parametrize(
    ("make", "options", "flags"),
    [
        (("mkfs.ext4", "-q"), "defaults", []),
        (("mkfs.btrfs", "-q"), "subvol=os", ["rootflags=subvol=/os"]),
    ],
)
def test_mounted_file_systems_become_a_machine(
    tmp_path: Path, settings: Settings, make: tuple[str, ...], options: str, flags: list[str]
) -> None:
    with two_file_systems(tmp_path, make, options) as (root, esp, device):
        (root / "mine").write_text("somebody's\n")
        (esp / "EFI").mkdir()
        (esp / "EFI/other").write_text("another system's\n")
        document = install_to_filesystem(root, esp, settings, Silent())
        assert document.device is None
        uuid = tool("blkid", "-p", "-s", "UUID", "-o", "value", device).strip()
        assert document.kernel_arguments[-3 - len(flags) :] == [
            f"root=UUID={uuid}",
            *flags,
            "rw",
            "console=ttyS0",
        ]
        check_var(root / "bootd/var")
        check_tree(esp, document)
        assert (root / "mine").exists()
        assert (esp / "EFI/other").exists()
        with pytest.raises(AlreadyInstalledError, match="holds an installed machine"):
            install_to_filesystem(root, esp, settings, Silent())
        check_tree(esp, document)


def test_programs_of_others_on_the_esp_are_left_alone(tmp_path: Path, settings: Settings) -> None:
    theirs = {
        "EFI/BOOT/BOOTX64.EFI": b"MZ shim of another system",
        "EFI/BOOT/fbx64.efi": b"MZ what its shim starts",
        "EFI/systemd/systemd-bootx64.efi": b"MZ #### LoaderInfo: systemd-boot 999 ####",
        "EFI/Microsoft/Boot/bootmgfw.efi": b"MZ Windows",
        "loader/loader.conf": b"timeout 3\n default arch-*\neditor no\n",
        "loader/entries/arch-linux.conf": b"title Arch\nlinux /vmlinuz-arch\n",
    }
    with two_file_systems(tmp_path, ("mkfs.ext4", "-q"), "defaults") as (root, esp, _):
        for name, data in theirs.items():
            (esp / name).parent.mkdir(parents=True, exist_ok=True)
            (esp / name).write_bytes(data)
        document = install_to_filesystem(root, esp, settings, Silent())
        assert {name: (esp / name).read_bytes() for name in theirs} == theirs
        assert document.loader == "EFI/bootd/systemd-bootx64.efi"
        assert (esp / document.loader).read_bytes() == LOADER
        *loaders, default = document.warnings
        assert [one.split(" is ")[0] for one in loaders] == [
            "EFI/systemd/systemd-bootx64.efi",
            "EFI/BOOT/BOOTX64.EFI",
        ]
        assert "The default of another system, arch-*, stays" in default
        assert "; arch-linux.conf boots next" in default
        tool("sh", "-c", default.partition("default: ")[2])
        settled = (esp / "loader/loader.conf").read_bytes()
        assert settled == b"timeout 3\ndefault bootd-*\neditor no\n"


def test_an_esp_without_a_free_name_for_a_loader_is_told(
    tmp_path: Path, settings: Settings, firmware: Firmware
) -> None:
    taken = ("EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi")
    with two_file_systems(tmp_path, ("mkfs.ext4", "-q"), "defaults") as (root, esp, _):
        for name in (*taken, "EFI/bootd/systemd-bootx64.efi"):
            (esp / name).parent.mkdir(parents=True, exist_ok=True)
            (esp / name).write_bytes(b"MZ of a machine that was here before")
        document = install_to_filesystem(root, esp, settings, Silent(), firmware=firmware)
        assert (document.loader, document.firmware_entries) == (None, [])
        assert [one.split()[0] for one in document.warnings[:-1]] == list(taken)[::-1]
        assert document.warnings[-1].startswith("No name for a boot loader was free")


def test_folders_that_are_no_mount_points_are_refused(tmp_path: Path, settings: Settings) -> None:
    with two_file_systems(tmp_path, ("mkfs.ext4", "-q"), "defaults") as (root, esp, _):
        (root / "below").mkdir()
        for pair in ((root / "below", esp), (root, root / "below"), (tmp_path / "none", esp)):
            with pytest.raises(InvalidArgumentError, match="nothing is mounted on"):
                install_to_filesystem(*pair, settings, Silent())
        with (
            mounted_device(root / "below", tmp_path / "bound", "bind") as bound,
            pytest.raises(InvalidArgumentError, match="not its top"),
        ):
            install_to_filesystem(bound, esp, settings, Silent())
        assert sorted(path.name for path in root.iterdir()) == ["below", "lost+found"]


def test_the_command_line(tmp_path: Path, image: str) -> None:
    disk = disk_image(tmp_path / "disk.img")
    keys = tmp_path / "keys"
    keys.write_bytes(KEY)
    words = ["--follow", FOLLOWED, "--kernel-argument", "console=ttyS0", "--hostname", "web1"]
    words += ["--root-ssh-key", str(keys), "--image", image, "--json=short"]
    program = "import sys; from bootd.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "install", "to-disk", str(disk), *words]
    document = InstallDocument.model_validate_json(tool(*command))
    assert document.follows == FOLLOWED
    with opened(disk, tmp_path) as found:
        check_root(found, document)
        check_var(found.store / "var")
    again = subprocess.run(command, capture_output=True, check=False)
    assert again.returncode == 4
    assert json.loads(again.stdout)["code"] == "device-not-empty"


def test_the_first_upgrade_keeps_what_the_installer_said(tmp_path: Path, image: str) -> None:
    machine = Machine(tmp_path / "root", tmp_path / "image")
    machine.folder.mkdir()
    root = RootFileSystem("ext4", "0b5a4a0e-7a0c-4b0e-9d0e-2f6c1c1f7a11")
    settings = Settings(image=image, hostname="web1", kernel_arguments=("console=ttyS0",))
    install(machine.host, root, settings, Silent())
    first = machine.power_on()
    (machine.etc(first) / "machine-id").write_text("4" * 32 + "\n")
    installable_image(tmp_path / "image", "v2")
    second = machine.upgrade()
    assert machine.reboot() == second != first
    arguments = machine.sysroot.read_deployment(second).kernel_arguments
    assert {"image=v2", "root=UUID=" + root.uuid, "rw", "console=ttyS0"} <= set(arguments)
    assert "image=v1" not in arguments
    assert (machine.etc(second) / "hostname").read_text() == "web1\n"
    assert (machine.etc(second) / "machine-id").read_text() == "4" * 32 + "\n"
