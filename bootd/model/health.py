"""Health checks as values: what is asked of a check, how it ended, and what follows from that.

A check answers one question about the running system with its exit status. What counts against an
image is decided here, without a look at the disk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bootd.model.deployment import DeploymentId
from bootd.model.documents import Document


class Severity(StrEnum):
    """What a failure means."""

    REQUIRED = "required"
    """The deployment is not kept."""
    WANTED = "wanted"
    """Somebody should look."""


class Outcome(StrEnum):
    """How the last attempt of a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    """It ended with another exit status than 0, or by a signal."""
    TIMED_OUT = "timed-out"
    """It was killed when its time was over."""
    NOT_STARTED = "not-started"
    """The kernel would not run it."""


class Verdict(StrEnum):
    """What all checks together say of the running deployment."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """Something failed, but nothing that counts against this deployment."""
    UNHEALTHY = "unhealthy"
    """A required check failed that had not failed before."""


class CheckSettings(BaseModel):
    """``<check>.toml`` beside a check: how it is run and what its failure means."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    severity: Severity | None = Field(default=None, strict=False)
    """None: by the folder; ``wanted.d`` holds wanted checks, the others required ones."""
    timeout_seconds: int = Field(default=120, ge=1, le=3_600)
    """For each attempt."""
    attempts: int = Field(default=1, ge=1, le=100)
    """How often it is run until it passes."""
    retry_seconds: int = Field(default=5, ge=0, le=600)
    """Between two attempts."""


class CheckResult(BaseModel):
    """How one check went."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    name: str
    """Its folder's last part and its file name: ``health.d/10-web``."""
    path: str
    severity: Severity
    outcome: Outcome
    attempts: int
    """How often it was run."""
    seconds: float
    """How long the last attempt took."""
    exit_status: int | None
    """Of the last attempt; negative: the signal that ended it; None: it was not started."""
    output: str
    """The end of what the last attempt said."""
    old: bool = False
    """It failed under the deployment before as well."""

    @property
    def passed(self) -> bool:
        """Whether all is well."""
        return self.outcome is Outcome.PASSED


class HealthDocument(Document):
    """``bootctl-py health``: what the checks found."""

    kind: Literal["Health"] = "Health"
    deployment: DeploymentId | None
    """The one that ran; None on a foreign system."""
    on_trial: bool
    """It was not known to be good yet."""
    when: datetime
    verdict: Verdict
    checks: list[CheckResult]
    problems: list[str] = Field(default_factory=list)
    """Settings that cannot be used, each named; their checks ran with the defaults."""

    @property
    def failed(self) -> list[CheckResult]:
        """The checks that did not pass."""
        return [check for check in self.checks if not check.passed]


class EtcDerivedDocument(Document):
    """``bootctl-py etc derive``: how the files of ``/etc`` were made that are made from others."""

    kind: Literal["EtcDerived"] = "EtcDerived"
    deployment: DeploymentId
    when: datetime
    results: list[CheckResult]
    """One a rule that the last merge of ``/etc`` left to do."""


def mark_old(checks: Iterable[CheckResult], failed_before: Collection[str]) -> list[CheckResult]:
    """Return the checks with `old` set on failures that the deployment before had too.

    Args:
        checks: what was found now.
        failed_before: names of the checks that failed under the deployment before.
    """
    return [
        check.model_copy(update={"old": not check.passed and check.name in failed_before})
        for check in checks
    ]


def judge(checks: Iterable[CheckResult], *, ignore_old: bool) -> Verdict:
    """Return what the checks say of the running deployment.

    Args:
        checks: with `old` set.
        ignore_old: a failure that is older than this deployment does not count against it.
    """
    failed = [check for check in checks if not check.passed]
    counting = [
        check
        for check in failed
        if check.severity is Severity.REQUIRED and not (ignore_old and check.old)
    ]
    if counting:
        return Verdict.UNHEALTHY
    return Verdict.DEGRADED if failed else Verdict.HEALTHY
