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

_NAME = "mkcomposefs --from-file, from the finished tree"


def compare(results: Results, sysroot: Path, folder: Path) -> None:
    """Measure both; `folder` is to work in.

    Raises:
        AssertionError: the images differ.
    """
    own = [sys.executable, "-m", "bench.compose_once", sysroot]
    results.add(COMPOSE, OWN, measure(own, folder=folder))
    with results.part(_NAME):
        subprocess.run([*own, folder], check=True, capture_output=True)
        arguments = ["--from-file", str(folder / "tree"), str(folder / "theirs")]
        command = composefs_tools().command("mkcomposefs", arguments)
        results.add(COMPOSE, _NAME, measure(command, folder=folder))
        same = (folder / "theirs").read_bytes() == (folder / "image").read_bytes()
        assert same, "mkcomposefs made another image"
