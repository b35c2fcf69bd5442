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
_MORE = ("attr", "ca-certificates", "fsverity", "iproute2", "nano", "procps")
"""What the tests in virtual machines use."""
_BUILD_SECONDS = 1_800.0


def container_image(*packages: str) -> Path:
    """The OCI layout folder with the tag `OS`, built on first use and then kept in the cache.

    Args:
        packages: what machines of this image have beside what all tests use.

    Raises:
        ProcessFailedError: a tool is missing or failed; its own words are in the message.
    """
    recipe = [path for path in sorted(_RECIPE.iterdir()) if path.is_file()]
    wanted = " ".join([*_MORE, *packages])
    digest = digest_of(debian_packages().name, _base().parent.name, wanted, Path(__file__), *recipe)
    build = partial(_build, packages=wanted)
    return cached_folder("container-image", digest, build) / "layout"


def _base() -> Path:
    digest = digest_of(SUITE, architecture())
    return cached_folder("container-base", digest, _bootstrap) / "base.tar"


def _bootstrap(folder: Path) -> None:
    # As in published images, nothing is of the machine that built it.
    forget = 'rm -f "$1/etc/hostname" "$1/etc/resolv.conf"'
    options = ("--skip=output/dev", f"--customize-hook={forget}")
    bootstrap(folder / "base.tar", "ca-certificates", *options)


def _build(folder: Path, packages: str) -> None:
    context = folder / "context"
    shutil.copytree(_RECIPE, context, ignore=shutil.ignore_patterns("packages"))
    shutil.copytree(debian_packages(), context / "packages")
    storage = folder / "storage"
    container = _buildah(storage, "from", "scratch")
    _buildah(storage, "add", "--quiet", container, str(_base()))
    _buildah(storage, "commit", "--quiet", "--rm", container, _BASE)
    arguments = (f"KERNEL={kernel_package()}", f"PACKAGES={packages}")
    options = ("--isolation=chroot", "--pull=never", f"--tag={OS}")
    options += tuple(f"--build-arg={argument}" for argument in arguments)
    _buildah(storage, "build", *options, f"--file={context / 'Containerfile'}", str(context))
    _buildah(storage, "push", "--quiet", OS, f"oci:{folder / 'layout'}:{OS}")
    shutil.rmtree(storage)
    shutil.rmtree(context)


def _buildah(storage: Path, *words: str) -> str:
    # Plain folders: other drivers need more of the kernel, and remove less easily.
    where = (f"--root={storage / 'root'}", f"--runroot={storage / 'run'}", "--storage-driver=vfs")
    done = run(["buildah", *where, *words], timeout=_BUILD_SECONDS)
    return done.stdout.decode().strip()
