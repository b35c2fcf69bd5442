"""Composes the lowest layers of a store's first image, some 80,000 entries, in memory.

``python -m bench.compose_once DIR``: what composing costs without pulling and staging. With
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
from bootd.store.layer_index import layer_lines
from bootd.sysroot import Sysroot

ENTRIES = 80_000


def main(folder: str, *keep: str) -> None:
    """Compose, and print how many entries and bytes it came to."""
    sysroot = Sysroot.at(Path(folder))
    chosen, entries = [], 0
    for diff_id in open_image(sysroot, all_images(sysroot)[0]).diff_ids():
        if entries < ENTRIES:
            chosen.append(diff_id)
            entries += sum(block.count(b"\n") for block in layer_lines(sysroot, diff_id))
    with without_garbage_collection():
        root = compose_host_layout(sysroot, chosen).root
        size = sum(map(len, encode_erofs(root)))
        for target in map(Path, keep):
            (target / "image").write_bytes(b"".join(encode_erofs(root)))
            (target / "tree").write_bytes(b"".join(dump_tree(root)))
    sys.stdout.write(f"{entries} entries, {size} bytes\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
