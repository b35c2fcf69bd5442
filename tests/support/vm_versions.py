"""Versions of the virtual machine's image: good ones, and each way in which one can be bad.

Below is the image that ``packaging/container/Containerfile`` describes; what only the tests need
and what makes a version are layers on top.

============= ======================================================================================
tag           what is in it beyond the operating system and what the tests need
============= ======================================================================================
``v1``        what the machine is installed with
``v2``, ``v3``  another ``/etc/motd`` and version; the same kernel
``panics``    the kernel finds no program to start, and panics
``lost``      its initramfs has no driver for the disk, so it waits for its root for ever
``ill``       a required health check fails
``unmade``    a file of ``/etc`` that is made from ``/etc/mine`` cannot be made
``hangs``     a unit before ``multi-user.target`` never ends; the deadline is two minutes
``kernel``    another kernel: the initramfs has another digest
``kernel2``   the same one in another version
``k1``…``k5`` a kernel of its own, which no other version has
``k-panics``  the same, and it panics
``loader``    a systemd-boot that says it is of a later version
``init``      another init, in an object that no other version has
``newer``     a later bootd
============= ======================================================================================
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bootd.boot.loader.install import LOADER_FOLDER
from bootd.process import run
from support.cache import cached_folder, digest_of
from support.container_image import OS, container_image
from support.layered_image import LayeredImage, drop_unreachable
from support.vm import REGISTRY

NEWER_BOOTD = "999.0"
NEWER_LOADER = "999"
"""The first number of a later systemd-boot's version; it has three digits."""
OWN_KERNELS = ("k1", "k2", "k3", "k4", "k5")
_BUILD_SECONDS = 1_800.0
_AGENT = Path(__file__).with_name("vm_agent.py")
_AGENT_UNIT = """\
[Unit]
Description=Does What the Test Says
After=systemd-tmpfiles-setup.service

[Service]
ExecStart=/usr/libexec/vm-agent
Restart=always
"""
_NETWORK = "[Match]\nType=ether\n\n[Network]\nDHCP=ipv4\n"
_ARGUMENTS = (
    *("console=ttyS0", "systemd.firstboot=no", "panic=5", "rd.retry=20"),
    # Another page table for each system call costs an emulated processor half its time.
    "mitigations=off",
)
_DRACUT = """
mount -t proc proc "$1/proc"
mount -t devtmpfs devtmpfs "$1/dev"
exec chroot "$1" dracut --tmpdir /tmp --quiet --force \\
    --no-hostonly --omit-drivers virtio_blk --kver "$2" "$3"
"""
"""What dracut looks at is mounted for it alone: none of it is left where somebody cleans up.

Its temporary files go elsewhere than /var, which is empty in an image.
"""
_HANGING_UNIT = """\
[Unit]
Description=Never Ends

[Service]
Type=oneshot
ExecStart=/usr/bin/sleep infinity
"""


def vm_versions() -> Path:
    """The OCI layout folder with a tag for each version; built on first use, kept in the cache.

    Raises:
        ProcessFailedError: a tool is missing or failed; its own words are in the message.
    """
    inputs = (Path(__file__), _AGENT, Path(__file__).with_name("layered_image.py"))
    digest = digest_of(container_image().parent.name, *inputs)
    return cached_folder("vm-versions", digest, _build) / "layout"


def _build(folder: Path) -> None:
    run(["cp", "--archive", container_image(), folder / "layout"], timeout=_BUILD_SECONDS)
    image = LayeredImage(folder / "layout", folder / "bundle", start=OS)
    prepare(image.rootfs)
    image.seal("prepared")
    for tag, change in _CHANGES.items():
        tree = Tree(image.rootfs)
        name_version(tree, tag)
        change(tree)
        image.branch(tag)
        image.publish(tag, tag)
        tree.undo()
    drop_unreachable(folder / "layout", OS, "prepared")
    shutil.rmtree(folder / "bundle")


class Tree:
    """A tree to change for one version only."""

    def __init__(self, rootfs: Path) -> None:
        self.rootfs = rootfs
        self._before: dict[Path, tuple[bytes, os.stat_result] | None] = {}

    def read(self, name: str) -> str:
        return (self.rootfs / name).read_text()

    def write(self, name: str, content: str | bytes, mode: int = 0o644) -> None:
        path = self.rootfs / name
        self.remember(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)

    def remember(self, path: Path) -> None:
        before = (path.read_bytes(), path.stat()) if path.exists() else None
        self._before.setdefault(path, before)

    def undo(self) -> None:
        for path, before in self._before.items():
            if before is None:
                path.unlink()
                continue
            content, status = before
            path.write_bytes(content)
            path.chmod(status.st_mode)
            # Otherwise it would be a change of each version that follows.
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    @property
    def modules(self) -> str:
        """The folder of the kernel."""
        (vmlinuz,) = self.rootfs.glob("usr/lib/modules/*/vmlinuz")
        return str(vmlinuz.parent.relative_to(self.rootfs))


