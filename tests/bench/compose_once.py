"""Composes layers of a store in memory.

``python -m bench.compose_once DIR LAYERS``, with diff IDs between commas: what composing costs
without pulling and staging. With a second folder the tree goes to ``tree`` in that, as lines, and
the image to ``image``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from support.dumped_tree import dump_tree

from bootd.model.digest import Digest
from bootd.startup import without_garbage_collection
from bootd.store.erofs import encode_erofs
from bootd.store.images.image import compose_host_layout
from bootd.sysroot import Sysroot


def main(folder: str, layers: str, *keep: str) -> None:
    """Compose, and print how many bytes it came to."""
    sysroot = Sysroot.at(Path(folder))
    diff_ids = [Digest(text) for text in layers.split(",")]
    with without_garbage_collection():
        root = compose_host_layout(sysroot, diff_ids).root
        size = sum(map(len, encode_erofs(root)))
        for target in map(Path, keep):
            (target / "image").write_bytes(b"".join(encode_erofs(root)))
            (target / "tree").write_bytes(b"".join(dump_tree(root)))
    sys.stdout.write(f"{size} bytes\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
