"""A Debian 13 with bootd from its own packages, as an OCI layout with the tag ``os``.

``packaging/container/Containerfile`` says how such an image is built. Containers do not run
everywhere, so this takes the same steps with mmdebstrap and umoci; the last one, ``finish-image``,
is the very same file. What only the tests need comes as a layer on top (`support.vm_versions`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bootd.process import run
from support.cache import cached_folder, digest_of
from support.debian_image import SUITE, architecture, bootstrap, kernel_package
from support.layered_image import LayeredImage, drop_unreachable
from support.vm_packages import CHECKOUT, debian_packages

OS = "os"
BUILD_SECONDS = 1_800.0
_PACKAGES = (
    *("systemd-sysv", "systemd-boot-efi", "udev", "dbus", "polkitd", "dracut", "e2fsprogs"),
    *("iproute2", "procps", "nano", "ca-certificates", "fsverity", "attr", "python3"),
    *("python3-dbus-next", "python3-pydantic", "python3-requests", "python3-systemd"),
    *("python3-zstandard", "python3-merge3"),
)
_LEAVE_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info")
_FINISH = CHECKOUT / "packaging/container/finish-image"


def vm_image() -> Path:
    """The OCI layout folder, built on first use (some minutes) and then kept in the cache.

    Raises:
        ProcessFailedError: a tool is missing or failed; its own words are in the message.
    """
    inputs = (Path(__file__), Path(__file__).with_name("layered_image.py"), _FINISH)
    digest = digest_of(debian_packages().name, _base().name, *inputs)
    return cached_folder("vm-image", digest, _build) / "layout"


@contextmanager
def devices_in(rootfs: Path) -> Iterator[None]:
    """Give a tree ``/dev`` and ``/proc``, which dracut looks at, while the context lasts."""
    mounted: list[Path] = []
    try:
        for name, kind in (("proc", "proc"), ("dev", "devtmpfs")):
            run(["mount", "-t", kind, kind, rootfs / name])
            mounted.append(rootfs / name)
        yield
    finally:
        for place in reversed(mounted):
            run(["umount", place])


def _base() -> Path:
    digest = digest_of(SUITE, architecture(), *_PACKAGES)
    return cached_folder("vm-base", digest, _bootstrap)


def _bootstrap(folder: Path) -> None:
    tree = folder / "root"
    bootstrap(tree, ",".join((*_PACKAGES, kernel_package())))
    for path in _LEAVE_OUT:
        shutil.rmtree(tree / path, ignore_errors=True)
    for initramfs in (tree / "boot").glob("initrd.img-*"):
        # finish-image builds one when bootd is there.
        initramfs.unlink()


def _build(folder: Path) -> None:
    image = LayeredImage(folder / "layout", folder / "bundle")
    run(["cp", "--archive", f"{_base()}/root/.", image.rootfs], timeout=BUILD_SECONDS)
    image.seal("base")
    _install_bootd(image.rootfs)
    image.seal(OS)
    drop_unreachable(folder / "layout", "empty", "base")
    shutil.rmtree(folder / "bundle")


def _install_bootd(rootfs: Path) -> None:
    work = rootfs / "run/build"
    work.mkdir(parents=True)
    for name in ("bootd", "bootd-dracut"):
        (package,) = debian_packages().glob(f"{name}_*.deb")
        shutil.copy(package, work)
    shutil.copy2(_FINISH, work / "finish-image")
    script = "dpkg --install /run/build/*.deb && /run/build/finish-image"
    with devices_in(rootfs):
        run(["chroot", rootfs, "sh", "-euc", script], timeout=BUILD_SECONDS)
    shutil.rmtree(work)