def prepare(rootfs: Path) -> None:
    """Add what the tests need in a machine."""
    units = rootfs / "usr/lib/systemd/system"
    registries = f'[[registry]]\nlocation = "{REGISTRY}"\ninsecure = true\n'
    files = {
        rootfs / "usr/lib/systemd/network/80-test.network": _NETWORK,
        rootfs / "usr/lib/bootc/kargs.d/10-test.toml": f"kargs = {list(_ARGUMENTS)!r}\n",
        rootfs / "usr/lib/systemd/journald.conf.d/test.conf": "[Journal]\nStorage=persistent\n",
        rootfs / "etc/containers/registries.conf.d/test.conf": registries,
        units / "vm-agent.service": _AGENT_UNIT,
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    shutil.copy2(_AGENT, rootfs / "usr/libexec/vm-agent")
    (rootfs / "usr/libexec/vm-agent").chmod(0o755)
    wants = units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    for unit in ("vm-agent.service", "systemd-networkd.service"):
        link = wants / unit
        link.unlink(missing_ok=True)
        link.symlink_to(f"../{unit}")


def name_version(tree: Tree, tag: str) -> None:
    """Say in a tree which version it is."""
    release = tree.read("usr/lib/os-release").splitlines()
    kept = [line for line in release if not line.startswith("IMAGE_")]
    named = ["IMAGE_ID=bootd-test", f"IMAGE_VERSION={tag}"]
    tree.write("usr/lib/os-release", "\n".join([*kept, *named]) + "\n")
    tree.write("etc/motd", f"Welcome to {tag}.\n")
    # For the version that panics; an image may not say that by itself.
    settings = 'allow_image_arguments = ["rdinit"]\n'
    tree.write("usr/lib/bootd/bootd.toml.d/50-test.toml", settings)


def _nothing(tree: Tree) -> None:
    """Another version, and nothing else."""


def _panic(tree: Tree) -> None:
    tree.write("usr/lib/bootc/kargs.d/90-bad.toml", 'kargs = ["rdinit=/nowhere"]\n')


def _lose_root(tree: Tree) -> None:
    initramfs = f"{tree.modules}/initramfs.img"
    tree.remember(tree.rootfs / initramfs)
    version = Path(tree.modules).name
    arguments = (str(tree.rootfs), version, f"/{initramfs}")
    command = ["unshare", "--mount", "sh", "-euc", _DRACUT, "dracut", *arguments]
    run(command, timeout=_BUILD_SECONDS)


def _be_ill(tree: Tree) -> None:
    script = "#!/bin/sh\necho 'the database does not answer'\nexit 3\n"
    tree.write("usr/lib/bootd/health.d/50-database", script, 0o755)


def _cannot_derive(tree: Tree) -> None:
    tree.write("etc/table", "made when the image was built\n")
    tree.write(
        "usr/lib/bootd/etc.toml.d/50-table.toml",
        '[derived.table]\npaths = ["/etc/table"]\ninputs = ["/etc/mine"]\n'
        "command = ['sh', '-c', 'echo no table can be made of that; exit 3']\n",
    )


def _hang(tree: Tree) -> None:
    tree.write("usr/lib/systemd/system/hang.service", _HANGING_UNIT)
    wanted = "[Unit]\nRequires=hang.service\nAfter=hang.service\n"
    tree.write("usr/lib/systemd/system/multi-user.target.d/hang.conf", wanted)
    deadline = "[Timer]\nOnBootSec=\nOnBootSec=2min\n"
    tree.write("usr/lib/systemd/system/bootd-deadline.timer.d/test.conf", deadline)


def _change_kernel(tree: Tree) -> None:
    name = f"{tree.modules}/initramfs.img"
    # A kernel skips zeros between the archives of an initramfs (Documentation, initramfs buffer
    # format), so this one is as good as the other and has another digest.
    tree.write(name, (tree.rootfs / name).read_bytes() + bytes(4096))


def _own_kernel(pages: int, tree: Tree) -> None:
    name = f"{tree.modules}/vmlinuz"
    # What follows the sections that a PE header names is loaded by nobody.
    tree.write(name, (tree.rootfs / name).read_bytes() + bytes(4096 * pages))


def _own_kernel_that_panics(tree: Tree) -> None:
    _own_kernel(len(OWN_KERNELS) + 1, tree)
    _panic(tree)


def _newer_loader(tree: Tree) -> None:
    for path in (tree.rootfs / LOADER_FOLDER.lstrip("/")).glob("systemd-boot*.efi*"):
        data = path.read_bytes()
        said = re.search(rb"#### LoaderInfo: systemd-boot (?P<version>[0-9]{3}[^ ]*) ####", data)
        assert said is not None, f"{path} names no version"
        before = said["version"].decode()
        after = NEWER_LOADER + before[len(NEWER_LOADER) :]
        # In its own tables it stands as ASCII; what it tells in LoaderInfo is UTF-16.
        for coding in ("ascii", "utf-16-le"):
            data = data.replace(before.encode(coding), after.encode(coding))
        tree.write(str(path.relative_to(tree.rootfs)), data)


def _change_init(tree: Tree) -> None:
    name = "usr/lib/systemd/systemd"
    tree.write(name, (tree.rootfs / name).read_bytes() + bytes(4096), 0o755)


def _newer_bootd(tree: Tree) -> None:
    tree.write(
        "usr/lib/python3/dist-packages/bootd/__init__.py",
        f'"""A later bootd."""\n\n__version__ = "{NEWER_BOOTD}"\n',
    )


_CHANGES: dict[str, Callable[[Tree], None]] = {
    "v1": _nothing,
    "v2": _nothing,
    "v3": _nothing,
    "panics": _panic,
    "lost": _lose_root,
    "ill": _be_ill,
    "unmade": _cannot_derive,
    "hangs": _hang,
    "kernel": _change_kernel,
    "kernel2": _change_kernel,
    **{tag: partial(_own_kernel, pages) for pages, tag in enumerate(OWN_KERNELS, 1)},
    "k-panics": _own_kernel_that_panics,
    "loader": _newer_loader,
    "init": _change_init,
    "newer": _newer_bootd,
}
VERSIONS = tuple(_CHANGES)
