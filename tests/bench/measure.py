"""Runs a command and measures it with all processes it starts.

Time is from start to exit, and again with the ``syncfs`` that makes what it wrote durable. Memory
and written bytes are sampled from ``/proc`` for the whole tree of processes, so the last twentieth
of a second of a process may be missing. Processor time is what the kernel accounts to the command
and all its children. Bytes on the wire are what the loopback interface received meanwhile, headers
included; nothing else may use it.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CLOSE_LOOK = 0.05
_LOOK = 0.2
"""Seconds between samples; each takes time from what is measured, most from many processes."""
_TICKS = os.sysconf("SC_CLK_TCK")


class CommandFailedError(Exception):
    """A measured command failed; its output is in the message."""


@dataclass(frozen=True)
class Measurement:
    """What one run took.

    Attributes:
        seconds: from start to exit.
        durable_seconds: until what was written is on disk, too.
        cpu_seconds: user and system time of all processes.
        peak_pss: most bytes of memory of all processes at a time; what they share counts once.
        written_bytes: what they caused to be written to storage.
        wire_bytes: what came over the loopback interface.
        output: the command's standard output.
        moments: when each line of that came, in seconds from the start.
    """

    seconds: float
    durable_seconds: float
    cpu_seconds: float
    peak_pss: int
    written_bytes: int
    wire_bytes: int
    output: str
    moments: tuple[float, ...] = ()


@dataclass
class _Sampler:
    """Looks at a tree of processes until it is told to stop."""

    root: int
    seconds: float
    peak_pss: int = 0
    written: int = 0
    done: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        while not self.done.wait(self.seconds):
            seen = [_look(pid) for pid in tree(self.root)]
            # What an ended child used is added to its parent, so at any moment the sum is whole.
            pss, written = (sum(column) for column in zip(*seen, strict=True))
            self.peak_pss = max(self.peak_pss, pss)
            self.written = max(self.written, written)


def measure(
    command: Sequence[str | Path],
    *,
    folder: Path,
    request: bytes = b"",
    environment: Mapping[str, str] | None = None,
    look: float = _LOOK,
) -> Measurement:
    """Run a command to its end.

    Args:
        command: the program and its arguments.
        folder: on the file system that it writes to.
        request: what it reads first; its standard input stays open.
        environment: None for this process's.
        look: seconds between two looks at its memory.

    Raises:
        CommandFailedError: its exit status is not 0.
    """
    _sync(folder)
    wire = _received()
    start = time.monotonic()
    with subprocess.Popen(
        list(map(str, command)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(request)
        process.stdin.flush()
        sampler = _Sampler(process.pid, look)
        thread = threading.Thread(target=sampler.watch)
        thread.start()
        try:
            lines, moments = [], []
            for line in process.stdout:
                lines.append(line.decode(errors="replace"))
                moments.append(time.monotonic() - start)
            _, ended, usage = os.wait4(process.pid, 0)
            process.returncode = status = os.waitstatus_to_exitcode(ended)
            seconds = time.monotonic() - start
        finally:
            sampler.done.set()
            thread.join()
    wire = _received() - wire
    _sync(folder)
    durable = time.monotonic() - start
    output = "".join(lines)
    if status != 0:
        raise CommandFailedError(f"{command[0]} ended with status {status}: {output[-2_000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    figures = seconds, durable, cpu, sampler.peak_pss, sampler.written, wire
    return Measurement(*figures, output, tuple(moments))


def resident_bytes(pid: int) -> int:
    """The resident memory of one process, and of all that it started."""
    return sum(_value(one, "status", "VmRSS") * 1024 for one in tree(pid))


def tree(root: int) -> list[int]:
    """A process and its descendants."""
    found = [root]
    for pid in found:
        try:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        except OSError:
            continue
    return found


def cpu_seconds(pid: int) -> float:
    """The processor time of a process itself, without its children."""
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, times[11:13])) / _TICKS


def wakes(pid: int) -> int:
    """How often a process has given up the processor of itself, and so was woken again."""
    return _value(pid, "status", "voluntary_ctxt_switches")


def _look(pid: int) -> tuple[int, int]:
    """Proportional set size and written bytes of one process."""
    try:
        pss = _value(pid, "smaps_rollup", "Pss") * 1024
        return pss, _value(pid, "io", "write_bytes")
    except (OSError, ValueError):
        return 0, 0  # it is gone


def _received() -> int:
    lines = Path("/proc/net/dev").read_text().splitlines()
    [counts] = [line.partition(":")[2] for line in lines if line.strip().startswith("lo:")]
    return int(counts.split()[0])


def _value(pid: int, file: str, key: str) -> int:
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0])
    return 0


def _sync(folder: Path) -> None:
    subprocess.run(["sync", "--file-system", folder], check=True)
