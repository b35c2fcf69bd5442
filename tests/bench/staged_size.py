"""One first pull of a synthetic image: what it took, and what it left on the disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from support.registry import run_docker_registry

from bench.bootd_tool import Bootd, phases
from bench.measure import Measurement
from bench.synthetic import Shape, upload_image


def stage_synthetic(folder: Path, shape: Shape) -> dict[str, Any]:
    """Make an image, stage it on an empty disk, and remove both; return the figures."""
    folder.mkdir()
    try:
        with run_docker_registry(folder) as registry:
            reference = upload_image(registry.host, "bench/synthetic", shape)
            tool = Bootd(folder / "bootd", registry)
            tool.prepare()
            measurement = tool.stage(reference)
            return {**asdict(shape), **figures_of(measurement), **disk_of(tool.sysroot)}
    finally:
        shutil.rmtree(folder)


def figures_of(measurement: Measurement) -> dict[str, Any]:
    """What a job took, with the time of each phase."""
    names = "seconds", "durable_seconds", "cpu_seconds", "peak_pss", "written_bytes", "wire_bytes"
    figures = {name: round(getattr(measurement, name), 3) for name in names}
    taken = {phase: round(seconds, 3) for phase, seconds in phases(measurement).items()}
    return {**figures, "phases": taken}


def disk_of(folder: Path) -> dict[str, int]:
    """How many bytes and inodes a folder takes; a file with several names counts once."""
    seen = {(status.st_dev, status.st_ino): status for status in _statuses(folder)}
    size = sum(status.st_blocks for status in seen.values()) * 512
    return {"disk_bytes": size, "inodes": len(seen)}


def _statuses(folder: Path) -> Iterator[os.stat_result]:
    for place, _, files in os.walk(folder):
        yield os.lstat(place)
        for name in files:
            yield os.lstat(f"{place}/{name}")
