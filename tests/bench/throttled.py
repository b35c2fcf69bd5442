"""bootd beside ``curl`` on a slow network: ``python -m bench.throttled STORAGE FOLDER``.

It has to run in a network namespace of its own (``unshare --net``). The loopback interface there is
the slow network: tc's token bucket lets 20 MB through in a second, headers and acknowledgements
included. A registry serves the storage of another one. ``curl`` fetches the layers one after
another and throws them away; that is the time which the transfer takes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from support.registry import run_docker_registry

from bench.bootd_tool import Bootd
from bench.curl_tar import CurlTar
from bench.report import Results
from bench.targets import THROTTLED
from bench.tool import REPOSITORY

BYTES_A_SECOND = 20_000_000
_BUCKET = 256 << 10
_QUEUE_SECONDS = 0.1


def run_throttled(results: Results, storage: Path, folder: Path) -> None:
    """Measure in a namespace of its own; `folder` is empty.

    Raises:
        CalledProcessError: it failed, or the kernel has no token buckets.
    """
    command = [sys.executable, "-m", "bench.throttled", storage, folder]
    done = subprocess.run(["unshare", "--net", *command], stdout=subprocess.PIPE, check=True)
    results.note(THROTTLED, **json.loads(done.stdout))


def main(storage: str, name: str) -> None:
    """Measure, and print figures as JSON."""
    _slow_down()
    folder = Path(name)
    (folder / "storage").symlink_to(storage)
    with run_docker_registry(folder) as registry:
        own = folder / "bootd"
        own.mkdir()
        transferred = _transfer(CurlTar(folder, registry))
        measurement = Bootd(own, registry).first()
    figures = {
        "seconds": measurement.seconds,
        "cpu_seconds": measurement.cpu_seconds,
        "wire_bytes": measurement.wire_bytes,
        "transfer_seconds": transferred,
    }
    sys.stdout.write(json.dumps(figures))


def _slow_down() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # A packet on loopback may be as large as the whole bucket of a usual network.
    limit = int(BYTES_A_SECOND * _QUEUE_SECONDS)
    bucket = ["rate", f"{BYTES_A_SECOND}bps", "burst", str(_BUCKET), "limit", str(limit)]
    subprocess.run(["tc", "qdisc", "add", "dev", "lo", "root", "tbf", *bucket], check=True)


def _transfer(tool: CurlTar) -> float:
    addresses = [
        f"http://{tool.registry.host}/v2/{REPOSITORY}/blobs/{digest}"
        for digest in tool.layers("v1")
    ]
    start = time.monotonic()
    for address in addresses:
        command = ["curl", "--silent", "--fail", "--output", "/dev/null", address]
        subprocess.run(command, check=True)
    return time.monotonic() - start


if __name__ == "__main__":
    main(*sys.argv[1:])
