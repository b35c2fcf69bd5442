"""The boot loader stays whole and becomes new: by upgrades, fsck and starts of the daemon."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.installing import LOADER, installable_image
from support.loader_program import systemd_boot
from support.machine import Machine

from bootd.model.documents import Damage
from bootd.operations.fsck import fsck
from bootd.operations.install import install
from bootd.operations.install_settings import Settings
from bootd.operations.installing.target import RootFileSystem
from bootd.operations.progress import Silent
from bootd.operations.recover import recover
from bootd.operations.rollback import rollback
from bootd.operations.stage import stage
from bootd.operations.status import status

FOLDER = "usr/lib/systemd/boot/efi"
IMAGE_LOADER = f"{FOLDER}/systemd-bootx64.efi.signed"
UNSIGNED = f"{FOLDER}/systemd-bootx64.efi"
USUAL = "EFI/systemd/systemd-bootx64.efi"
REMOVABLE = "EFI/BOOT/BOOTX64.EFI"
PREVIOUS = "EFI/bootd/systemd-bootx64-previous.efi"
REPLACED = "EFI/bootd/BOOTX64-replaced.efi"
BOOTDS = "EFI/bootd/systemd-bootx64.efi"
V257, V258 = systemd_boot("257.8-1~deb13u1"), systemd_boot("258.2-1")
ANOTHER = systemd_boot("999")


@pytest.fixture(autouse=True)
def x86(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


def release(machine: Machine, version: str, loader: bytes | str) -> None:
    """Publish a version with a loader; "" for none."""
    others = {UNSIGNED: ""} if loader == "" else {}
    installable_image(machine.image, version, **{IMAGE_LOADER: loader, **others})


def installed(folder: Path, loader: bytes = V257, **theirs: bytes) -> Machine:
    """A machine that was installed with a loader, and runs."""
    machine = Machine(folder / "root", folder / "image")
    (machine.folder / "boot").mkdir(parents=True)
    for name, data in theirs.items():
        put(machine, name, data)
    release(machine, "v1", loader)
    root = RootFileSystem("ext4", "1234")
    install(machine.host, root, Settings(image=machine.reference), Silent())
    machine.power_on()
    return machine


def put(machine: Machine, name: str, data: bytes) -> None:
    path = machine.sysroot.boot / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def read(machine: Machine, name: str) -> bytes | None:
    path = machine.sysroot.boot / name
    return path.read_bytes() if path.is_file() else None


def both(machine: Machine) -> set[bytes | None]:
    return {read(machine, USUAL), read(machine, REMOVABLE)}


def damages(machine: Machine, *, repair: bool = True) -> list[Damage]:
    found = fsck(machine.host, Silent(), repair=repair).damages
    return [one for one in found if one.what == "loader"]


def upgrade_to(machine: Machine, version: str, loader: bytes | str) -> None:
    release(machine, version, loader)
    machine.upgrade()
    machine.reboot()


def test_a_new_loader_comes_with_the_image_that_proved_itself(tmp_path: Path) -> None:
    machine = installed(tmp_path)
    assert both(machine) == {V257}
    release(machine, "v2", V258)
    machine.upgrade()
    machine.reboot(healthy=False)
    assert both(machine) == {V257}
    machine.power_on()
    assert both(machine) == {V258}
    assert read(machine, PREVIOUS) == V257
    found = status(machine.host)
    assert (found.boot_loader, found.image_boot_loader) == ("systemd-boot 258.2-1",) * 2
    assert not found.problems
    assert not damages(machine)


def test_a_loader_without_a_version_is_taken_for_new(tmp_path: Path) -> None:
    machine = installed(tmp_path, LOADER)
    upgrade_to(machine, "v2", LOADER + b"2")
    assert both(machine) == {LOADER + b"2"}


def test_what_could_not_be_done_when_it_was_blessed_is_done_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = installed(tmp_path)
    with monkeypatch.context() as full:
        full.setattr("bootd.boot.loader.install._RESERVE", 1 << 60)
        upgrade_to(machine, "v2", V258)
        assert both(machine) == {V257}
        [problem] = status(machine.host).problems
        assert problem.startswith(
            "the boot loader is systemd-boot 257.8-1~deb13u1, and the image has systemd-boot "
            "258.2-1, which was not installed: the boot loader needs"
        )
        [damage] = damages(machine)
        assert (damage.problem[:150], damage.repaired) == (problem[:150], False)
    recover(machine.host)
    assert both(machine) == {V258}
    assert not status(machine.host).problems


@pytest.mark.parametrize("loader", [systemd_boot("256.1"), systemd_boot("257.8-1~deb13u1~rc1")])
def test_an_older_loader_never_comes(tmp_path: Path, loader: bytes) -> None:
    machine = installed(tmp_path)
    upgrade_to(machine, "v2", loader)
    assert both(machine) == {V257}
    assert not status(machine.host).problems
    assert not damages(machine)


@pytest.mark.parametrize("loaders", [(V257, V258), (LOADER, LOADER + b"2")])
def test_a_rollback_keeps_the_new_loader(tmp_path: Path, loaders: tuple[bytes, bytes]) -> None:
    machine = installed(tmp_path, loaders[0])
    upgrade_to(machine, "v2", loaders[1])
    rollback(machine.host, Silent())
    machine.reboot()
    assert both(machine) == {loaders[1]}
    assert not damages(machine)
    for name in (USUAL, REMOVABLE):
        (machine.sysroot.boot / name).unlink()
    assert all(damage.repaired for damage in damages(machine))
    assert both(machine) == {loaders[1]}


def test_an_unsigned_loader_does_not_replace_a_signed_one(tmp_path: Path) -> None:
    signed = systemd_boot("257", signed=True)
    machine = installed(tmp_path, signed)
    upgrade_to(machine, "v2", V258)
    assert both(machine) == {signed}
    [problem] = status(machine.host).problems
    assert problem.endswith("no signature for Secure Boot, and the installed one has")
    newer = systemd_boot("259", signed=True)
    upgrade_to(machine, "v3", newer)
    assert both(machine) == {newer}
    assert not status(machine.host).problems


def test_an_image_without_a_loader_leaves_what_is_there(tmp_path: Path) -> None:
    machine = installed(tmp_path)
    upgrade_to(machine, "v2", "")
    assert both(machine) == {V257}
    found = status(machine.host)
    assert (found.boot_loader, found.image_boot_loader) == ("systemd-boot 257.8-1~deb13u1", None)
    (machine.sysroot.boot / REMOVABLE).unlink()
    assert [damage.repaired for damage in damages(machine)] == [True]
    assert both(machine) == {V257}


def _lose_one(machine: Machine) -> None:
    (machine.sysroot.boot / REMOVABLE).unlink()


def _lose_both(machine: Machine) -> None:
    shutil.rmtree(machine.sysroot.boot / "EFI")


def _empty_one(machine: Machine) -> None:
    put(machine, USUAL, b"")


MENDERS: dict[str, Callable[[Machine], object]] = {
    "fsck": damages,
    "upgrade": lambda machine: stage(machine.host, Silent()),
    "start of the daemon": lambda machine: recover(machine.host),
}


@pytest.mark.parametrize("mend", MENDERS)
@pytest.mark.parametrize("lose", [_lose_one, _lose_both, _empty_one])
def test_what_is_missing_is_put_back(
    tmp_path: Path, lose: Callable[[Machine], None], mend: str
) -> None:
    machine = installed(tmp_path)
    lose(machine)
    told = damages(machine, repair=False)
    assert told
    assert not any(damage.repaired for damage in told)
    assert all("'bootctl-py fsck' puts it right" in one for one in status(machine.host).problems)
    assert both(machine) != {V257}
    MENDERS[mend](machine)
    assert both(machine) == {V257}
    assert not damages(machine)
    assert not status(machine.host).problems


@pytest.mark.parametrize(
    "data",
    [
        V257[:1000],
        V257[:-1],
        V257[:1000] + b"\1" + V257[1001:],
        b"\0" * len(V257),
        b"garbled",
    ],
)
def test_a_damaged_loader_is_replaced_by_fsck_and_kept_aside(tmp_path: Path, data: bytes) -> None:
    machine = installed(tmp_path)
    put(machine, REMOVABLE, data)
    recover(machine.host)
    assert read(machine, REMOVABLE) == data
    [damage] = damages(machine)
    assert (damage.path, damage.repaired) == (REMOVABLE, True)
    assert "is damaged" in damage.problem
    assert both(machine) == {V257}
    assert read(machine, REPLACED) == data


@pytest.mark.parametrize(
    "theirs",
    [ANOTHER, systemd_boot("1"), b"MZ" + bytes(90) + b"sbat,1,x\nshim,4,UEFI shim,shim,1\n"],
)
def test_what_another_system_put_there_since_stays(tmp_path: Path, theirs: bytes) -> None:
    machine = installed(tmp_path)
    put(machine, REMOVABLE, theirs)
    for mend in MENDERS.values():
        mend(machine)
    upgrade_to(machine, "v2", V258)
    assert read(machine, REMOVABLE) == theirs
    assert read(machine, USUAL) == V258
    [damage] = damages(machine)
    assert (damage.path, damage.repaired) == (REMOVABLE, False)
    assert "of another system now, which bootd leaves" in damage.problem
    [problem] = status(machine.host).problems
    assert problem == damage.problem
    (machine.sysroot.boot / REMOVABLE).unlink()
    recover(machine.host)
    assert both(machine) == {V258}
    assert not status(machine.host).problems


def test_beside_another_system_bootds_own_loader_is_kept_new(tmp_path: Path) -> None:
    theirs = {USUAL: ANOTHER, REMOVABLE: b"MZ their shim"}
    machine = installed(tmp_path, **theirs)
    assert read(machine, BOOTDS) == V257
    upgrade_to(machine, "v2", V258)
    assert {name: read(machine, name) for name in theirs} == theirs
    assert read(machine, BOOTDS) == V258
    (machine.sysroot.boot / BOOTDS).unlink()
    recover(machine.host)
    assert read(machine, BOOTDS) == V258
    assert {name: read(machine, name) for name in theirs} == theirs
    assert not damages(machine)


def test_bootctl_update_in_the_image_does_no_harm(tmp_path: Path) -> None:
    machine = installed(tmp_path)
    release(machine, "v2", V258)
    machine.upgrade()
    machine.reboot(healthy=False)
    put(machine, USUAL, V258)
    put(machine, REMOVABLE, V258)
    machine.power_on()
    assert both(machine) == {V258}
    assert not damages(machine)
    assert not status(machine.host).problems


def test_going_back_to_the_previous_loader_by_hand_is_respected(tmp_path: Path) -> None:
    machine = installed(tmp_path)
    upgrade_to(machine, "v2", V258)
    for name in (USUAL, REMOVABLE):
        shutil.copy(machine.sysroot.boot / PREVIOUS, machine.sysroot.boot / name)
    recover(machine.host)
    machine.power_on()
    assert both(machine) == {V257}
    assert not damages(machine)
    assert status(machine.host).boot_loader == "systemd-boot 257.8-1~deb13u1"
    newest = systemd_boot("259")
    upgrade_to(machine, "v3", newest)
    assert both(machine) == {newest}


def test_the_loader_of_an_older_bootd_is_taken_over(tmp_path: Path) -> None:
    machine = installed(tmp_path)
    machine.sysroot.loader_file.unlink()
    upgrade_to(machine, "v2", V258)
    assert both(machine) == {V258}


def test_a_loader_that_nobody_knows_is_not_taken_over(tmp_path: Path) -> None:
    machine = installed(tmp_path)
    machine.sysroot.loader_file.unlink()
    put(machine, USUAL, ANOTHER)
    put(machine, REMOVABLE, ANOTHER)
    put(machine, "loader/entries/arch.conf", b"title Arch\nlinux /vmlinuz-arch\n")
    upgrade_to(machine, "v2", V258)
    assert both(machine) == {ANOTHER}
    assert not damages(machine)


def test_what_is_damaged_in_the_store_too_is_told(tmp_path: Path) -> None:
    machine = installed(tmp_path)
    for path in machine.sysroot.objects.rglob("*"):
        if path.is_file() and path.read_bytes() == V257:
            path.chmod(0o600)
            path.write_bytes(V257[:-1] + b"!")
    shutil.rmtree(machine.sysroot.boot / "EFI")
    found = damages(machine)
    assert [damage.repaired for damage in found] == [False, False]
    assert "of the boot loader is damaged" in found[0].problem
    stage(machine.host, Silent())
    assert both(machine) == {V257}


def test_a_damaged_record_is_made_anew_by_fsck(tmp_path: Path) -> None:
    machine = installed(tmp_path)
    machine.sysroot.loader_file.write_bytes(b"\0" * 99)
    recover(machine.host)
    [problem] = status(machine.host).problems
    assert "the boot loader is not known" in problem
    [damage] = damages(machine)
    assert damage.repaired
    assert not damages(machine)
    upgrade_to(machine, "v2", V258)
    assert both(machine) == {V258}


def test_on_aarch64_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    machine = installed(tmp_path)
    arm = "EFI/BOOT/BOOTAA64.EFI"
    assert read(machine, arm) == LOADER
    installable_image(machine.image, "v2", **{f"{FOLDER}/systemd-bootaa64.efi": V258})
    machine.upgrade()
    machine.reboot()
    assert read(machine, arm) == read(machine, "EFI/systemd/systemd-bootaa64.efi") == V258


def test_spelling_by_other_systems_does_not_matter(tmp_path: Path) -> None:
    machine = installed(tmp_path, **{"EFI/Boot/readme": b"made by Windows\n"})
    assert read(machine, "EFI/Boot/BOOTX64.EFI") == V257
    upgrade_to(machine, "v2", V258)
    assert read(machine, "EFI/Boot/BOOTX64.EFI") == V258
    assert not (machine.sysroot.boot / "EFI/BOOT").exists()
