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
from bootd.model.digest import Digest
from bootd.store.images.image import all_images, open_image
from bootd.store.layer_index import layer_lines
from bootd.sysroot import Sysroot

_ENTRIES = 80_000
_NAME = "mkcomposefs --from-file, from the finished tree"


def compare(results: Results, sysroot: Path, folder: Path) -> None:
    """Measure both; `folder` is to work in.

    Raises:
        AssertionError: the images differ.
    """
    own = [sys.executable, "-m", "bench.compose_once", sysroot, ",".join(_layers(sysroot))]
    results.add(COMPOSE, OWN, measure(own, folder=folder))
    with results.part(_NAME):
        subprocess.run([*own, folder], check=True, capture_output=True)
        arguments = ["--from-file", str(folder / "tree"), str(folder / "theirs")]
        command = composefs_tools().command("mkcomposefs", arguments)
        results.add(COMPOSE, _NAME, measure(command, folder=folder))
        same = (folder / "theirs").read_bytes() == (folder / "image").read_bytes()
        assert same, "mkcomposefs made another image"


def _layers(folder: Path) -> list[Digest]:
    """The fewest layers that have the entries together that are asked for, the lowest first."""
    sysroot = Sysroot.at(folder)
    diff_ids = open_image(sysroot, all_images(sysroot)[0]).diff_ids()
    entries = {one: sum(map(_lines, layer_lines(sysroot, one))) for one in diff_ids}
    chosen: list[Digest] = []
    for one in sorted(diff_ids, key=entries.__getitem__, reverse=True):
        if sum(map(entries.__getitem__, chosen)) < _ENTRIES:
            chosen.append(one)
    return sorted(chosen, key=diff_ids.index)


def _lines(block: bytes) -> int:
    return block.count(b"\n")
