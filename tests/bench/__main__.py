"""``make bench``: rounds of all tools in turn, medians, ratios; no figure is ever asserted.

``BENCH_ROUNDS`` says how many rounds (3).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from support.cache import cache_directory
from support.registry import DockerRegistry, run_docker_registry

from bench import etc_merge
from bench.big_image import LAYERS, big_image
from bench.bootd_tool import Bootd
from bench.curl_tar import CurlTar
from bench.report import Results, Target, machine_facts
from bench.skopeo_umoci import SkopeoUmoci
from bench.tool import REPOSITORY, Tool

TOOLS: tuple[type[Tool], ...] = (Bootd, SkopeoUmoci, CurlTar)
FIRST = "First version onto an empty disk"
SECOND = f"Second version, one of {LAYERS} layers changed"
POLL = "Poll that finds nothing new"
_MIB = 1 << 20
_CHECKOUT = Path(__file__).parents[2]


def main() -> int:
    """Run the benchmark."""
    _say("building the image if it is not in the cache; the first time takes some ten minutes")
    image = big_image()
    results = Results({"commit": _commit(), **machine_facts()})
    # On the disk of the cache: /tmp may be memory.
    with tempfile.TemporaryDirectory(prefix=".bench-work-", dir=cache_directory()) as name:
        folder = Path(name)
        (folder / "registry").mkdir()
        with run_docker_registry(folder / "registry") as registry:
            for tag in ("v1", "v2"):
                registry.push(image, REPOSITORY, tag=tag, layout_tag=tag)
            for number in range(int(os.environ.get("BENCH_ROUNDS", "3"))):
                _round(number, folder, registry, results)
    _judge(results)
    results.write(_CHECKOUT / "bench-results", datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"))
    sys.stdout.write(results.table())
    sys.stdout.write(etc_merge.table())
    return 0


def _round(number: int, folder: Path, registry: DockerRegistry, results: Results) -> None:
    """Each tool once; who begins changes from round to round."""
    shift = number % len(TOOLS)
    for kind in (*TOOLS[shift:], *TOOLS[:shift]):
        _say(f"round {number + 1}: {kind.name}")
        own = folder / f"{number}-{kind.__name__}"
        own.mkdir()
        tool = kind(own, registry)
        results.add(FIRST, tool.name, tool.first())
        results.add(SECOND, tool.name, tool.second())
        if isinstance(tool, Bootd):
            _extras(tool, results)
        shutil.rmtree(own)


def _extras(tool: Bootd, results: Results) -> None:
    before = len(tool.registry.requests())
    results.add(POLL, tool.name, tool.check())
    requests = len(tool.registry.requests()) - before
    idle = tool.idle_bytes()
    results.facts["daemon idle"] = f"{idle / _MIB:.1f} MiB resident"
    results.targets = [
        Target("poll that finds nothing new", requests, 1, " requests"),
        Target("daemon idle", idle / _MIB, 60, " MiB"),
    ]


def _judge(results: Results) -> None:
    own, yardstick = Bootd.name, SkopeoUmoci.name
    again = results.median(SECOND, own) / results.median(FIRST, own)
    memory = max(results.median(what, own, "peak_pss") for what in (FIRST, SECOND)) / _MIB
    results.targets += [
        Target(
            f"first pull and stage, times {yardstick}", results.ratio(FIRST, own, yardstick), 0.6
        ),
        Target("second upgrade, times the first", again, 0.25),
        Target("memory while staging", memory, 250, " MiB"),
    ]


def _commit() -> str:
    command: Sequence[str] = ("git", "-C", str(_CHECKOUT), "describe", "--always", "--dirty")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _say(text: str) -> None:
    sys.stdout.write(f"==> {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
