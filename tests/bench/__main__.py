"""``make bench``: rounds of all tools in turn, medians, ratios, and the targets beside them.

`bench.sizes` says what the environment can change. A part that fails costs its own figures and no
others. The exit status is 1 where a target was missed or not measured.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from support.registry import run_docker_registry

from bench import crowd, etc_merge, partial_fetch
from bench.big_image import big_image
from bench.floors import floor_seconds, layers_of
from bench.report import Results, machine_facts
from bench.rounds import Rounds
from bench.sizes import size
from bench.staged_size import stage_synthetic
from bench.synthetic import Shape
from bench.targets import FLOORS, IMAGE, PROMISES, SYNTHETIC, THROTTLED
from bench.throttled import run_throttled
from bench.tool import REPOSITORY, say
from bench.work_folder import work_folder

_CHECKOUT = Path(__file__).parents[2]
_LARGE_ENTRIES = 80_000
_LARGE_LAYERS = 12
_LITTLE = 40
"""The little image is so many times smaller than the large one."""


def main() -> int:
    """Run the benchmark; return 1 if a target was missed."""
    results = Results({"commit": _commit(), **machine_facts()})
    folder = _CHECKOUT / "bench-results"
    folder.mkdir(exist_ok=True)
    target = folder / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    with work_folder() as work:
        with results.part(IMAGE):
            _with_the_big_image(results, work, target)
        _with_synthetic_images(results, work)
    say("layers with tables; if these images are not in the cache, they take twenty minutes")
    with results.part(partial_fetch.TABLES):
        partial_fetch.run_partial_fetch(results)
    with results.part(etc_merge.ETC):
        etc_merge.run_etc_merge(results)
    with results.part(crowd.CROWD):
        crowd.run_crowd(results)
    promises = (*PROMISES, *partial_fetch.PROMISES, *etc_merge.PROMISES, *crowd.PROMISES)
    results.targets = [promise.judge(results) for promise in promises]
    results.write(folder, target.name)
    sys.stdout.write(f"{results.table()}\n{results.verdict()}\n")
    return 1 if results.missed else 0


def _with_the_big_image(results: Results, folder: Path, target: Path) -> None:
    say("building the image if it is not in the cache; the first time takes some ten minutes")
    image = big_image()
    old, new = ({layer["digest"]: layer["size"] for layer in layers_of(image, tag)}
                for tag in ("v1", "v2"))  # fmt: skip
    changed = sum(size for digest, size in new.items() if digest not in old)
    results.note(IMAGE, changed_layer_bytes=changed)
    with results.part(FLOORS):
        inflated, written = floor_seconds(image, "v1", folder)
        results.note(FLOORS, inflate=inflated, write=written)
    (folder / "registry").mkdir()
    with run_docker_registry(folder / "registry") as registry:
        for tag in ("v1", "v2"):
            registry.push(image, REPOSITORY, tag=tag, layout_tag=tag)
        Rounds(results, folder, registry).run(target)
    say("a network that lets 20 MB through in a second")
    with results.part(THROTTLED):
        slow = folder / "throttled"
        slow.mkdir()
        run_throttled(results, registry.storage, slow)
    for path in (folder / "registry", slow):
        shutil.rmtree(path)


def _with_synthetic_images(results: Results, folder: Path) -> None:
    large = size().large_bytes
    for name, one in (("little", large // _LITTLE), ("large", large)):
        say(f"memory for {one / 1e9:g} GB")
        with results.part(SYNTHETIC):
            shape = Shape(one, _LARGE_ENTRIES * one // large, _LARGE_LAYERS)
            found = stage_synthetic(folder / name, shape)
            results.note(SYNTHETIC, **{f"{name}_peak": found["peak_pss"]})
            results.facts[f"{one / 1e9:g} GB staged"] = f"{found['seconds']:.1f} s"


def _commit() -> str:
    command: Sequence[str] = ("git", "-C", str(_CHECKOUT), "describe", "--always", "--dirty")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
