"""What ``doctor`` found out about a machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bootd.cli.render.marked import renders
from bootd.cli.render.text import fields, printable
from bootd.cli.style import Style
from bootd.model.doctor import DoctorDocument, DoctorFinding, Fit

_WIDTH: Final = max(map(len, Fit))


@renders
def render_doctor(document: DoctorDocument, style: Style) -> str:
    """Return a line for each finding, with what to do below it, and the commands that lead on."""
    runs = "runs" if document.managed else "does not run"
    width = max((len(one.topic) for one in document.findings), default=0)
    lines = [_line(one, width, style) for one in document.findings]
    steps = [(printable(one.command), printable(one.purpose)) for one in document.next]
    parts = [style.bold(f"This machine {runs} from a deployment of bootd."), "\n".join(lines)]
    if steps:
        parts.append("\n".join([style.bold("Next steps"), fields(steps, "  ")]))
    return "\n\n".join(parts)


def _line(finding: DoctorFinding, width: int, style: Style) -> str:
    colours: dict[Fit, Callable[[str], str]] = {
        Fit.FITS: style.good,
        Fit.LOOK: style.warning,
        Fit.BLOCKS: style.bad,
        Fit.UNKNOWN: style.faint,
    }
    fit = colours[finding.fit](finding.fit.ljust(_WIDTH))
    line = f"{fit}  {finding.topic.ljust(width)}  {printable(finding.text)}"
    if not finding.hint:
        return line
    return f"{line}\n{' ' * (_WIDTH + width + 4)}{printable(finding.hint)}"
