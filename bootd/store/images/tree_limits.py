"""What no entry of an image may be, told of a tree: for the linter.

Staging finds the same while it reads layers, by the same functions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from bootd.model.errors import InvalidLayerError, InvalidTreeError
from bootd.model.registry.refusal import Refusal
from bootd.model.tree import Directory, walk
from bootd.store.erofs.inodes import check_xattrs
from bootd.store.layer_entry import tree_path
from bootd.store.tar.attributes import AttributeBound


def limit_refusals(root: Directory) -> Iterator[Refusal]:
    """Yield the entries of a tree that are too long, too deep or have too many attributes."""
    together = AttributeBound("the image")
    is_within = True
    for path, node in walk(root):
        xattrs = node.metadata.xattrs
        try:
            tree_path(path)
            check_xattrs(path.rpartition(b"/")[2], xattrs)
        except (InvalidLayerError, InvalidTreeError) as error:
            yield Refusal(os.fsdecode(path), error)
        if is_within and xattrs:
            try:
                together.add(xattrs)
            except InvalidLayerError as error:
                is_within = False
                yield Refusal("", error)
