"""The kinds of jobs: what each does, is asked for, leaves, takes leave for and is announced as.

The bus, the command line, the process of a job, the status, the journal and the documentation read
this table. A new kind is a request and a row here; nothing else names it.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from bootd.model.action import Action
from bootd.model.attempts import STAGING
from bootd.model.documents import (
    CheckDocument,
    CollectDocument,
    FinalizeDocument,
    FsckDocument,
    KernelArgumentsChangeDocument,
    RollbackDocument,
    StageDocument,
)
from bootd.model.etc.change import EtcChangeDocument
from bootd.model.etc.report import EtcReport
from bootd.model.event import Event
from bootd.operations.jobs.kind import JobKind
from bootd.operations.jobs.request import (
    AnyDeployment,
    AnyDigest,
    AnyPaths,
    Choice,
    CopyName,
    NoArguments,
    Path,
    Paths,
    Reference,
    Request,
    Verb,
    Words,
)
from bootd.operations.progress import Phase
from bootd.startup import later

with later():
    # Who starts a job needs no operation, and a job needs its own alone.
    from bootd.operations import (
        check,
        collect,
        etc_change,
        etc_preview,
        finalize,
        forget,
        fsck,
        kernel_arguments,
        rollback,
        stage,
    )


class StageRequest(Request):
    """An image to stage; where none is named, the one that the machine follows."""

    reference: Reference | None = None
    remember: bool = False
    automatic: bool = False
    taken_from: Reference | None = None
    allow_downgrade: bool = False

    @property
    def is_automatic(self) -> bool:
        """Whether nobody asked for it."""
        return self.automatic

    @property
    def is_of_followed(self) -> bool:
        """Whether it is about the image that the machine follows, and no other."""
        return self.reference is None and self.taken_from is None

    def action(self, usual: Action) -> Action:
        """Return the polkit action: not everybody may choose what the machine runs."""
        # An old release may have holes that are known since.
        chooses = not self.is_of_followed or self.allow_downgrade
        return Action.SWITCH if chooses else usual

    def details(self) -> dict[str, str]:
        """Return the image, where one is named."""
        image = self.reference or self.taken_from
        return {} if image is None else {"image": image}


class FinalizeRequest(Request):
    """To make bootable what is staged."""

    asked: bool = False


class RollbackRequest(Request):
    """A deployment to go back to; where none is named, the one before."""

    target: AnyDeployment | None = Field(default=None, alias="deployment")
    carry_etc: bool = False

    def details(self) -> dict[str, str]:
        """Return the deployment."""
        return {"deployment": self.target or ""}


class ForgetRequest(Request):
    """A deployment to drop."""

    deployment: AnyDeployment

    def details(self) -> dict[str, str]:
        """Return the deployment."""
        return {"deployment": self.deployment}


class ChangeKernelArgumentsRequest(Request):
    """Kernel arguments, and what is to become of them."""

    verb: Verb
    words: Words
    source: str | None = None

    def details(self) -> dict[str, str]:
        """Return the program whose arguments are meant."""
        return {"source": self.source or ""}


class FsckRequest(Request):
    """To look for damage; what is damaged is repaired where nobody says no."""

    repair: bool = True


class PreviewRequest(Request):
    """An image whose ``/etc`` is to be merged on trial; where none is named, the staged one."""

    digest: AnyDigest | None = None

    def action(self, usual: Action) -> Action:
        """Return the polkit action: what is not there yet is fetched, which takes room."""
        return usual if self.digest is None else Action.STAGE


class _EtcRequest(Request):
    """What the requests to change ``/etc`` share."""

    dry_run: bool = False

    def action(self, usual: Action) -> Action:
        """Return the polkit action: who only wants to know what would happen looks."""
        return Action.INSPECT if self.dry_run else usual


class EtcResetRequest(_EtcRequest):
    """Paths to put back to what the image ships."""

    paths: Paths

    def details(self) -> dict[str, str]:
        """Return the first path."""
        return {"path": self.paths[0]}


class EtcRestoreRequest(_EtcRequest):
    """A copy, and which paths of it are to be put back."""

    # A model of pydantic has a method of that name.
    kept: CopyName = Field(alias="copy")
    paths: AnyPaths = Field(default_factory=list)

    def details(self) -> dict[str, str]:
        """Return the copy."""
        return {"copy": self.kept}

    def arguments(self) -> dict[str, Any]:
        """Return what the operation is given."""
        given = super().arguments()
        return {"copy": given.pop("kept"), **given}


class EtcResolveRequest(_EtcRequest):
    """Conflicts to decide."""

    path: Path
    choice: Choice
    content: str = ""
    also: Paths = Field(default_factory=list)

    def details(self) -> dict[str, str]:
        """Return the path."""
        return {"path": self.path}


CHECK: Final = JobKind(
    name="check",
    load=lambda: check.check,
    method="Check",
    request=NoArguments,
    document=CheckDocument,
    phases=(Phase.RESOLVING,),
    action=Action.CHECK,
    event=Event.UPDATE_AVAILABLE,
    gives_way=True,
    looks_for_update=True,
)
STAGE: Final = JobKind(
    name=STAGING,
    load=lambda: stage.stage,
    request=StageRequest,
    document=StageDocument,
    phases=(Phase.RESOLVING, Phase.PULLING, Phase.COMPOSING, Phase.STAGING),
    action=Action.STAGE,
    event=Event.STAGED,
    looks_for_update=True,
)
FINALIZE: Final = JobKind(
    name="finalize",
    load=lambda: finalize.finalize,
    request=FinalizeRequest,
    document=FinalizeDocument,
    phases=(Phase.FINALIZING,),
    action=Action.APPLY,
    event=Event.FINALIZED,
)
ROLLBACK: Final = JobKind(
    name="rollback",
    load=lambda: rollback.rollback,
    method="Rollback",
    request=RollbackRequest,
    document=RollbackDocument,
    phases=(Phase.FINALIZING,),
    action=Action.ROLLBACK,
    event=Event.ROLLED_BACK,
)
COLLECT: Final = JobKind(
    name="collect",
    load=lambda: collect.collect,
    method="Cleanup",
    request=NoArguments,
    document=CollectDocument,
    phases=(Phase.COLLECTING,),
    action=Action.CLEANUP,
)
FORGET: Final = JobKind(
    name="forget",
    load=lambda: forget.forget,
    method="Forget",
    request=ForgetRequest,
    document=CollectDocument,
    phases=(Phase.COLLECTING,),
    action=Action.FORGET,
)
CHANGE_KERNEL_ARGUMENTS: Final = JobKind(
    name="change-kernel-arguments",
    load=lambda: kernel_arguments.change_arguments,
    method="ChangeKernelArguments",
    request=ChangeKernelArgumentsRequest,
    document=KernelArgumentsChangeDocument,
    phases=(Phase.STAGING,),
    action=Action.CHANGE_KERNEL_ARGUMENTS,
    event=Event.KERNEL_ARGUMENTS_CHANGED,
)
FSCK: Final = JobKind(
    name="fsck",
    load=lambda: fsck.fsck,
    method="Fsck",
    request=FsckRequest,
    document=FsckDocument,
    phases=(Phase.VERIFYING,),
    action=Action.FSCK,
    event=Event.DAMAGE_FOUND,
)
PREVIEW: Final = JobKind(
    name="preview",
    load=lambda: etc_preview.preview,
    method="PreviewEtc",
    request=PreviewRequest,
    document=EtcReport,
    phases=(Phase.RESOLVING, Phase.PULLING, Phase.COMPOSING, Phase.VERIFYING),
    action=Action.INSPECT,
)
ETC_RESET: Final = JobKind(
    name="etc-reset",
    load=lambda: etc_change.reset,
    method="ResetEtc",
    request=EtcResetRequest,
    document=EtcChangeDocument,
    phases=(Phase.FINALIZING,),
    action=Action.CHANGE_ETC,
)
ETC_RESTORE: Final = JobKind(
    name="etc-restore",
    load=lambda: etc_change.restore,
    method="RestoreEtc",
    request=EtcRestoreRequest,
    document=EtcChangeDocument,
    phases=(Phase.FINALIZING,),
    action=Action.CHANGE_ETC,
)
ETC_RESOLVE: Final = JobKind(
    name="etc-resolve",
    load=lambda: etc_change.resolve,
    method="ResolveEtc",
    request=EtcResolveRequest,
    document=EtcChangeDocument,
    phases=(Phase.FINALIZING,),
    action=Action.CHANGE_ETC,
)

JOBS: Final[dict[str, JobKind[Any]]] = {
    kind.name: kind
    for kind in (
        CHECK,
        STAGE,
        FINALIZE,
        ROLLBACK,
        COLLECT,
        FORGET,
        CHANGE_KERNEL_ARGUMENTS,
        FSCK,
        PREVIEW,
        ETC_RESET,
        ETC_RESTORE,
        ETC_RESOLVE,
    )
}
"""By name, in the order in which the documentation lists them."""


def started_by(method: str) -> JobKind[Any]:
    """Return the kind of the jobs that a method of the Manager starts; there is one."""
    return next(kind for kind in JOBS.values() if kind.method == method)
