"""Programs of the image's and the administrator's that are asked before a restart.

They are in ``/usr/lib/bootd/gates.d`` and ``/etc/bootd/gates.d``; a name in ``/etc`` replaces or
masks the same one in ``/usr/lib``, as it does for health checks. They run in the order of their
names, until one objects. Exit status 0 is yes, 75 (``EX_TEMPFAIL``, sysexits.h) is later, and
everything else is no until the next automatic run. The first line of the output is the reason.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from bootd.model.errors import ProcessFailedError
from bootd.model.gate import Answer
from bootd.operations.trial.checks import TREES, programs_in
from bootd.policy.gate import YES, Gate, Verdict, View
from bootd.process import supervise

FOLDER: Final = "bootd/gates.d"

_LATER: Final = os.EX_TEMPFAIL
_MOST_SCRIPTS: Final = 32
_SECONDS: Final = 30.0
"""That one may take; it is asked again and again while it says later."""
_KEPT_OUTPUT: Final = 4_096
_MOST_TEXT: Final = 200


@dataclass(frozen=True, slots=True)
class Objection:
    """What a script said that did not say yes; the status is None where it did not end by itself.

    Attributes:
        name: of its file.
        status: its exit status.
        words: the first line of what it printed.
    """

    name: str
    status: int | None
    words: str


async def look(view: View) -> Objection | None:
    """Ask each; None: all say yes."""
    folders = [(view.root / tree / FOLDER) for tree in TREES]
    return await view.in_thread(lambda: _ask_all(folders))


def judge(objection: Objection | None, _now: datetime) -> Verdict:
    """Say what the first of them says that does not say yes."""
    if objection is None:
        return YES
    if objection.status is None:
        return Verdict(Answer.LATER, f"{objection.name} did not end within {_SECONDS:g} s")
    answer = Answer.LATER if objection.status == _LATER else Answer.NO
    words = objection.words or f"it ended with status {objection.status}"
    return Verdict(answer, f"{objection.name}: {words}")


def _ask_all(folders: list[Path]) -> Objection | None:
    for path in programs_in(folders)[:_MOST_SCRIPTS]:
        try:
            ended = supervise([path], timeout=_SECONDS, output_limit=_KEPT_OUTPUT)
        except ProcessFailedError as error:
            return Objection(path.name, _LATER, error.message)
        if ended.timed_out:
            return Objection(path.name, None, "")
        if ended.status != 0:
            lines = ended.output.decode(errors="replace").strip().splitlines()
            return Objection(path.name, ended.status, lines[0][:_MOST_TEXT] if lines else "")
    return None


GATE: Final = Gate("scripts", look, judge)
