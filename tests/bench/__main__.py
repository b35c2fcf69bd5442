"""``make bench``: rounds of all tools in turn, medians, ratios, and the targets beside them.

``BENCH_ROUNDS`` says how many rounds (3). The exit status is 1 where a target was missed.
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
from bench.big_image import big_image
from bench.bootd_tool import Bootd
from bench.curl_tar import CurlTar
from bench.floors import floor_seconds, layers_of
from bench.podman import Podman
from bench.report import Results, machine_facts
from bench.skopeo_umoci import SkopeoUmoci
from bench.targets import COMPOSE, FIRST, OWN, POLL, SECOND, Daemon, judge
from bench.tool import REPOSITORY, Tool

TOOLS: tuple[type[Tool], ...] = (Bootd, SkopeoUmoci, CurlTar, Podman)
_CHECKOUT = Path(__file__).parents[2]


def main() -> int:
    """Run the benchmark; return 1 if a target was missed."""
    _say("building the image if it is not in the cache; the first time takes some ten minutes")
    image = big_image()
    results = Results({"commit": _commit(), **machine_facts()})
    tools = [kind for kind in TOOLS if shutil.which(kind.program)]
    for kind in set(TOOLS) - set(tools):
        _say(f"{kind.name} is left out: {kind.program} is not installed")
    # On the disk of the cache: /tmp may be memory.
    with tempfile.TemporaryDirectory(prefix=".bench-work-", dir=cache_directory()) as name:
        folder = Path(name)
        inflated, written = floor_seconds(image, "v1", folder)
        results.facts["inflate and hash all layers"] = f"{inflated:.2f} s"
        results.facts["write and sync as much"] = f"{written:.2f} s"
        (folder / "registry").mkdir()
        with run_docker_registry(folder / "registry") as registry:
            for tag in ("v1", "v2"):
                registry.push(image, REPOSITORY, tag=tag, layout_tag=tag)
            rounds = int(os.environ.get("BENCH_ROUNDS", "3"))
            for number in range(rounds):
                found = _round(number, tools, folder, registry, results, last=number == rounds - 1)
    assert found is not None
    requests, daemon = found
    old, new = ({layer["digest"]: layer["size"] for layer in layers_of(image, tag)}
                for tag in ("v1", "v2"))  # fmt: skip
    results.targets = judge(
        results,
        layer_bytes=sum(size for digest, size in new.items() if digest not in old),
        floor_seconds=max(inflated, written),
        poll_requests=requests,
        daemon=daemon,
    )
    results.write(_CHECKOUT / "bench-results", datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"))
    sys.stdout.write(results.table())
    sys.stdout.write(etc_merge.table())
    sys.stdout.write(f"\n{results.verdict()}\n")
    return 1 if results.missed else 0


def _round(
    number: int,
    tools: Sequence[type[Tool]],
    folder: Path,
    registry: DockerRegistry,
    results: Results,
    *,
    last: bool,
) -> tuple[int, Daemon] | None:
    """Each tool once; who begins changes from round to round. The last one looks at the daemon."""
    found = None
    shift = number % len(tools)
    for kind in (*tools[shift:], *tools[:shift]):
        _say(f"round {number + 1}: {kind.name}")
        own = folder / f"{number}-{kind.__name__}"
        own.mkdir()
        tool = kind(own, registry)
        results.add(FIRST, tool.name, tool.first())
        if isinstance(tool, Bootd):
            requests, poll = tool.check()
            results.add(POLL, OWN, poll)
            results.add(COMPOSE, OWN, tool.compose())
        results.add(SECOND, tool.name, tool.second())
        if isinstance(tool, Bootd) and last:
            _say("the daemon, after an upgrade and two minutes of nothing")
            found = requests, tool.daemon()
        shutil.rmtree(own)
    return found


def _commit() -> str:
    command: Sequence[str] = ("git", "-C", str(_CHECKOUT), "describe", "--always", "--dirty")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _say(text: str) -> None:
    sys.stdout.write(f"==> {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
