"""The real composefs tools, from Debian sid, to hold bootd's images against.

They live in a small Debian of their own in the cache and are run through its dynamic loader: no
chroot, no mounts, two milliseconds a call.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from support.cache import cached_folder, digest_of

VERSION = "1.0.8"
_SUITE = "sid"
_TIMEOUT = 600
_NEEDED = "install mmdebstrap and let it reach a Debian mirror"


@dataclass(frozen=True)
class Composefs:
    """The tools; `debian` is the folder of the small Debian they are in, a tree to test with."""

    debian: Path
    version: str

    def image_of_dump(self, dump: bytes, version: int = 0) -> bytes:
        """What ``mkcomposefs`` writes for the lines of a dump."""
        least = [f"--min-version={version}"] if version else []
        return self._run("mkcomposefs", [*least, "--from-file", "-", "-"], dump)

    def image_of_folder(self, folder: Path) -> bytes:
        """What ``mkcomposefs`` writes for a folder."""
        return self._run("mkcomposefs", [str(folder), "-"])

    def dump_of_image(self, image: Path) -> bytes:
        """What ``composefs-info dump`` reads in an image."""
        return self._run("composefs-info", ["dump", str(image)])

    def command(self, tool: str, arguments: Sequence[str]) -> list[str]:
        """The whole command that runs one of the tools."""
        (libraries,) = (self.debian / "usr/lib").glob("*-linux-gnu")
        (loader,) = [*libraries.glob("ld-linux*.so.*")][:1]
        program = self.debian / "usr/bin" / tool
        return [*map(str, (loader, "--library-path", libraries, program)), *arguments]

    def _run(self, tool: str, arguments: Sequence[str], stdin: bytes = b"") -> bytes:
        done = subprocess.run(
            self.command(tool, arguments),
            input=stdin,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"{tool} failed: {done.stderr.decode(errors='replace')}")
        return done.stdout


def composefs_tools() -> Composefs:
    """The tools, installed on first use (ten seconds); fails when of another version."""
    folder = cached_folder("composefs-oracle", digest_of(Path(__file__)), _install)
    status = (folder / "var/lib/dpkg/status").read_text(encoding="utf-8")
    (package,) = [part for part in status.split("\n\n") if part.startswith("Package: composefs\n")]
    (version,) = [
        line.removeprefix("Version: ")
        for line in package.splitlines()
        if line.startswith("Version: ")
    ]
    assert version.partition("-")[0] == VERSION, (
        f"Debian {_SUITE} has composefs {version}, and bootd promises the bytes of {VERSION}:"
        f" read what changed before the tests are moved on, and remove {folder}"
    )
    return Composefs(folder, version)


def _install(folder: Path) -> None:
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--include=composefs",
        # A mirror may be a copy that is older than its own date of expiry.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        _SUITE,
        str(folder),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT)
    except FileNotFoundError as error:
        raise AssertionError(f"mmdebstrap is missing: {_NEEDED}") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace")[-2000:]
        raise AssertionError(f"mmdebstrap failed; {_NEEDED}: {said}") from error
