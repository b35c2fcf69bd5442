"""Composes the lowest layers of a store's first image in memory.

``python -m bench.compose_once DIR LAYERS``: what composing costs without pulling and staging. With
a second folder the tree goes to ``tree`` in that, as lines, and the image to ``image``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bootd.store.dumpfile import dump_tree
from bootd.store.erofs import encode_erofs
from bootd.store.image import (
    all_images,
    compose_host_layout,
    open_image,
    without_garbage_collection,
)
from bootd.sysroot import Sysroot


def main(folder: str, layers: str, *keep: str) -> None:
    """Compose, and print how many bytes it came to."""
    sysroot = Sysroot.at(Path(folder))
    chosen = open_image(sysroot, all_images(sysroot)[0]).diff_ids()[: int(layers)]
    with without_garbage_collection():
        root = compose_host_layout(sysroot, chosen).root
        size = sum(map(len, encode_erofs(root)))
        for target in map(Path, keep):
            (target / "image").write_bytes(b"".join(encode_erofs(root)))
            (target / "tree").write_bytes(b"".join(dump_tree(root)))
    sys.stdout.write(f"{size} bytes\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
