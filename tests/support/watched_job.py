"""The daemon's job that stages an image, with strace(1) watching all its processes and threads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def watched_job(
    sysroot: Path, reference: str, traces: Path, *expressions: str
) -> Iterator[subprocess.Popen[str]]:
    """Start to stage an image; see `watched_stage`. The process is strace, its child the job."""
    if shutil.which("strace") is None:
        pytest.fail("strace is missing: apt-get install strace")
    traces.mkdir()
    request = {
        "operation": "stage",
        "arguments": {"reference": reference},
        "sysroot": str(sysroot),
    }
    watch = ["strace", "-ff", "--seccomp-bpf", "-y", "-qq", "-ttt", "-T", "-o", str(traces / "of")]
    words = [word for expression in expressions for word in ("-e", expression)]
    with subprocess.Popen(
        [*watch, *words, sys.executable, "-m", "bootd.operations"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        yield process


def watched_stage(
    sysroot: Path, reference: str, traces: Path, *expressions: str
) -> tuple[dict[str, Any], list[Path]]:
    """Stage an image.

    Args:
        sysroot: the machine's root.
        reference: the image.
        traces: a folder to be made.
        expressions: what strace traces, and how it interferes.

    Returns:
        The last that the job said, and a trace of each thread: in one for all of them, calls are
        cut in two.
    """
    with watched_job(sysroot, reference, traces, *expressions) as process:
        assert process.stdout is not None
        *_, last = process.stdout.read().splitlines()
    said: dict[str, Any] = json.loads(last)
    return said, sorted(traces.iterdir())
