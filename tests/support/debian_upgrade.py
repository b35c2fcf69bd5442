"""A server of Debian 12, lived in and upgraded to Debian 13 in a folder, with its root mounted.

The upgrade is bootd's own. What starts nothing here is a kernel: the root of a deployment is put
together as an initramfs does, and programs run in it by chroot(1).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bootd.model.config import Configuration, EtcSettings
from bootd.model.deployment import DeploymentId
from bootd.model.etc.derived import DueRules
from bootd.model.etc.policy import EtcPolicy
from bootd.operations.etc.rules import DERIVE_UNIT
from bootd.operations.etc_derive import DUE_NAME
from bootd.process import run
from bootd.store.mount import mounted_tree
from support.debian_machine import IMAGE_USER, live_with
from support.debian_roots import NEW, OLD, debian_root
from support.images import PackedLayer, build_oci_layout
from support.machine import Machine
from support.vm_packages import CHECKOUT

SETTINGS = EtcSettings(policy={"/etc/ssh/sshd_config": EtcPolicy.MERGE})
_KERNEL = "6.12.0-test"
_IN_VAR = {"home": "home", "root": "roothome", "usr/local": "usrlocal"}
_COPY_SECONDS = 300.0


@dataclass(frozen=True)
class Upgraded:
    """The machine after its upgrade.

    Attributes:
        machine: it, with Debian 13 running.
        deployment: what runs.
        due: what the merge left to be made anew.
        root: where the root is mounted.
        shipped: the tree of its image.
    """

    machine: Machine
    deployment: DeploymentId
    due: DueRules
    root: Path
    shipped: Path


@contextmanager
def upgraded(folder: Path) -> Iterator[Upgraded]:
    """Yield the upgraded machine; what is due has not been made yet."""
    machine = Machine(
        folder / "machine",
        folder / "image",
        configuration=Configuration(parallel_layers=1, etc=SETTINGS),
    )
    (folder / "mounts").mkdir()
    machine.folder.mkdir()
    _publish(machine.image, OLD, folder / "old")
    machine.upgrade()
    old = machine.reboot()
    run(["cp", "--archive", f"{folder}/old/var/.", machine.sysroot.store / "var"])
    with mounted_root(machine, old, folder / "mounts") as root:
        live_with(root)
    _publish(machine.image, NEW, folder / "new")
    machine.upgrade()
    new = machine.reboot()
    due = machine.sysroot.deployment(new) / DUE_NAME
    with mounted_root(machine, new, folder / "mounts") as root:
        rules = DueRules.model_validate_json(due.read_text())
        yield Upgraded(machine, new, rules, root, folder / "new")


@contextmanager
def mounted_root(machine: Machine, deployment: DeploymentId, folder: Path) -> Iterator[Path]:
    """Put the root of a deployment together below a folder, with ``/dev``, ``/proc``, ``/run``."""
    here, store = machine.sysroot.deployment(deployment), machine.sysroot.store
    with (
        mounted_tree(here / "root.erofs", store / "objects", folder) as root,
        machine_folders(root, here / "etc", store / "var"),
    ):
        yield root


@contextmanager
def machine_folders(root: Path, etc: Path, var: Path) -> Iterator[None]:
    """Mount what a running machine has in its root beside the image's files."""
    with ExitStack() as stack:
        for mount in (
            ("--bind", etc, root / "etc"),
            ("--bind", var, root / "var"),
            ("--rbind", "/dev", root / "dev"),
            ("-t", "proc", "proc", root / "proc"),
            ("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / "tmp"),
            ("-t", "tmpfs", "-o", "mode=755", "tmpfs", root / "run"),
        ):
            run(["mount", *mount])
            stack.callback(run, ["umount", "--recursive", mount[-1]])
            run(["mount", "--make-rprivate", mount[-1]])
        yield


def as_image(suite: str, root: Path) -> None:
    """Make the tree of an image, with the folders of a machine in ``/var``."""
    root.mkdir(exist_ok=True)
    run(["cp", "--archive", f"{debian_root(suite)}/.", root], timeout=_COPY_SECONDS)
    for name, place in _IN_VAR.items():
        shutil.move(root / name, root / "var" / place)
        (root / name).symlink_to("/".join([".."] * name.count("/") + ["var", place]))
    add_image_user(root)


def add_image_user(root: Path) -> None:
    """Let an image have a user below ``/usr/lib``, by the NSS module that Debian has for such.

    libnss-extrausers looks in a folder of ``/var``, from where links lead there.
    """
    row = f"{IMAGE_USER}:x:1500:1500:Of the Image:/var/home/{IMAGE_USER}:/bin/bash\n"
    (root / "usr/lib/passwd").write_text(row)
    (root / "usr/lib/group").write_text(f"{IMAGE_USER}:x:1500:\n")
    with (root / "etc/shadow").open("a") as stream:
        stream.write(f"{IMAGE_USER}:!*:20000:0:99999:7:::\n")
    switch = root / "etc/nsswitch.conf"
    lines = switch.read_text().splitlines()
    wanted = ("passwd:", "group:")
    switch.write_text(
        "".join(line + (" extrausers\n" if line.startswith(wanted) else "\n") for line in lines)
    )
    folder = root / "var/lib/extrausers"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("passwd", "group"):
        (folder / name).symlink_to(f"/usr/lib/{name}")


def _publish(layout: Path, suite: str, tree: Path) -> None:
    as_image(suite, tree)
    kernel = tree / "usr/lib/modules" / _KERNEL
    kernel.mkdir(parents=True)
    for name in ("vmlinuz", "initramfs.img"):
        (kernel / name).write_bytes(f"{name} of {suite} ".encode() * 200)
    # An image whose bootd makes nothing anew would have no rules.
    shutil.copy(CHECKOUT / "systemd" / Path(DERIVE_UNIT).name, tree / DERIVE_UNIT)
    parts = sorted(path.name for path in tree.iterdir() if path.name not in ("dev", "boot"))
    command = [
        "tar",
        "--create",
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
        f"--directory={tree}",
        *parts,
    ]
    archive = run(command, timeout=_COPY_SECONDS).stdout
    layer = PackedLayer(archive, archive, "none")
    labels = {"org.opencontainers.image.version": suite}
    build_oci_layout(layout, [layer], labels=labels)
