"""What a linter says of an image's tree: findings, each with its reason and its mend."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from bootd.model.documents import Document


class LintSeverity(StrEnum):
    """How bad a finding is."""

    FATAL = "fatal"
    """A host could not boot the image, could not be kept on it, or would be unsafe."""
    WARNING = "warning"
    """Something would not be on a host as it is in the image."""
    INFO = "info"
    """Somebody may want to know."""


class LintFinding(BaseModel):
    """One thing that is not as it should be."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    lint: str
    """The ID of the lint that found it, for ``--skip``."""
    severity: LintSeverity
    path: str
    """Where in the image, from its root; bytes that are not UTF-8 are escaped."""
    problem: str


class LintRule(BaseModel):
    """One lint."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    id: str
    severity: LintSeverity
    """Of what it finds, unless a finding says otherwise."""
    reason: str
    """Why it matters on a host."""
    mend: str
    """What to do in the image's build."""


class LintDocument(Document):
    """``bootctl-py lint``."""

    kind: Literal["Lint"] = "Lint"
    root: str | None
    """What was looked at; None: nothing, these are all the rules there are."""
    findings: list[LintFinding]
    rules: list[LintRule]
    """Those that were applied."""
    skipped: list[str]

    def count(self, severity: LintSeverity) -> int:
        """Return how many findings are of a severity."""
        return sum(finding.severity is severity for finding in self.findings)
