"""An installation that is cut off at any step can be run again, and ends as if nothing had been."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from support.installing import KEY, installable_image
from support.loader import boot
from support.power import LOSSES, CutDisk, Loss, PowerCut

from bootd.durable import TEMPORARY_PREFIX, Disk
from bootd.model.config import Configuration
from bootd.model.hash_algorithm import SHA256, SHA512
from bootd.operations.fsck import fsck
from bootd.operations.host import Host
from bootd.operations.install import MARK_NAME, install
from bootd.operations.install_settings import Settings
from bootd.operations.installing.target import RootFileSystem
from bootd.operations.progress import Silent
from bootd.operations.recover import recover
from bootd.registry.settings import RegistrySettings
from bootd.sysroot import Sysroot

ROOT = RootFileSystem("ext4", "0b5a4a0e-7a0c-4b0e-9d0e-2f6c1c1f7a11")


def host_on(folder: Path, disk: Disk) -> Host:
    # After a power cut the installer runs on a machine that was started anew.
    boot_id = folder / "proc/boot_id"
    boot_id.parent.mkdir(exist_ok=True)
    boot_id.write_text(f"{uuid4()}\n")
    sysroot = replace(Sysroot.at(folder, disk), boot_id=boot_id)
    return Host(sysroot, Configuration(parallel_layers=1), RegistrySettings(root=folder))


def settings_for(image: str) -> Settings:
    return Settings(image=image, root_keys=KEY, hostname="web1", follow="registry.example/os:a")


def whole(folder: Path) -> None:
    """What is there boots, is whole, and has all the settings."""
    host = host_on(folder, Disk())
    assert not (host.sysroot.store / MARK_NAME).exists()
    booted = boot(host.sysroot)
    assert (host.sysroot.deployment(booted) / "etc/hostname").read_text() == "web1\n"
    assert (host.sysroot.store / "var/roothome/.ssh/authorized_keys").read_bytes() == KEY
    assert (host.sysroot.boot / "EFI/BOOT/BOOTX64.EFI").is_file()
    assert host.sysroot.read_intent().image == "registry.example/os:a"
    assert fsck(host, Silent()).damages == []
    assert list(folder.rglob(f"{TEMPORARY_PREFIX}*")) == []


def steps_of(folder: Path, image: str) -> int:
    disk = CutDisk(folder / "limbo")
    root = folder / "uncut"
    root.mkdir()
    install(host_on(root, disk), ROOT, settings_for(image), Silent())
    whole(root)
    return len(disk.steps)


def begun_anew(host: Host) -> bool:
    """Tell whether the store that was there has given way to an empty one."""
    return host.sysroot.hash_algorithm() is SHA256 and not list(host.sysroot.layers.glob("*"))


@pytest.mark.parametrize("loss", [LOSSES[0], LOSSES[-1]])
def test_a_change_of_the_store_s_hash_can_be_cut_anywhere(tmp_path: Path, loss: Loss) -> None:
    settings = settings_for(installable_image(tmp_path / "image"))
    before = tmp_path / "before"
    before.mkdir()
    other = replace(settings, store_hash=SHA512.name)
    install(host_on(before, Disk()), ROOT, other, Silent())
    (before / "bootd" / MARK_NAME).touch()
    for cut in range(100):
        root = tmp_path / f"root-{cut}"
        shutil.copytree(before, root, symlinks=True)
        disk = CutDisk(tmp_path / f"limbo-{cut}", cut)
        with pytest.raises(PowerCut):
            install(host_on(root, disk), ROOT, settings, Silent())
        disk.lose(loss)
        done = (root / "bootd/format.json").exists() and begun_anew(host_on(root, Disk()))
        install(host_on(root, Disk()), ROOT, settings, Silent())
        host = host_on(root, Disk())
        assert host.sysroot.hash_algorithm() is SHA256
        boot(host.sysroot)
        # What was on its way out when the power went is gone with the first start.
        recover(host)
        whole(root)
        shutil.rmtree(root)
        if done:
            break
    assert 4 < cut < 99


@pytest.mark.parametrize("loss", LOSSES)
def test_every_cut_can_be_taken_up(tmp_path: Path, loss: Loss) -> None:
    image = installable_image(tmp_path / "image")
    steps = steps_of(tmp_path, image)
    assert steps > 50
    for cut in range(steps):
        root = tmp_path / "root"
        root.mkdir()
        disk = CutDisk(tmp_path / f"limbo-{cut}", cut)
        with pytest.raises(PowerCut):
            install(host_on(root, disk), ROOT, settings_for(image), Silent())
        disk.lose(loss)
        if not (root / "bootd" / MARK_NAME).exists() and (root / "bootd/format.json").exists():
            # The last step was done: it is a machine.
            assert cut >= steps - 2
        else:
            install(host_on(root, Disk()), ROOT, settings_for(image), Silent())
        whole(root)
        shutil.rmtree(root)
