"""A machine that was installed with Debian 12, lived in, and upgraded to Debian 13: to be started.

bootd's packages need a newer Debian than 12, so that machine never starts: its upgrade is staged
and finalized here, on its mounted disk. Kernel and boot loader of its image are those of Debian 13.
What starts is Debian 13 with what became of ``/etc``.
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from bootd.durable import Disk
from bootd.model.config import Configuration
from bootd.operations.finalize import finalize
from bootd.operations.host import Host
from bootd.operations.install import install
from bootd.operations.install_settings import Settings
from bootd.operations.installing import disk_device as devices
from bootd.operations.installing.disk_layout import ESP_NUMBER, ROOT_NUMBER
from bootd.operations.installing.target import RootFileSystem
from bootd.operations.progress import Silent
from bootd.operations.stage import stage
from bootd.process import run
from bootd.registry.settings import RegistrySettings
from bootd.sysroot import Sysroot
from support.cache import cached_folder, digest_of
from support.container_image import OS, container_image
from support.debian_machine import live_with
from support.debian_roots import OLD, PACKAGES
from support.debian_upgrade import SETTINGS, add_image_user, as_image, machine_folders
from support.layered_image import LayeredImage
from support.loader import boot
from support.vm import REGISTRY, Saved
from support.vm_versions import Tree, name_version, prepare

NEW_VERSION = "debian-13"
_OLD_VERSION = "debian-12"
_BORROWED = ("usr/lib/modules", "usr/lib/systemd/boot/efi")
_DISK_BYTES = 6 << 30
_FILESYSTEM = "ext4"
_ESP_FOLDER = "boot"


def carried_machine() -> Saved:
    """Its disk, built on first use and then kept in the cache; never started yet.

    Raises:
        BootdError: the installation or the upgrade failed.
    """
    inputs = (Path(__file__).with_name(f"{name}.py") for name in _INPUTS)
    digest = digest_of(_new_image().parent.name, *inputs, Path(__file__))
    return Saved(cached_folder("vm-debian", digest, _build) / "disk.raw")


_INPUTS = ("vm_versions", "debian_roots", "debian_machine", "debian_upgrade", "layered_image")


def _new_image() -> Path:
    return container_image(*PACKAGES.split(","), clock="chrony")


def _build(folder: Path) -> None:
    layout = _images(folder)
    disk = folder / "disk.raw"
    disk.touch()
    os.truncate(disk, _DISK_BYTES)
    mounted = folder / "root"
    mounted.mkdir()
    parts = devices.partition(disk, platform.machine())
    esp, root = parts[ESP_NUMBER - 1], parts[ROOT_NUMBER - 1]
    with devices.attached(disk, root) as loop:
        devices.make_root(loop, _FILESYSTEM)
        with devices.mounted(loop, _FILESYSTEM, mounted):
            _carry(mounted, loop, layout, folder)
            with devices.attached(disk, esp) as esp_loop:
                devices.make_esp(esp_loop, esp.size, mounted / _ESP_FOLDER)
            shutil.rmtree(mounted / _ESP_FOLDER)
    devices.name_finished(disk, Disk())
    shutil.rmtree(layout)


def _images(folder: Path) -> Path:
    """Return a layout folder with the two versions."""
    layout = folder / "layout"
    run(["cp", "--archive", _new_image().resolve(), layout], timeout=300)
    new = LayeredImage(layout, folder / "new", start=OS)
    prepare(new.rootfs)
    add_image_user(new.rootfs)
    name_version(Tree(new.rootfs), NEW_VERSION)
    new.seal(NEW_VERSION)
    new.publish(NEW_VERSION, NEW_VERSION)
    old = LayeredImage(layout, folder / "old")
    as_image(OLD, old.rootfs)
    for borrowed in _BORROWED:
        target = old.rootfs / borrowed
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        run(["cp", "--archive", new.rootfs / borrowed, target], timeout=300)
    old.seal(_OLD_VERSION)
    old.publish(_OLD_VERSION, _OLD_VERSION)
    for bundle in ("new", "old"):
        shutil.rmtree(folder / bundle)
    return layout


def _carry(mounted: Path, device: Path, layout: Path, work: Path) -> None:
    """Install the old version, live with it, and bring the new one to its first start."""
    sysroot = Sysroot(
        physical=mounted,
        boot=mounted / _ESP_FOLDER,
        run=work / "run",
        command_line=work / "cmdline",
    )
    (work / "cmdline").touch()
    host = Host(sysroot, Configuration(parallel_layers=1, etc=SETTINGS), RegistrySettings())
    uuid = run(["blkid", "--probe", "-s", "UUID", "-o", "value", device]).stdout.decode().strip()
    follow = f"{REGISTRY}/os:latest"
    settings = Settings(image=f"oci:{layout}:{_OLD_VERSION}", follow=follow)
    install(host, RootFileSystem(_FILESYSTEM, uuid), settings, Silent())
    running = boot(sysroot)
    old = work / "lived-in"
    as_image(OLD, old)
    # devices.mounted() forbids running what is there; nothing of it is run.
    with machine_folders(old, sysroot.deployment(running) / "etc", sysroot.store / "var"):
        live_with(old)
    shutil.rmtree(old)
    stage(host, Silent(), reference=f"oci:{layout}:{NEW_VERSION}")
    finalize(host, Silent())
