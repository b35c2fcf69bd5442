"""A machine that enforces Debian's SELinux policy, and the next version of its image."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bootd.operations.install import install_to_disk
from bootd.operations.install_settings import Settings
from bootd.operations.progress import Silent
from bootd.process import run
from support.cache import cached_folder, digest_of
from support.container_image import OS, container_image
from support.debian_selinux import COMING, bring, withdraw
from support.layered_image import LayeredImage
from support.vm import Saved
from support.vm_disk import FOLLOWED
from support.vm_versions import Tree, name_version, prepare

_OWN = 'comm="(bootd|bootctl|python|mount|umount|cp|sh|cmp|semodule|load_policy|sefcontext)'
OWN_DENIALS = f"dmesg | grep 'avc: *denied' | grep -E '{_OWN}' || :"
"""What was denied to bootd in this boot, or to the programs that it starts."""
_PACKAGES = ("policycoreutils", "selinux-policy-default", "selinux-utils")
_DISK_BYTES = 6 << 30
_COPY_SECONDS = 600.0


def enforcing_versions() -> Path:
    """The OCI layout folder with the tags ``v1`` and ``v2``, which brings files to ``/etc``.

    Raises:
        ProcessFailedError: a tool is missing or failed.
    """
    names = ("vm_versions.py", "debian_selinux.py")
    inputs = (Path(__file__), *(Path(__file__).with_name(name) for name in names))
    digest = digest_of(container_image(*_PACKAGES).parent.name, *inputs)
    return cached_folder("vm-selinux-versions", digest, _build) / "layout"


def enforcing_machine() -> Saved:
    """A disk with ``v1``, never started yet.

    Raises:
        BootdError: the installation failed.
    """
    digest = digest_of(enforcing_versions().parent.name, Path(__file__))
    return Saved(cached_folder("vm-selinux", digest, _install) / "disk.raw")


def _build(folder: Path) -> None:
    layout = folder / "layout"
    run(["cp", "--archive", container_image(*_PACKAGES).resolve(), layout], timeout=_COPY_SECONDS)
    image = LayeredImage(layout, folder / "bundle", start=OS)
    prepare(image.rootfs)
    tree = Tree(image.rootfs)
    tree.write("etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=default\n")
    kargs = 'kargs = ["security=selinux", "selinux=1"]\n'
    tree.write("usr/lib/bootc/kargs.d/20-selinux.toml", kargs)
    name_version(tree, "v1")
    withdraw(image.rootfs, COMING)
    image.seal("v1")
    image.publish("v1", "v1")
    name_version(tree, "v2")
    tree.write("etc/new.conf", "new\n")
    tree.write("etc/cron.d/new", "# new\n")
    bring(image.rootfs, COMING)
    image.seal("v2")
    image.publish("v2", "v2")
    shutil.rmtree(folder / "bundle")


def _install(folder: Path) -> None:
    disk = folder / "disk.raw"
    disk.touch()
    os.truncate(disk, _DISK_BYTES)
    settings = Settings(image=f"oci:{enforcing_versions()}:v1", follow=FOLLOWED, hostname="web1")
    install_to_disk(disk, settings, Silent())
