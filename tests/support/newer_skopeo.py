"""Debian 13's skopeo, on whatever Debian this is: it writes tar-split data."""

from __future__ import annotations

from pathlib import Path

from support.cache import cached_folder, digest_of
from support.debian_image import SUITE, architecture, bootstrap


def newer_skopeo() -> Path:
    """The program, fetched on first use and then kept in the cache; it brings its own libraries.

    Raises:
        ProcessFailedError: it cannot be fetched.
    """
    digest = digest_of(SUITE, architecture(), Path(__file__))
    return cached_folder("newer-skopeo", digest, _build) / "skopeo"


def _build(folder: Path) -> None:
    # Unpacked is enough; the last of two variants counts.
    bootstrap(folder / "root", "skopeo", "--variant=extract")
    (loader,) = (folder / "root/usr/lib").glob("*-linux-gnu*/ld-linux-*.so.*")
    script = folder / "skopeo"
    # The folder gets its final name after this.
    script.write_text(
        '#!/bin/sh\nroot=$(dirname "$0")/root\n'
        f"libraries=$root/{loader.parent.relative_to(folder / 'root')}\n"
        f'exec "$libraries/{loader.name}" --library-path "$libraries" "$root/usr/bin/skopeo" "$@"\n'
    )
    script.chmod(0o755)
