"""Where the time of a first pull goes: py-spy looks at all its processes a hundred times a second.

``<name>.folded`` has the stacks, for any flame graph tool; ``<name>.profile.txt`` names the slowest
phase and the functions that were on top of the stacks, and on them, most often.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from bench.bootd_tool import Bootd, job
from bench.measure import measure
from bench.report import Results
from bench.targets import OWN

_A_SECOND = 100
_SHOWN = 25
PROFILE = "profile"


def profile_first_pull(results: Results, tool: Bootd, target: Path) -> None:
    """Profile a first pull of the tool, and write files with the name of `target`.

    Raises:
        CommandFailedError: py-spy is missing, or may not look at processes.
    """
    tool.prepare()
    folded = target.with_name(target.name + ".folded")
    folded.unlink(missing_ok=True)
    command, request = job(tool.sysroot, "stage", reference=tool.reference("v1"))
    spy = Path(sys.executable).with_name("py-spy")
    options = ["--subprocesses", "--format", "raw", "--rate", str(_A_SECOND), "--output", folded]
    measure([spy, "record", *options, "--", *command], folder=tool.folder, request=request)
    slowest = results.figures.get(f"{OWN}: phases of the first pull", {})
    target.with_name(target.name + ".profile.txt").write_text(_summary(folded, slowest))


def _summary(folded: Path, taken: dict[str, float]) -> str:
    top: Counter[str] = Counter()
    anywhere: Counter[str] = Counter()
    for line in folded.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        top[frames[-1]] += int(count)
        for frame in set(frames):
            anywhere[frame] += int(count)
    lines = [f"{phase}: {seconds:.2f} s" for phase, seconds in taken.items()]
    if taken:
        lines.append(f"The slowest phase is {max(taken, key=lambda phase: taken[phase])}.")
    for title, counts in (("In the function itself", top), ("With what it calls", anywhere)):
        lines += ["", f"{title}, seconds of all threads:", ""]
        lines += [f"{n / _A_SECOND:8.2f}  {frame}" for frame, n in counts.most_common(_SHOWN)]
    return "\n".join(lines) + "\n"
