"""What became of the last attempts to find or stage an update, while they fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bootd.cli.render.text import count, moment, printable
from bootd.cli.style import Style

if TYPE_CHECKING:
    from bootd.model.attempts import FailingUpdates


def render_failing(failing: FailingUpdates, style: Style) -> str:
    """Return how often, since when, and why, as far as the reader may know."""
    last = failing.last
    asked = "the timer" if last.automatic else f"user {last.user}"
    times = count(failing.in_a_row, "attempt")
    when = f"since {moment(failing.since)}"
    which = f"a {last.operation} for {asked} at {moment(last.when)}, with {last.outcome}"
    lines = [f"{times} in a row failed {when}; the last, {which}."]
    if failing.last_success is not None:
        lines.append(f"The last that did not fail ended at {moment(failing.last_success)}.")
    lines += [f"It said: {printable(last.message)}."] if last.message else []
    lines += [f"hint: {printable(last.hint)}"] if last.hint else []
    return style.warning("\n".join(lines))
