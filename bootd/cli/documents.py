"""The documents that only the command line makes: views of others, and answers without a result.

The rules are those of `bootd.model.documents`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bootd.model.deployment import DeploymentId
from bootd.model.documents import DeploymentStatus, Document


class DeploymentsDocument(Document):
    """``deployments``: those that are kept, what boots next first."""

    kind: Literal["Deployments"] = "Deployments"
    deployments: list[DeploymentStatus]
    rollback: DeploymentId | None
    """Where ``rollback`` would go."""


class CompletionDocument(Document):
    """``completion``: what a shell reads to complete command lines."""

    kind: Literal["Completion"] = "Completion"
    shell: str
    """Its name."""
    script: str
    """What it reads."""


class KernelArgumentsDocument(Document):
    """``kargs``: what the kernel was, and will be, started with."""

    kind: Literal["KernelArguments"] = "KernelArguments"
    booted: list[str] | None
    """None: the machine runs no deployment."""
    next: list[str] | None
    """None: nothing would boot next."""
    added: list[str]
    removed: list[str]
    origins: dict[str, str] = Field(default_factory=dict)
    """Where each argument of either list comes from; see `kernel_argument_origins` of a status."""
    not_taken: list[str] = Field(default_factory=list)
    """What the image or ``bootd.toml`` ask for and the next boot is without, because somebody took
    it away on this machine."""


class JobStatus(BaseModel):
    """One job of the daemon."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    id: int
    path: str
    job_kind: str
    state: str
    phase: str
    progress: float


class JobsDocument(Document):
    """``jobs``: running and recently finished ones."""

    kind: Literal["Jobs"] = "Jobs"
    jobs: list[JobStatus]


class JobDocument(Document):
    """A job was started and is left to itself (``--no-wait``)."""

    kind: Literal["Job"] = "Job"
    path: str


class DoneDocument(Document):
    """A verb that has no result of its own did its work."""

    kind: Literal["Done"] = "Done"
    verb: str
    message: str
    """The same for people."""


class Setting(BaseModel):
    """One value of the configuration."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    name: str
    value: str | int | float | bool | list[str] | None
    source: str
    """The file it came from, or ``default``."""


class ConfigurationDocument(Document):
    """``config``: every value, and the file it came from."""

    kind: Literal["Configuration"] = "Configuration"
    settings: list[Setting]
    warnings: list[str]
