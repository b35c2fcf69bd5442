"""bootd's Debian packages, built from this checkout as they are shipped."""

from __future__ import annotations

import shutil
from pathlib import Path

from bootd.process import run
from support.cache import cached_folder, digest_of

CHECKOUT = Path(__file__).resolve().parents[2]
_INPUTS = ("bootd", "dbus", "docs/man", "packaging", "systemd", "CHANGELOG.md")
_BUILD_TIMEOUT = 600.0


def debian_packages() -> Path:
    """The folder of the ``.deb`` files, built on first use and then kept in the cache.

    Raises:
        ProcessFailedError: a tool is missing or failed; its own words are in the message.
    """
    return cached_folder("debian-packages", _digest(), _build)


def _sources() -> list[Path]:
    """What goes into the packages; a change of anything else builds none anew."""
    listed = run(["git", "-C", CHECKOUT, "ls-files", "-z", "--", *_INPUTS]).stdout.decode()
    paths = (CHECKOUT / name for name in sorted(listed.split("\0")) if name)
    return [path for path in paths if path.is_file()]


def _digest() -> str:
    inputs: list[str | Path] = []
    for path in _sources():
        inputs += [str(path.relative_to(CHECKOUT)), path]
    return digest_of(*inputs)


def _build(folder: Path) -> None:
    tree = folder / "bootd"
    for path in _sources():
        copy = tree / path.relative_to(CHECKOUT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    shutil.copytree(tree / "packaging/debian", tree / "debian")
    # dpkg-buildpackage builds the folder it is started in; dh_python3 finds its modules beside
    # itself, which a safe path keeps it from.
    build = 'cd "$1" && shift && exec env --unset=PYTHONSAFEPATH dpkg-buildpackage "$@"'
    options = ("--unsigned-changes", "--unsigned-source", "--build=binary")
    run(["sh", "-c", build, "sh", tree, *options], timeout=_BUILD_TIMEOUT)
    shutil.rmtree(tree)
