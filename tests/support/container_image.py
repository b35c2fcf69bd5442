"""The image that ``packaging/container/Containerfile`` describes, built by buildah.

Only the base is our own: no registry is asked for it, mmdebstrap makes it. The build runs in a
chroot, as namespaces of containers cannot be had everywhere.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from bootd.process import run
from support.cache import cached_folder, digest_of
from support.debian_image import SUITE, architecture, bootstrap, kernel_package
from support.vm_packages import CHECKOUT, debian_packages

OS = "os"
_BASE = f"docker.io/library/debian:{SUITE}"
_RECIPE = CHECKOUT / "packaging/container"
_MORE = (
    *("attr", "ca-certificates", "fsverity", "iproute2", "mdadm", "nano", "procps"),
    "systemd-boot-tools",
)
"""What the tests in virtual machines use."""
_ANYWAY = (
    *("dbus", "diffutils", "dosfstools", "dracut", "e2fsprogs", "polkitd", "python3-dbus-next"),
    *(
        "python3-isal",
        "python3-pydantic",
        "python3-requests",
        "python3-systemd",
        "python3-zstandard",
    ),
    *("systemd-boot-efi", "systemd-sysv"),
)
"""What the Containerfile and bootd's packages install in any case: in the base it is installed once
and not for each change of bootd."""
_BUILD_SECONDS = 1_800.0


def container_image(*packages: str, clock: str = "systemd-timesyncd") -> Path:
    """The OCI layout folder with the tag `OS`, built on first use and then kept in the cache.

    Args:
        packages: what machines of this image have beside what all tests use.
        clock: the package of what sets their clock.

    Raises:
        ProcessFailedError: a tool is missing or failed; its own words are in the message.
    """
    folders = (_RECIPE, _RECIPE / "etc")
    recipe = [path for folder in folders for path in sorted(folder.iterdir()) if path.is_file()]
    wanted = " ".join([*_MORE, *packages])
    base = _base(wanted)
    inputs = (debian_packages().name, base.parent.name, wanted, clock)
    digest = digest_of(*inputs, Path(__file__), *recipe)
    build = partial(_build, base=base, packages=wanted, clock=clock)
    return cached_folder("container-image", digest, build) / "layout"


def _base(packages: str) -> Path:
    wanted = ",".join([kernel_package(), *_ANYWAY, *packages.split()])
    digest = digest_of(SUITE, architecture(), wanted)
    build = partial(_bootstrap, packages=wanted)
    return cached_folder("container-base", digest, build) / "base.tar"


def _bootstrap(folder: Path, packages: str) -> None:
    # As in published images, nothing is of the machine that built it.
    forget = 'rm -f "$1/etc/hostname" "$1/etc/resolv.conf"'
    options = ("--skip=output/dev", f"--customize-hook={forget}")
    bootstrap(folder / "base.tar", packages, *options)


def _build(folder: Path, base: Path, packages: str, clock: str) -> None:
    context = folder / "context"
    shutil.copytree(_RECIPE, context, symlinks=True, ignore=shutil.ignore_patterns("packages"))
    shutil.copytree(debian_packages(), context / "packages")
    storage = folder / "storage"
    container = _buildah(storage, "from", "scratch")
    _buildah(storage, "add", "--quiet", container, str(base))
    _buildah(storage, "commit", "--quiet", "--rm", container, _BASE)
    arguments = (f"KERNEL={kernel_package()}", f"PACKAGES={packages}", f"CLOCK={clock}")
    options = ["--isolation=chroot", "--pull=never", f"--tag={OS}"]
    options += [f"--build-arg={argument}" for argument in arguments]
    _buildah(storage, "build", *options, f"--file={context / 'Containerfile'}", str(context))
    _buildah(storage, "push", "--quiet", OS, f"oci:{folder / 'layout'}:{OS}")
    shutil.rmtree(storage)
    shutil.rmtree(context)


def _buildah(storage: Path, *words: str) -> str:
    # Plain folders: other drivers need more of the kernel, and remove less easily.
    where = (f"--root={storage / 'root'}", f"--runroot={storage / 'run'}", "--storage-driver=vfs")
    done = run(["buildah", *where, *words], timeout=_BUILD_SECONDS)
    return done.stdout.decode().strip()
