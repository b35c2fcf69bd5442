"""Where the tools work: an ext4 of our own, in a file of the cache.

What a cache lies on may be far from what machines have. One such disk was mounted with ``discard``
and had no journal: there each unlink(2) waits until the disk knows of it, and a tenth of a layer's
files cost as much to remove as the layer to import.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.cache import cache_directory

from bootd.process import run

_BYTES = 64 << 30
"""The file has holes: it takes what is written."""
_SECONDS = 300.0


@contextmanager
def work_folder() -> Iterator[Path]:
    """Give an empty folder on a new ext4 with mke2fs(8)'s defaults; it is gone afterwards.

    Raises:
        ProcessFailedError: that failed; it takes root.
    """
    cache_directory().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bench-work-", dir=cache_directory()) as name:
        disk, folder = Path(name, "disk"), Path(name, "mounted")
        disk.touch()
        os.truncate(disk, _BYTES)
        run(["mkfs.ext4", "-q", disk], timeout=_SECONDS)
        folder.mkdir()
        run(["mount", "-o", "loop,nodiscard", disk, folder])
        try:
            yield folder
        finally:
            run(["umount", folder], timeout=_SECONDS)
