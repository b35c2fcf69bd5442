"""Children that stand where ``python -m bootd.operations`` does: small programs of real lines."""

from __future__ import annotations

import json
import sys

_START = """
import json, os, signal, sys, time
request = json.loads(sys.stdin.readline())
def say(**event):
    sys.stdout.write(json.dumps(event) + "\\n")
    sys.stdout.flush()
def progress(overall, phase="pulling", done=1, total=2):
    say(event="progress", phase=phase, done=done, total=total, overall=overall)
"""


def worker(body: str) -> tuple[str, ...]:
    """Return the command of a child that reads its request and then runs `body`."""
    return (sys.executable, "-P", "-c", _START + body)


def done(**document: object) -> str:
    """Return a body's last line: a result."""
    return f"say(event='result', document=json.loads({json.dumps(document)!r}))\n"
