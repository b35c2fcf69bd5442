"""Things that are slow to build, kept outside the checkout by a digest of what they are made from.

The folder may be removed at any time (``make clean-cache``): what is missing is built again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_directory() -> Path:
    """``$BOOTD_CACHE``, or ``bootd`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("BOOTD_CACHE") or Path(base) / "bootd")


def digest_of(*inputs: str | Path) -> str:
    """A short digest of texts and of the contents of files."""
    running = hashlib.sha256()
    for one in inputs:
        data = one.read_bytes() if isinstance(one, Path) else one.encode()
        running.update(len(data).to_bytes(8, "big") + data)
    return running.hexdigest()[:16]


def cached_folder(name: str, digest: str, build: Callable[[Path], None]) -> Path:
    """The folder ``<name>-<digest>``; `build` fills an empty one if there is none yet.

    Processes that want the same folder wait for the one that builds it.
    """
    parent = cache_directory()
    parent.mkdir(parents=True, exist_ok=True)
    target = parent / f"{name}-{digest}"
    # It appears whole, and who builds another one must not be waited for.
    if target.exists():
        return target
    with _only_one(parent / f".{name}.lock"):
        if not target.exists():
            work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=parent))
            try:
                build(work)
                work.rename(target)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    return target


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
