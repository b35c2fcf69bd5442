"""SHA-256 digests of images, each as the real ``mkcomposefs`` 1.0.8 writes it.

The integration tests hold them against the tool, the unit tests hold bootd against them.
"""

from __future__ import annotations

from collections.abc import Callable

from bootd.model.tree import Directory, Metadata
from support.trees import crowded_tree, deep_tree, labelled_tree, sample_tree, sharing_tree

GOLDEN: dict[str, tuple[Callable[[], Directory], str]] = {
    "empty": (
        lambda: Directory(Metadata()),
        "c3dc5b0fc4afb0693a95e017fe5815e1f88f204d485df617541b5ea659aefb8b",
    ),
    "sample": (sample_tree, "0421c4f96e6b69ff130f64b71d6fab52fab06807efc68621d36653faa915996e"),
    "crowded": (
        lambda: crowded_tree(3000),
        "9261c32b2f1d6f1fc063066ffff4088a0fd4a4afabac6996a32b842f159a491d",
    ),
    "sharing": (sharing_tree, "aed790c91085d1dbe75d8a1591c5c728348a59bb61b86d6da5de610ae89705df"),
    "labelled": (labelled_tree, "8bf911efe33318afcb4aaf330cace8d799204e4260ed6621c725026e26aab351"),
    "deep": (
        lambda: deep_tree(1500),
        "97bc6da7e9c205caedf415ff2df7572668dd4ed773dd4ddbbca2e37f1fb8d775",
    ),
}
