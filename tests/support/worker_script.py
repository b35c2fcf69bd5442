"""Children that stand where ``python -m bootd.operations`` does: small programs of real lines."""

from __future__ import annotations

import json
import sys

_START = """
import json, os, signal, sys, time
request = json.loads(sys.stdin.readline())
def say(**event):
    # Not through sys.stdout, which a signal handler must not write to while it is written to.
    os.write(1, (json.dumps(event) + "\\n").encode())
def progress(overall, phase="pulling", done=1, total=2):
    say(event="progress", phase=phase, done=done, total=total, overall=overall)
"""


def worker(body: str) -> tuple[str, ...]:
    """Return the command of a child that reads its request and then runs `body`."""
    return (sys.executable, "-P", "-c", _START + body)


def done(**document: object) -> str:
    """Return a body's last line: a result."""
    return f"say(event='result', document=json.loads({json.dumps(document)!r}))\n"
