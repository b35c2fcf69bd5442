"""A small machine in a folder: images to put on it, a host to run operations with, a loader."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

from bootd.clock import SYSTEM_CLOCK
from bootd.durable import Disk
from bootd.model.config import Configuration
from bootd.model.deployment import DeploymentId
from bootd.operations.bless import bless
from bootd.operations.finalize import finalize
from bootd.operations.host import Host
from bootd.operations.progress import Silent
from bootd.operations.recover import recover
from bootd.operations.stage import stage
from bootd.registry.settings import RegistrySettings
from bootd.sysroot import Sysroot
from support.images import PackedLayer, build_oci_layout, tar_layer
from support.loader import boot

Pack = Callable[[bytes], bytes | PackedLayer]

KERNEL = "6.12.0-test"


def image_files(version: str, **more: bytes | str | None) -> dict[str, bytes | str | None]:
    """The files of a tiny image that a host could boot; `more` adds to them or replaces them."""
    modules = f"usr/lib/modules/{KERNEL}"
    kernel = b"kernel that v1 and v2 share " * 40
    return {
        "usr/": None,
        "usr/bin/": None,
        "usr/bin/tool": f"#!/bin/sh\necho {version}\n".encode() * 9,
        "usr/lib/": None,
        "usr/lib/os-release": f"ID=test\nVERSION_ID={version}\n".encode(),
        "usr/lib/bootc/kargs.d/10-image.toml": b'kargs = ["quiet", "image=%s"]\n'
        % version.encode(),
        "usr/lib/modules/": None,
        f"{modules}/": None,
        f"{modules}/vmlinuz": kernel,
        f"{modules}/initramfs.img": f"initramfs {version} ".encode() * 30,
        "etc/": None,
        "etc/hostname": b"default\n",
        "etc/motd": f"welcome to {version}, a line longer than what is kept inline\n".encode() * 3,
        "etc/app.conf": f"setting = {version}\n".encode(),
        "etc/link": "hostname",
        "var/": None,
        "var/lib/seed": b"image's own var\n",
        **more,
    }


def publish(folder: Path, version: str, pack: Pack = bytes, **more: bytes | str | None) -> str:
    """Put a tiny image under the tag ``latest`` of an OCI layout folder; return its reference.

    `pack` makes a layer of a tar stream; by default the stream is one.
    """
    files = image_files(version, **more)
    base = {name: value for name, value in files.items() if "bin" not in name}
    tools = {name: value for name, value in files.items() if "bin" in name}
    build_oci_layout(
        folder,
        [pack(tar_layer(base)), pack(tar_layer(tools))],
        labels={"org.opencontainers.image.version": version},
    )
    return f"oci:{folder}:latest"


@dataclass
class Machine:
    """A sysroot folder and the image it follows."""

    folder: Path
    image: Path
    disk: Disk = field(default_factory=Disk)
    configuration: Configuration = field(
        default_factory=lambda: Configuration(parallel_layers=1, tries=3)
    )

    @property
    def sysroot(self) -> Sysroot:
        boot_id = self.folder / "proc/boot_id"
        if not boot_id.exists():
            boot_id.parent.mkdir(exist_ok=True)
            boot_id.write_text(f"{uuid4()}\n")
        return replace(Sysroot.at(self.folder, self.disk), boot_id=boot_id)

    @property
    def reference(self) -> str:
        return f"oci:{self.image}:latest"

    @property
    def host(self) -> Host:
        configuration = self.configuration.model_copy(update={"image": self.reference})
        registry = RegistrySettings(root=self.folder)
        return Host(self.sysroot, configuration, registry, SYSTEM_CLOCK)

    def upgrade(self) -> DeploymentId:
        """Stage what the tag points to."""
        deployment = stage(self.host, Silent()).deployment
        assert deployment is not None
        return deployment

    def reboot(self, *, healthy: bool = True, chosen: str | None = None) -> DeploymentId:
        """Shut down, start what the loader picks, let the daemon recover, bless."""
        finalize(self.host, Silent())
        return self.power_on(healthy=healthy, chosen=chosen)

    def power_on(self, *, healthy: bool = True, chosen: str | None = None) -> DeploymentId:
        """Start after a power cut or a shutdown; `chosen` is picked in the loader's menu."""
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        (self.folder / "proc/boot_id").unlink(missing_ok=True)
        booted = boot(self.sysroot, chosen)
        recover(self.host)
        if healthy:
            bless(self.host)
        return booted

    def etc(self, deployment: DeploymentId) -> Path:
        return self.sysroot.deployment(deployment) / "etc"

    def copy(self, folder: Path, disk: Disk) -> Machine:
        """The same machine, as it is now, in another folder."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Machine(folder, self.image, disk, self.configuration)


def installed(folder: Path, pack: Pack = bytes, **more: bytes | str | None) -> Machine:
    """A machine that runs v1, blessed, with a local edit; v2 is published; see `publish`."""
    image = folder / "image"
    machine = Machine(folder / "root", image)
    machine.folder.mkdir(parents=True)
    publish(image, "v1", pack, **more)
    first = machine.upgrade()
    booted = machine.reboot()
    assert booted == first
    (machine.etc(booted) / "hostname").write_text("my-machine\n")
    (machine.etc(booted) / "local.conf").write_text("mine\n" * 30)
    publish(image, "v2", pack, **more)
    return machine
