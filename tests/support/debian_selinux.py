"""Root folders of Debian 13 with its SELinux policy, in two releases that differ in a module."""

from __future__ import annotations

from pathlib import Path

from bootd.process import run
from support.cache import cached_folder, digest_of
from support.debian_image import SUITE, architecture, bootstrap

STORE = "var/lib/selinux"
COMING, GOING = "cdrecord", "acct"
"""The modules that only the second release has, and only the first one."""
_PACKAGES = "policycoreutils,selinux-policy-default,selinux-utils"
_SHIPPED = "usr/share/selinux/default"
_COPY_SECONDS = 300.0
_POLICY_SECONDS = 300.0


def releases() -> tuple[Path, Path]:
    """Both roots, built on first use (two minutes) and then kept in the cache; to be copied only.

    Raises:
        ProcessFailedError: a tool is missing or failed; its own words are in the message.
    """
    digest = digest_of(SUITE, architecture(), _PACKAGES, Path(__file__))
    folder = cached_folder("debian-selinux", digest, _build)
    return folder / "v1", folder / "v2"


def _build(folder: Path) -> None:
    bootstrap(folder / "v1", _PACKAGES)
    copy(folder / "v1", folder / "v2")
    withdraw(folder / "v1", COMING)
    withdraw(folder / "v2", GOING)


def copy(root: Path, target: Path) -> Path:
    """Copy a root folder."""
    run(["cp", "--archive", "--reflink=auto", root, target], timeout=_COPY_SECONDS)
    return target


def withdraw(root: Path, module: str) -> None:
    """Build a root's policy without a module that the package has, as a release would."""
    listed = root / _SHIPPED / ".modules"
    kept = [line for line in listed.read_text().splitlines() if line != module]
    listed.write_text("".join(f"{line}\n" for line in kept))
    within(root, "semodule", "-n", "-X", "100", "-r", module)


def bring(root: Path, module: str) -> None:
    """Build a root's policy with a module that was withdrawn before."""
    with (root / _SHIPPED / ".modules").open("a") as stream:
        stream.write(f"{module}\n")
    package = f"/{_SHIPPED}/{module}.pp.bz2"
    within(root, "semodule", "-n", "-X", "100", "-i", package)


def within(root: Path, *command: str) -> str:
    """Run a program inside a root folder that may build a policy; return what it prints."""
    return run(["chroot", root, *command], timeout=_POLICY_SECONDS).stdout.decode()
