"""bootd's composing beside ``mkcomposefs``, on the same tree.

bootd starts from the layers in its store, ``mkcomposefs`` from the lines of the finished tree: what
layers on layers come to is work that it does not do. Both images have to be equal.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.composefs import composefs_tools

from bench.measure import measure
from bench.report import Results
from bench.targets import COMPOSE, OWN
from bootd.store.image import all_images, open_image
from bootd.store.layer_index import layer_lines
from bootd.sysroot import Sysroot

_ENTRIES = 80_000
_NAME = "mkcomposefs --from-file, from the finished tree"


def compare(results: Results, sysroot: Path, folder: Path) -> None:
    """Measure both; `folder` is to work in.

    Raises:
        AssertionError: the images differ.
    """
    own = [sys.executable, "-m", "bench.compose_once", sysroot, str(_layers(sysroot))]
    results.add(COMPOSE, OWN, measure(own, folder=folder))
    with results.part(_NAME):
        subprocess.run([*own, folder], check=True, capture_output=True)
        arguments = ["--from-file", str(folder / "tree"), str(folder / "theirs")]
        command = composefs_tools().command("mkcomposefs", arguments)
        results.add(COMPOSE, _NAME, measure(command, folder=folder))
        same = (folder / "theirs").read_bytes() == (folder / "image").read_bytes()
        assert same, "mkcomposefs made another image"


def _layers(folder: Path) -> int:
    """How many of the lowest layers have the entries together that are asked for."""
    sysroot = Sysroot.at(folder)
    entries = layers = 0
    for diff_id in open_image(sysroot, all_images(sysroot)[0]).diff_ids():
        if entries >= _ENTRIES:
            break
        layers += 1
        entries += sum(block.count(b"\n") for block in layer_lines(sysroot, diff_id))
    return layers
