"""A Debian 13 with bootd from its own packages, as an OCI layout with the tags ``v1`` and ``v2``.

``packaging/container/Containerfile`` says how such an image is built. Containers do not run
everywhere, so this takes the same steps with mmdebstrap and umoci; the last one, ``finish-image``,
is the very same file. What only the tests need comes as a layer on top.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from bootd.process import run
from support.cache import cached_folder, digest_of
from support.debian_image import SUITE, architecture, bootstrap, kernel_package
from support.layered_image import LayeredImage, drop_unreachable
from support.vm_packages import CHECKOUT, debian_packages

VERSIONS = ("v1", "v2")
_PACKAGES = (
    *("systemd-sysv", "systemd-boot-efi", "udev", "dbus", "polkitd", "dracut", "e2fsprogs"),
    *("iproute2", "procps", "nano", "ca-certificates", "python3", "python3-dbus-next"),
    *("python3-pydantic", "python3-requests", "python3-systemd", "python3-zstandard"),
)
_LEAVE_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info")
_FINISH = CHECKOUT / "packaging/container/finish-image"
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
_ARGUMENTS = ("console=ttyS0", "systemd.firstboot=no", "panic=5", "rd.retry=20")
_BUILD_TIMEOUT = 1_800.0


def vm_image() -> Path:
    """The OCI layout folder, built on first use (some minutes) and then kept in the cache.

    Raises:
        ProcessFailedError: a tool is missing or failed; its own words are in the message.
    """
    packages = debian_packages()
    inputs = (Path(__file__), _AGENT, Path(__file__).with_name("layered_image.py"))
    digest = digest_of(packages.name, _base().name, *inputs)
    return cached_folder("vm-image", digest, _build) / "layout"


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
    run(["cp", "--archive", f"{_base()}/root/.", image.rootfs], timeout=_BUILD_TIMEOUT)
    image.seal("base")
    _install_bootd(image.rootfs)
    image.seal("os")
    for version in VERSIONS:
        _configure(image.rootfs, version)
        image.seal(version)
        image.publish(version, version.removeprefix("v"))
    drop_unreachable(folder / "layout", "empty", "base", "os")
    shutil.rmtree(folder / "bundle")


def _install_bootd(rootfs: Path) -> None:
    work = rootfs / "run/build"
    work.mkdir(parents=True)
    for name in ("bootd", "bootd-dracut"):
        (package,) = debian_packages().glob(f"{name}_*.deb")
        shutil.copy(package, work)
    shutil.copy2(_FINISH, work / "finish-image")
    script = "dpkg --install /run/build/*.deb && /run/build/finish-image"
    # dracut looks at /dev and /proc.
    for name, kind in (("proc", "proc"), ("dev", "devtmpfs")):
        run(["mount", "-t", kind, kind, rootfs / name])
    try:
        run(["chroot", rootfs, "sh", "-euc", script], timeout=_BUILD_TIMEOUT)
    finally:
        for name in ("dev", "proc"):
            run(["umount", rootfs / name])
    shutil.rmtree(work)


def _configure(rootfs: Path, version: str) -> None:
    units = rootfs / "usr/lib/systemd/system"
    files = {
        rootfs / "etc/motd": f"Welcome to {version}.\n",
        rootfs / "usr/lib/systemd/network/80-test.network": _NETWORK,
        rootfs / "usr/lib/bootc/kargs.d/10-test.toml": f"kargs = {list(_ARGUMENTS)!r}\n",
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
    release = rootfs / "usr/lib/os-release"
    kept = [line for line in release.read_text().splitlines() if not line.startswith("IMAGE_")]
    named = ["IMAGE_ID=bootd-test", f"IMAGE_VERSION={version}"]
    release.write_text("\n".join([*kept, *named]) + "\n")
