"""What a linter says of an image."""

from __future__ import annotations

from bootd.cli.render.marked import renders
from bootd.cli.render.text import count, printable
from bootd.cli.style import Style
from bootd.model.lint import LintDocument, LintRule, LintSeverity


@renders
def render_lint(document: LintDocument, style: Style) -> str:
    """Return the findings of each lint with its reason and mend, the worst first."""
    if document.root is None:
        return "\n".join(_rule(rule, document.rules, style) for rule in document.rules)
    order = list(LintSeverity)
    found = {finding.lint for finding in document.findings}
    rules = [rule for rule in document.rules if rule.id in found]

    def worst(rule: LintRule) -> int:
        own = (one.severity for one in document.findings if one.lint == rule.id)
        return min(order.index(severity) for severity in own)

    parts = [_findings(rule, document, style) for rule in sorted(rules, key=worst)]
    return "\n\n".join([*parts, _summary(document, style)])


def _rule(rule: LintRule, rules: list[LintRule], style: Style) -> str:
    width = max(len(one.id) for one in rules)
    return f"{style.bold(rule.id.ljust(width))}  {_coloured(rule.severity, style)}: {rule.reason}"


def _findings(rule: LintRule, document: LintDocument, style: Style) -> str:
    lines = [
        f"{_coloured(one.severity, style)} {printable(one.path)}: {printable(one.problem)}"
        for one in document.findings
        if one.lint == rule.id
    ]
    return "\n".join(
        [style.bold(rule.id), *lines, f"  why:  {rule.reason}", f"  mend: {rule.mend}"]
    )


def _coloured(severity: LintSeverity, style: Style) -> str:
    colours = {LintSeverity.FATAL: style.bad, LintSeverity.WARNING: style.warning}
    return colours.get(severity, style.faint)(str(severity))


def _summary(document: LintDocument, style: Style) -> str:
    applied = count(len(document.rules), "lint")
    if document.skipped:
        applied += f", without {printable(', '.join(document.skipped))}"
    if not document.findings:
        return f"{style.good('Nothing found')} in {printable(document.root or '')} ({applied})."
    numbers = ", ".join(
        f"{document.count(severity)} {severity}"
        for severity in LintSeverity
        if document.count(severity)
    )
    return f"{count(len(document.findings), 'finding')} ({numbers}) by {applied}."
