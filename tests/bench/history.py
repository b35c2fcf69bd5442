"""One machine that is upgraded and restarted night after night."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.registry import run_docker_registry

from bench.bootd_tool import Bootd
from bench.staged_size import disk_of, figures_of
from bench.synthetic import Layer, Shape, upload_image

_LOOK_EVERY = 5
"""Nights between two looks at the whole disk."""


def nights(folder: Path, first: Shape, count: int) -> Iterator[dict[str, Any]]:
    """Stage the first version and then `count` others, each after a restart into the one before.

    Yields what each took, and what is on the disk after it; `folder` is empty.
    """
    known: dict[int, Layer] = {}
    with run_docker_registry(folder) as registry:
        tool = Bootd(folder, registry)
        tool.prepare()
        for night in range(count + 1):
            shape = Shape(first.size, first.entries, first.layers, night)
            reference = upload_image(registry.host, "bench/nightly", shape, known)
            measurement = tool.stage(reference)
            tool.restart()
            disk = disk_of(tool.sysroot) if night % _LOOK_EVERY == 0 else {}
            yield {"night": night, **figures_of(measurement), **disk}
