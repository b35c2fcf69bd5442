"""Debian 13's skopeo, on whatever Debian this is: it writes tar-split data."""

from __future__ import annotations

from pathlib import Path

from bootd.process import run
from support.cache import cached_folder, digest_of
from support.debian_image import SUITE, apt_options, architecture, mirror

_TIMEOUT = 900.0


def newer_skopeo() -> Path:
    """The program, fetched on first use and then kept in the cache; it brings its own libraries.

    Raises:
        ProcessFailedError: it cannot be fetched.
    """
    digest = digest_of(SUITE, architecture(), Path(__file__))
    return cached_folder("newer-skopeo", digest, _build) / "skopeo"


def _build(folder: Path) -> None:
    options = [f"--aptopt={line}" for line in apt_options()]
    command = ["mmdebstrap", "--mode=root", "--variant=extract", "--include=skopeo"]
    run([*command, *options, SUITE, folder / "root", mirror()], timeout=_TIMEOUT)
    (loader,) = (folder / "root/usr/lib").glob("*-linux-gnu*/ld-linux-*.so.*")
    script = folder / "skopeo"
    # The folder gets its final name after this.
    script.write_text(
        '#!/bin/sh\nroot=$(dirname "$0")/root\n'
        f"libraries=$root/{loader.parent.relative_to(folder / 'root')}\n"
        f'exec "$libraries/{loader.name}" --library-path "$libraries" "$root/usr/bin/skopeo" "$@"\n'
    )
    script.chmod(0o755)
