"""The figures that are promised, and where each is found in the results."""

from __future__ import annotations

from dataclasses import dataclass

from bench.report import Promise, Results

FIRST = "First version onto an empty disk"
SECOND = "Second version, one of twelve layers changed"
POLL = "Poll that finds nothing new, first one after a stage"
COMPOSE = "Compose 80,000 entries from layers in the store"
OWN, YARDSTICK, LEAST = "bootd", "skopeo copy + umoci raw unpack", "curl | tar"
FLOORS, IMAGE, DAEMON, THROTTLED, SYNTHETIC = (
    "floors",
    "image",
    "daemon",
    "throttled network",
    "little and large image",
)
_MB = 1_000_000


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
    wakes_a_minute: float
    poll_cpu_seconds: float
    status_seconds: float
    bare_seconds: float


def _floor(results: Results) -> float:
    return max(results.figure(FLOORS, name) for name in ("inflate", "write"))


def _first(results: Results) -> float:
    return results.median(FIRST, OWN)


PROMISES = (
    Promise("first pull and stage, gzip", 0.30, f"x {YARDSTICK}",
            lambda found: _first(found) / found.median(FIRST, YARDSTICK)),
    Promise("first pull and stage, gzip", 0.5, f"x {LEAST}",
            lambda found: _first(found) / found.median(FIRST, LEAST)),
    Promise("first pull and stage, gzip", 1.4,
            "x the larger of dd with sync, and inflate + hash on all cores",
            lambda found: _first(found) / _floor(found)),
    Promise("upgrade, one layer of twelve changed", 0.15, "x the first pull",
            lambda found: found.median(SECOND, OWN) / _first(found)),
    Promise("bytes on the wire of that upgrade", 1.02, "x that layer",
            lambda found: found.median(SECOND, OWN, "wire_bytes")
            / found.figure(IMAGE, "changed_layer_bytes")),
    Promise("compose 80,000 entries", 2, "s of CPU",
            lambda found: found.median(COMPOSE, OWN, "cpu_seconds")),
    Promise("compose 80,000 entries", 200, "MB",
            lambda found: found.median(COMPOSE, OWN, "peak_pss") / _MB),
    Promise("first poll after a stage, nothing new", 1, "requests",
            lambda found: found.figure(POLL, "requests")),
    Promise("poll, in the daemon itself", 30, "ms of CPU",
            lambda found: found.figure(DAEMON, "poll_cpu_seconds") * 1000),
    Promise("idle daemon after an upgrade", 40, "MB",
            lambda found: found.figure(DAEMON, "resident_bytes") / _MB),
    Promise("idle daemon", 1, "wake-ups a minute",
            lambda found: found.figure(DAEMON, "wakes_a_minute")),
    Promise("peak while staging either version, all processes", 220, "MB",
            lambda found: max(
                found.median(what, OWN, "peak_pss") for what in (FIRST, SECOND)) / _MB),
    Promise("peak while staging 0.2 GB, all processes", 220, "MB",
            lambda found: found.figure(SYNTHETIC, "little_peak") / _MB),
    Promise("peak while staging 8 GB, all processes", 220, "MB",
            lambda found: found.figure(SYNTHETIC, "large_peak") / _MB),
    Promise("bootctl-py status", 100, "ms",
            lambda found: found.figure(DAEMON, "status_seconds") * 1000),
    Promise("bootctl-py status", 8, "x python3 -c pass",
            lambda found: found.figure(DAEMON, "status_seconds")
            / found.figure(DAEMON, "bare_seconds")),
    Promise("first pull and stage with 20 MB/s of network", 1.05, "x curl of the same blobs",
            lambda found: found.figure(THROTTLED, "seconds")
            / found.figure(THROTTLED, "transfer_seconds")),
)  # fmt: skip
"""All but those of layers with tables, which `bench.partial_fetch` has."""
