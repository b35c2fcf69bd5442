"""What the health checks found, and how derived files were made."""

from __future__ import annotations

from typing import Final

from bootd.cli.render.marked import renders
from bootd.cli.render.text import count, moment, printable, table
from bootd.cli.style import Style
from bootd.model.health import CheckResult, EtcDerivedDocument, HealthDocument, Verdict

_SHOWN_LINES: Final = 10


@renders
def render_health(document: HealthDocument, style: Style) -> str:
    """Return the verdict, one line a check, and what the failed ones said."""
    parts = [_head(document, style)]
    if document.checks:
        parts.append(_table("CHECK", document.checks, style))
    parts += [_said(check, style) for check in document.failed if check.output]
    parts += [style.warning(printable(problem)) for problem in document.problems]
    return "\n\n".join(parts)


@renders
def render_derived(document: EtcDerivedDocument, style: Style) -> str:
    """Return one line a rule, and what the commands of failed ones said."""
    if not document.results:
        return "No files in /etc are to be made anew."
    failed = [one for one in document.results if not one.passed]
    parts = [
        f"{style.bold(document.deployment)} made files in /etc anew, {moment(document.when)}.",
        _table("RULE", document.results, style),
        *(_said(one, style) for one in failed if one.output),
    ]
    return "\n\n".join(parts)


def _table(heading: str, checks: list[CheckResult], style: Style) -> str:
    rows = [
        (check.name, str(check.severity), _ending(check), f"{check.seconds:.1f} s")
        for check in checks
    ]
    return table((heading, "SEVERITY", "RESULT", "TOOK"), rows, style)


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
