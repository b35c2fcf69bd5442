"""What became of the attempts to find or stage an update, and when the next one is made."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from bootd.cli.render.marked import renders
from bootd.cli.render.text import count, fields, moment, printable, table
from bootd.cli.style import Style

if TYPE_CHECKING:
    from bootd.model.attempts import Attempt, FailingUpdates, NextRun
    from bootd.model.documents import HistoryDocument

_WHY: Final = {
    "regular": "",
    "missed": ", because one was missed",
    "retry": ", because the last one failed",
    "awaited": ", because what the last one failed for may be over",
}


def render_failing(failing: FailingUpdates, style: Style) -> str:
    """Return how often, since when, and why, as far as the reader may know."""
    last = failing.last
    times = count(failing.in_a_row, "attempt")
    when = f"since {moment(failing.since)}"
    which = f"a {last.operation} for {_who(last)} at {moment(last.when)}, with {last.outcome}"
    lines = [f"{times} in a row failed {when}; the last, {which}."]
    if failing.last_success is not None:
        lines.append(f"The last that did not fail ended at {moment(failing.last_success)}.")
    lines += [f"It said: {printable(last.message)}."] if last.message else []
    lines += [f"hint: {printable(last.hint)}"] if last.hint else []
    return style.warning("\n".join(lines))


def render_next_run(planned: NextRun | None) -> str:
    """Return when it is made, and why then; nothing where none is planned."""
    return "" if planned is None else f"{moment(planned.when)}{_WHY.get(planned.why, '')}"


@renders
def render_history(document: HistoryDocument, style: Style) -> str:
    """Return a line for what became of one attempt, or of several in a row alike."""
    last_success, since = document.last_success, document.first_failure
    head = fields(
        [
            ("Failing", count(document.in_a_row, "attempt") if document.in_a_row else ""),
            ("since", "" if since is None else moment(since)),
            ("Last success", "" if last_success is None else moment(last_success)),
            ("Next run", render_next_run(document.next_run)),
        ]
    )
    if not document.attempts:
        return f"{head}\n\nNo attempts are remembered.".strip()
    rows = []
    alike = groupby(document.attempts, lambda one: (one.operation, _who(one), one.outcome))
    for (operation, who, outcome), group in alike:
        found = list(group)
        begun = "" if len(found) == 1 else moment(found[-1].when)
        rows.append((moment(found[0].when), begun, str(len(found)), operation, who, outcome))
    lines = table(("WHEN", "SINCE", "TIMES", "WHAT", "FOR", "OUTCOME"), rows, style)
    failed = next((one for one in document.attempts if one.is_failure), None)
    said = ""
    if failed is not None and failed.message:
        said = style.warning(f"Failed at {moment(failed.when)}: {printable(failed.message)}.")
    return "\n\n".join(part for part in (head, lines, said) if part)


def _who(attempt: Attempt) -> str:
    return "the timer" if attempt.automatic else f"user {attempt.user}"
