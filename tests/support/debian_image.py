"""A small but real Debian, in two versions, as an OCI layout with the tags ``v1`` and ``v2``.

mmdebstrap installs it from the mirror that apt here uses; kernel and initramfs are Debian's,
moved to where images for bootc have them. Version 2 is made by dpkg inside version 1: ``nano`` is
purged, ``less`` installed, and some of the defaults in ``/etc`` change:

=================== =========================== ==================================================
path                version 2                   what it shows
=================== =========================== ==================================================
``/etc/motd``       other text                  nobody edited it: the new text comes
``/etc/issue``      other text                  edited here too: a conflict
``/etc/login.defs`` one more line               only chmodded here: both are kept
``/etc/hosts``      as before                   edited here: the edit stays
``/etc/nanorc``     gone with its package       nobody edited it: it goes
=================== =========================== ==================================================
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from bootd.model.errors import ProcessFailedError
from bootd.process import run
from support.cache import cached_folder, digest_of
from support.layered_image import LayeredImage, drop_unreachable

SUITE = "trixie"
"""Debian 13: its kernel can mount what bootd makes (docs/decisions/0001-composefs-store.md)."""
VERSIONS = ("v1", "v2")
_PACKAGES = "systemd,systemd-sysv,udev,dbus,kmod,login,passwd,iproute2,iputils-ping,nano"
_KERNELS = {"amd64": "linux-image-cloud-amd64", "arm64": "linux-image-cloud-arm64"}
_LEAVE_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info")
_TIMEOUT = 1_800.0


def debian_image() -> Path:
    """The OCI layout folder, built on first use (a minute) and then kept in the cache.

    Raises:
        ProcessFailedError: a tool is missing or failed; its own words are in the message.
    """
    inputs = (Path(__file__), Path(__file__).with_name("layered_image.py"))
    folder = cached_folder("debian-image", digest_of(SUITE, architecture(), *inputs), _build)
    return folder / "layout"


def architecture() -> str:
    """This machine's architecture as Debian names it."""
    return run(["dpkg", "--print-architecture"]).stdout.decode().strip()


def mirror() -> str:
    """The Debian mirror that this machine's apt is set up with.

    Raises:
        ProcessFailedError: there is none.
    """
    question = ["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)"]
    said = run([*question, "Created-By: Packages"]).stdout.decode()
    for line in said.splitlines():
        label, _, address = line.partition(" ")
        if label == "Debian":
            return address
    raise ProcessFailedError(
        "apt on this machine knows no Debian mirror", hint="Run 'apt-get update'."
    )


def bootstrap(target: Path, packages: str, *options: str, suite: str = SUITE) -> None:
    """Install Debian with these packages (and apt and dpkg) into an empty folder."""
    passed_on = [f"--aptopt={line}" for line in apt_options()]
    command = ["mmdebstrap", "--mode=root", "--variant=apt", f"--include={packages}"]
    run([*command, *passed_on, *options, suite, target, mirror()], timeout=_TIMEOUT)


def kernel_package() -> str:
    """The kernel package for a virtual machine of this machine's architecture."""
    name = architecture()
    return _KERNELS.get(name, f"linux-image-{name}")


def move_kernel(rootfs: Path) -> str:
    """Move kernel and initramfs from ``/boot`` to ``/usr/lib/modules``; return the version."""
    (image,) = (rootfs / "boot").glob("vmlinuz-*")
    version = image.name.removeprefix("vmlinuz-")
    modules = rootfs / "usr/lib/modules" / version
    image.rename(modules / "vmlinuz")
    (rootfs / f"boot/initrd.img-{version}").rename(modules / "initramfs.img")
    for left in (rootfs / "boot").iterdir():
        left.unlink()
    for link in ("vmlinuz", "vmlinuz.old", "initrd.img", "initrd.img.old"):
        (rootfs / link).unlink(missing_ok=True)
    return version


def apt_options() -> list[str]:
    """What another apt has to be told to reach the mirror as this machine's does."""
    wanted = re.compile(r"Acquire::(Check-(Valid-Until|Date)|https?::Proxy) ")
    said = run(["apt-config", "dump", "Acquire"]).stdout.decode().splitlines()
    return [line for line in said if wanted.match(line) and '""' not in line]


def _build(folder: Path) -> None:
    plain = folder / "plain"
    # The .deb is only fetched: version 2 installs it.
    fetch = f"cd {folder} && APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get download -q less"
    bootstrap(plain, f"{_PACKAGES},{kernel_package()}", f"--customize-hook={fetch}")
    move_kernel(plain)
    for path in _LEAVE_OUT:
        shutil.rmtree(plain / path, ignore_errors=True)
    image = LayeredImage(folder / "layout", folder / "bundle")
    modules = folder / "modules"
    (plain / "usr/lib/modules").rename(modules)
    _move_contents(plain, image.rootfs)
    image.seal("base")
    modules.rename(image.rootfs / "usr/lib/modules")
    image.seal("kernel")
    _configure(image.rootfs, version="1", arguments=["console=ttyS0", "quiet"])
    image.seal("v1")
    (package,) = folder.glob("less_*.deb")
    _upgrade(image.rootfs, package)
    _configure(image.rootfs, version="2", arguments=["console=ttyS0", "loglevel=4"])
    image.seal("v2")
    image.publish("v1", "1")
    image.publish("v2", "2")
    drop_unreachable(folder / "layout", "empty", "base", "kernel")
    for left in (plain, folder / "bundle"):
        shutil.rmtree(left)
    package.unlink()


def _move_contents(source: Path, target: Path) -> None:
    shutil.copystat(source, target)
    for path in sorted(source.iterdir()):
        path.rename(target / path.name)


def _upgrade(rootfs: Path, package: Path) -> None:
    shutil.copy(package, rootfs / "less.deb")
    run(["chroot", rootfs, "dpkg", "--purge", "nano"])
    run(["chroot", rootfs, "dpkg", "--install", "/less.deb"])
    (rootfs / "less.deb").unlink()


def _configure(rootfs: Path, *, version: str, arguments: list[str]) -> None:
    etc = rootfs / "etc"
    (etc / "motd").write_text(f"Welcome to the demo, version {version}.\n")
    (etc / "issue").write_text(f"Debian demo {version} \\n \\l\n\n")
    if not (etc / "hosts").exists():
        (etc / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    release = rootfs / "usr/lib/os-release"
    kept = [line for line in release.read_text().splitlines() if not line.startswith("IMAGE_")]
    named = ["IMAGE_ID=debian-demo", f"IMAGE_VERSION={version}"]
    release.write_text("\n".join([*kept, *named]) + "\n")
    if version != "1":
        with (etc / "login.defs").open("a") as stream:
            stream.write("# Version 2 wants longer passwords.\nPASS_MIN_LEN 12\n")
    kargs = rootfs / "usr/lib/bootc/kargs.d/10-console.toml"
    kargs.parent.mkdir(parents=True, exist_ok=True)
    kargs.write_text(f"kargs = {arguments!r}\n")
