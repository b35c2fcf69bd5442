"""A Debian 13 tree with bootd from its packages and nothing from PyPI, to run unit tests in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bootd.process import run
from support.cache import cached_folder, digest_of
from support.debian_image import SUITE, architecture, bootstrap
from support.vm_packages import CHECKOUT, debian_packages

_DEPENDENCIES = (
    *("dbus", "gpgv", "polkitd", "systemd", "python3-cryptography", "python3-dbus-next"),
    *("python3-openssl", "python3-pydantic", "python3-requests", "python3-systemd"),
    *("python3-urllib3", "python3-yaml"),
)
_RECOMMENDED = ("python3-isal", "python3-rich", "python3-zstandard")
_OF_ONE_ARCHITECTURE = {"amd64": ("libipsec-mb2",)}
_OF_THE_TESTS = (
    *("python3-hypothesis", "python3-jsonschema", "python3-pytest", "python3-pytest-asyncio"),
    *("python3-pytest-timeout", "python3-pytest-xdist", "python3-trustme"),
)
# All of it is in name spaces of its own and in memory, and so gone when the command ends.
_SCRIPT = """
base=$1 packages=$2 work=$3; shift 3
mount -t tmpfs tmpfs "$work"
cd "$work"
mkdir upper work root
mount -t overlay -o lowerdir="$base",upperdir=upper,workdir=work overlay root
mount --rbind /dev root/dev
mount -t proc proc root/proc
mount -t tmpfs -o mode=1777 tmpfs root/tmp
cp "$packages"/bootd_*.deb "$packages"/bootd-tools_*.deb root/srv
chroot root sh -c 'dpkg --install /srv/*.deb'
mkdir root/src
tar --extract --directory root/src
chroot root chown -R nobody: /src
exec chroot root setpriv --reuid nobody --regid nogroup --clear-groups --inh-caps=-all \
    env --chdir=/src --ignore-environment HOME=/tmp LC_ALL=C.UTF-8 PATH=/usr/bin:/usr/sbin \
    PYTHONSAFEPATH=1 "$@"
"""


def run_in_debian(
    command: Sequence[str], work: Path, timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in such a tree, as nobody, in a copy of the checkout that lacks ``bootd/``.

    Args:
        command: what to run.
        work: an empty folder, to mount the tree in.
        timeout: seconds.

    Raises:
        ProcessFailedError: the tree could not be made, or the command took too long.
    """
    tree = cached_folder("debian-tree", digest_of(SUITE, architecture(), _packages()), _bootstrap)
    places = map(str, (tree / "root", debian_packages(), work))
    script = ["sh", "-euc", _SCRIPT, "sh", *places, *map(str, command)]
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    return run([*apart, *script], stdin=_tests(), timeout=timeout, expected=range(256))


def _bootstrap(folder: Path) -> None:
    bootstrap(folder / "root", _packages())


def _packages() -> str:
    special = _OF_ONE_ARCHITECTURE.get(architecture(), ())
    return ",".join((*_DEPENDENCIES, *_RECOMMENDED, *special, *_OF_THE_TESTS))


def _tests() -> bytes:
    """What of the checkout the tests need, as a tar file; not the modules, which are installed."""
    listed = run(["git", "-C", CHECKOUT, "ls-files", "-z", "--", ".", ":!bootd"]).stdout
    there = [
        name for name in listed.split(b"\0") if name and (CHECKOUT / os.fsdecode(name)).exists()
    ]
    command = ["tar", "--create", f"--directory={CHECKOUT}", "--null", "--files-from=-"]
    return run(command, stdin=b"\0".join(there)).stdout
