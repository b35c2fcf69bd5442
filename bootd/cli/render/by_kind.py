"""Which text belongs to which kind of document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from bootd.cli.documents import (
    CompletionDocument,
    ConfigurationDocument,
    DeploymentsDocument,
    DoneDocument,
    JobDocument,
    JobsDocument,
    KernelArgumentsDocument,
)
from bootd.cli.render.boot_usage import render_boot_usage
from bootd.cli.render.doctor import render_doctor
from bootd.cli.render.etc import (
    render_change,
    render_conflicts,
    render_copies,
    render_diff,
    render_report,
    render_versions,
)
from bootd.cli.render.explanation import render_explanation
from bootd.cli.render.failing import render_history
from bootd.cli.render.health import render_derived, render_health
from bootd.cli.render.lint import render_lint
from bootd.cli.render.listing import (
    render_completion,
    render_configuration,
    render_denied,
    render_deployments,
    render_done,
    render_job,
    render_jobs,
    render_kernel_arguments,
)
from bootd.cli.render.results import (
    render_check,
    render_collect,
    render_finalize,
    render_fsck,
    render_install,
    render_kernel_arguments_change,
    render_rollback,
    render_stage,
)
from bootd.cli.render.status import render_status
from bootd.cli.render.trust import render_trust
from bootd.cli.style import Style
from bootd.model.boot.usage import BootUsageDocument
from bootd.model.doctor import DoctorDocument
from bootd.model.documents import (
    CheckDocument,
    CollectDocument,
    DeniedDocument,
    EtcConflictsDocument,
    ExplanationDocument,
    FinalizeDocument,
    FsckDocument,
    HistoryDocument,
    InstallDocument,
    KernelArgumentsChangeDocument,
    RollbackDocument,
    StageDocument,
    StatusDocument,
)
from bootd.model.errors import InternalError
from bootd.model.etc.change import EtcChangeDocument, EtcCopiesDocument, EtcVersionsDocument
from bootd.model.etc.report import EtcDiff, EtcReport
from bootd.model.health import EtcDerivedDocument, HealthDocument
from bootd.model.lint import LintDocument
from bootd.model.trust import TrustDocument

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Rendering(Generic[_Model]):
    """A kind of document, and what makes text of it."""

    model: type[_Model]
    text: Callable[[_Model, Style], str]

    def render(self, value: Mapping[str, Any], style: Style) -> str:
        """Return the text of a document that came as JSON.

        Raises:
            InternalError: it is not what its kind promises.
        """
        try:
            document = self.model.model_validate(value)
        except ValidationError as error:
            raise InternalError(
                f"the answer of kind {value.get('kind')} cannot be understood: {error}",
                hint="The daemon may be of another version: 'systemctl restart bootd'.",
            ) from error
        return self.text(document, style)


RENDERINGS: Final[dict[str, Rendering[Any]]] = {
    rendering.model.model_fields["kind"].default: rendering
    for rendering in (
        Rendering(StatusDocument, render_status),
        Rendering(CheckDocument, render_check),
        Rendering(StageDocument, render_stage),
        Rendering(FinalizeDocument, render_finalize),
        Rendering(InstallDocument, render_install),
        Rendering(KernelArgumentsChangeDocument, render_kernel_arguments_change),
        Rendering(RollbackDocument, render_rollback),
        Rendering(CollectDocument, render_collect),
        Rendering(BootUsageDocument, render_boot_usage),
        Rendering(FsckDocument, render_fsck),
        Rendering(DeniedDocument, render_denied),
        Rendering(EtcConflictsDocument, render_conflicts),
        Rendering(EtcReport, render_report),
        Rendering(EtcDiff, render_diff),
        Rendering(EtcDerivedDocument, render_derived),
        Rendering(EtcCopiesDocument, render_copies),
        Rendering(EtcChangeDocument, render_change),
        Rendering(EtcVersionsDocument, render_versions),
        Rendering(DeploymentsDocument, render_deployments),
        Rendering(KernelArgumentsDocument, render_kernel_arguments),
        Rendering(JobsDocument, render_jobs),
        Rendering(JobDocument, render_job),
        Rendering(DoneDocument, render_done),
        Rendering(ConfigurationDocument, render_configuration),
        Rendering(CompletionDocument, render_completion),
        Rendering(ExplanationDocument, render_explanation),
        Rendering(HistoryDocument, render_history),
        Rendering(HealthDocument, render_health),
        Rendering(LintDocument, render_lint),
        Rendering(TrustDocument, render_trust),
        Rendering(DoctorDocument, render_doctor),
    )
}
"""By the document's ``kind``."""


def render(value: Mapping[str, Any], style: Style) -> str:
    """Return the text of a document that came as JSON.

    Raises:
        InternalError: its kind is not known, or it is not what its kind promises.
    """
    rendering = RENDERINGS.get(str(value.get("kind")))
    if rendering is None:
        raise InternalError(f"the answer is of an unknown kind: {value.get('kind')!r}")
    return rendering.render(value, style)
