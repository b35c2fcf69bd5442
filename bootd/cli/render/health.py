"""What the health checks found."""

from __future__ import annotations

from typing import Final

from bootd.cli.render.text import count, moment, printable, table
from bootd.cli.style import Style
from bootd.model.health import CheckResult, HealthDocument, Verdict

_SHOWN_LINES: Final = 10


def render_health(document: HealthDocument, style: Style) -> str:
    """Return the verdict, one line a check, and what the failed ones said."""
    parts = [_head(document, style)]
    if document.checks:
        rows = [
            (check.name, str(check.severity), _ending(check), f"{check.seconds:.1f} s")
            for check in document.checks
        ]
        parts.append(table(("CHECK", "SEVERITY", "RESULT", "TOOK"), rows, style))
    parts += [_said(check, style) for check in document.failed if check.output]
    parts += [style.warning(printable(problem)) for problem in document.problems]
    return "\n\n".join(parts)


def _head(document: HealthDocument, style: Style) -> str:
    colours = {
        Verdict.HEALTHY: style.good,
        Verdict.DEGRADED: style.warning,
        Verdict.UNHEALTHY: style.bad,
    }
    what = document.deployment or "This system"
    trial = ", on trial," if document.on_trial else ""
    verdict = colours[document.verdict](str(document.verdict))
    ran = count(len(document.checks), "check") if document.checks else "there are no checks"
    return f"{style.bold(what)}{trial} is {verdict}: {ran}, {moment(document.when)}."


def _ending(check: CheckResult) -> str:
    words = [str(check.outcome)]
    if not check.passed and check.exit_status is not None:
        words.append(f"status {check.exit_status}")
    if check.attempts > 1:
        words.append(count(check.attempts, "attempt"))
    if check.old:
        words.append("as before")
    return ", ".join(words)


def _said(check: CheckResult, style: Style) -> str:
    lines = check.output.splitlines()[-_SHOWN_LINES:]
    return "\n".join([style.bold(check.name), *(f"  {printable(line)}" for line in lines)])
