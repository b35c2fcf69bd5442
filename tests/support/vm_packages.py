"""bootd's Debian packages, built from this checkout as they are shipped."""

from __future__ import annotations

from pathlib import Path

from bootd.process import run
from support.cache import cached_folder, digest_of

CHECKOUT = Path(__file__).resolve().parents[2]
_BUILD = CHECKOUT / "packaging/build-debian-packages"
_BUILD_TIMEOUT = 600.0


def debian_packages() -> Path:
    """The folder of the ``.deb`` files, built on first use and then kept in the cache.

    Raises:
        ProcessFailedError: a tool is missing or failed; its own words are in the message.
    """
    return cached_folder("debian-packages", _digest(), build_packages)


def build_packages(folder: Path) -> None:
    """Build the packages into a folder.

    Raises:
        ProcessFailedError: as above.
    """
    run([_BUILD, folder], timeout=_BUILD_TIMEOUT)


def _digest() -> str:
    """Of what goes into the packages; a change of anything else builds none anew."""
    inputs: list[str | Path] = []
    for name in run([_BUILD, "--sources"]).stdout.decode().split("\0")[:-1]:
        inputs += [name, CHECKOUT / name]
    return digest_of(*inputs)
