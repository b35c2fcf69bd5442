"""The figures that are promised, beside those that were found."""

from __future__ import annotations

from dataclasses import dataclass

from bench.measure import Measurement
from bench.report import Results, Target

FIRST = "First version onto an empty disk"
SECOND = "Second version, one of twelve layers changed"
POLL = "Poll that finds nothing new, first one after a stage"
COMPOSE = "Compose 80,000 entries from layers in the store"
OWN, YARDSTICK, LEAST = "bootd", "skopeo copy + umoci raw unpack", "curl | tar"
_MIB = 1 << 20


@dataclass(frozen=True)
class Daemon:
    """What was seen of the daemon.

    Attributes:
        resident_bytes: after an upgrade, when nothing has been asked of it for a while.
        wakes_a_minute: how often it was scheduled in a minute without requests.
        poll_cpu_seconds: its own processor time for a check.
        status_seconds: the median of ``bootctl-py status``.
        bare_seconds: the median of ``python3 -c pass``.
    """

    resident_bytes: int
    wakes_a_minute: int
    poll_cpu_seconds: float
    status_seconds: float
    bare_seconds: float


def judge(
    results: Results,
    *,
    layer_bytes: int,
    floor_seconds: float,
    poll_requests: int,
    daemon: Daemon,
) -> list[Target]:
    """Return all targets with what was found.

    Args:
        results: all runs.
        layer_bytes: the compressed size of the layer that changed.
        floor_seconds: the larger of writing the unpacked bytes and inflating and hashing them.
        poll_requests: requests of the first check after a stage.
        daemon: see `Daemon`.
    """
    first = results.median(FIRST, OWN)
    wire = results.median(SECOND, OWN, "wire_bytes")
    memory = max(results.median(what, OWN, "peak_pss") for what in (FIRST, SECOND))
    compose: Measurement = results.runs[COMPOSE][OWN][0]
    return [
        Target("first pull and stage, gzip", first / results.median(FIRST, YARDSTICK), 0.30,
               f"x {YARDSTICK}"),
        Target("first pull and stage, gzip", first / results.median(FIRST, LEAST), 0.5,
               f"x {LEAST}"),
        Target("first pull and stage, gzip", first / floor_seconds, 1.4,
               "x the larger of dd with sync, and inflate + hash on all cores"),
        Target("upgrade, one layer of twelve changed", results.median(SECOND, OWN) / first, 0.15,
               "x the first pull"),
        Target("bytes on the wire of that upgrade", wire / layer_bytes, 1.02, "x that layer"),
        Target("compose 80,000 entries", compose.cpu_seconds, 2, "s of CPU"),
        Target("compose 80,000 entries", compose.peak_pss / _MIB, 200, "MiB"),
        Target("first poll after a stage, nothing new", poll_requests, 1, "requests"),
        Target("poll, in the daemon itself", daemon.poll_cpu_seconds * 1000, 30, "ms of CPU"),
        Target("idle daemon after an upgrade", daemon.resident_bytes / _MIB, 40, "MiB"),
        Target("idle daemon", daemon.wakes_a_minute, 1, "wake-ups a minute"),
        Target("peak while staging, all processes", memory / _MIB, 220, "MiB"),
        Target("bootctl-py status", daemon.status_seconds * 1000, 100, "ms"),
        Target("bootctl-py status", daemon.status_seconds / daemon.bare_seconds, 8,
               "x python3 -c pass"),
    ]  # fmt: skip
