"""How long root waits while nobody has a thousand connections: ``python -m bench.crowd``.

Each connection keeps calls in flight and is refused most of the time (`support.crowd`). Root's call
is a new connection each time, a call of ``GetStatus``, and its end. Rounds with the crowd and
without it take turns, on a bus that lets one user have so many connections.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import support
from support.bus import SYSTEM_PYTHON, Rig, as_user, rig

from bench.report import Promise, Results, machine_facts
from bootd.daemon.dbus.client import BusClient

CROWD = "a thousand connections"
_CONNECTIONS = "1000"
_CALLS = {"one call each": "1", "four calls each": "4"}
_ROUNDS = 5
_ASKED = 15
_SETTLE_SECONDS = 1.5
"""A refusal comes a second after its call."""
PROMISES = tuple(
    Promise(f"root's GetStatus beside nobody's 1,000 connections, {what}", 3, "x alone",
            lambda found, what=what: found.figure(CROWD, what) / found.figure(CROWD, "alone"))
    for what in _CALLS
)  # fmt: skip


def run_crowd(results: Results) -> None:
    """Note the median seconds of root's call, alone and beside the crowd."""
    taken: dict[str, list[float]] = {"alone": [], **{what: [] for what in _CALLS}}
    with rig() as made, made.daemon():
        client = str(Path(sys.executable).with_name("bootctl-py"))
        command = [client, "switch", made.image("1")]
        subprocess.run(command, env=made.environment, check=True, stdout=subprocess.DEVNULL)
        asyncio.run(_ask(made))
        for _ in range(_ROUNDS):
            taken["alone"] += asyncio.run(_ask(made))
            for what, calls in _CALLS.items():
                with _crowd(made, calls):
                    taken[what] += asyncio.run(_ask(made))
    results.note(CROWD, **{what: statistics.median(seconds) for what, seconds in taken.items()})


async def _ask(made: Rig) -> list[float]:
    taken = []
    for _ in range(_ASKED):
        start = time.monotonic()
        client = await BusClient.connect(made.address)
        await client.call("GetStatus")
        await client.close()
        taken.append(time.monotonic() - start)
    return taken


@contextmanager
def _crowd(made: Rig, calls: str) -> Iterator[None]:
    """Have a crowd of nobody's, which is there; afterwards nothing is left of it."""
    script = shutil.copy(Path(*support.__path__) / "crowd.py", made.folder)
    with subprocess.Popen(
        [*as_user("nobody"), SYSTEM_PYTHON, script, "asking", _CONNECTIONS, calls],
        env=made.environment,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(_SETTLE_SECONDS)
            yield
            assert process.poll() is None, "the crowd has left"
        finally:
            process.kill()
    time.sleep(_SETTLE_SECONDS)


if __name__ == "__main__":
    found = Results(machine_facts())
    run_crowd(found)
    found.targets = [promise.judge(found) for promise in PROMISES]
    sys.stdout.write(f"{found.table()}\n{found.verdict()}\n")
