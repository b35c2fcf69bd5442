"""What bootd tells machines: one pydantic model a document, each with ``kind`` and ``version``.

These are the results of jobs on the bus and the ``--json`` output of ``bootctl-py``; the published
JSON schemas are made from them. A field may be added within a version; it is never renamed or
removed. Times are RFC 3339 UTC, sizes bytes, digests carry their algorithm.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bootd.model.acceptance import Acceptance, TrustStatus
from bootd.model.attempts import Attempt, FailingUpdates, NextRun
from bootd.model.config import Automatic
from bootd.model.deployment import Denial, DeploymentId
from bootd.model.digest import Digest
from bootd.model.etc.change import MAX_PATHS, OpenConflict
from bootd.model.etc.report import EtcReport
from bootd.model.gate import GateVerdict
from bootd.model.readers import Guarded, Shown
from bootd.model.registry.source_use import SourceUse
from bootd.model.state import DeploymentState, SealedFrom, UpgradeState


class Document(BaseModel):
    """What all documents share."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    version: Literal[1] = 1


class DeploymentStatus(BaseModel):
    """One kept deployment, as read off the disk."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    id: DeploymentId
    image: Shown
    taken_from: Shown | None = None
    """Where the image came from instead of `image`, for that one time; None: from there."""
    digest: Digest
    image_version: Shown
    created: datetime
    state: DeploymentState
    booted: bool
    next_boot: bool
    """The boot loader starts this one next."""
    pinned: bool
    tries_left: int | None
    """Boots left before the loader gives up on it; None: not counted."""
    kernel_version: Shown
    kernel_arguments: list[Shown]
    """As its boot entry has them, if it has one."""
    kernel_argument_origins: dict[Shown, Shown] = Field(default_factory=dict)
    """Where each comes from: the path of a file of the image's, ``source NAME`` for what a program
    owns, ``bootd.toml``, ``installer``, ``kargs``, ``boot entry`` for what somebody wrote into it,
    ``bootd`` for what it adds where nobody says otherwise, else ``unknown``."""
    kernel_arguments_not_taken: list[Shown] = Field(default_factory=list)
    """What the image or ``bootd.toml`` ask for and somebody took away on this machine."""
    kernel_arguments_refused: list[Shown] = Field(default_factory=list)
    """What the image asked for and an image may not say; ``allow_image_arguments`` lets it."""
    etc_conflicts: int
    """Conflicts of the merge that nobody has decided yet; of what is staged, as of staging."""
    etc_security_conflicts: int = 0
    """Those of them at paths that matter for security."""
    given_up: bool = False
    """Its boot entry and kernel made room on the boot partition; a rollback brings them back."""
    sealed: bool = False
    """The kernel guards each of its files by a digest (fs-verity)."""
    seal_digest: Shown | None = None
    """The digest that stands for all of them: fs-verity's of ``root.erofs``. None: not sealed."""
    sealed_from: SealedFrom = SealedFrom.NOWHERE
    """Since when the seal is enforced. Of the running deployment, as this boot was started."""
    accepted: Acceptance | None = None
    """What the policy for images said of it when it was staged; None: that is not known."""


class Standing(StrEnum):
    """What the image that was looked up last is to this machine."""

    NEW = "new"
    """It can be had: the machine neither runs it nor will after a restart."""
    BOOTED = "booted"
    STAGED = "staged"
    QUEUED = "queued"
    DENIED = "denied"
    """It is on the deny list: it failed here, or somebody left it by a rollback."""
    UNFIT = "unfit"
    """No host can use it."""
    NOT_FOLLOWED = "not-followed"
    """The machine follows another reference by now."""


class AvailableImage(BaseModel):
    """What the followed reference pointed to when it was last looked up."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    image: Shown
    digest: Digest
    image_version: Shown
    checked: datetime
    download_bytes: int
    """Compressed size of the layers that the store does not have."""
    standing: Standing = Standing.NEW
    update: bool = True
    """There is something to get: the standing is ``new``."""


class StatusDocument(Document):
    """``bootctl-py status``: all that is known without asking the registry."""

    kind: Literal["Status"] = "Status"
    bootd: Shown
    """The version of bootd that wrote this."""
    image: Shown | None
    """The reference this machine follows."""
    state: UpgradeState
    booted: DeploymentId | None
    staged: DeploymentId | None
    queued: DeploymentId | None
    """Boots next although it is not the booted one."""
    rollback: DeploymentId | None
    """Where ``rollback`` would go."""
    reboot_required: bool
    reboot_helps: bool = False
    """A reboot starts what is staged or queued, as far as anybody can know."""
    available: AvailableImage | None
    held_by: Shown | None
    held_until: datetime | None = None
    """When that is over by itself; None: never, or nobody holds updates."""
    held_back: bool = False
    """What is staged does not boot at the next shutdown, because updates are held."""
    staged_by_hand: bool = False
    """A person asked for what is staged; a run that nobody asked for keeps it."""
    replaced: Shown | None = None
    """What a person had staged, and an automatic run replaced by what is staged now."""
    queued_by_hand: bool = False
    """A person made another deployment boot next, and says when the machine restarts."""
    finalize_failure: Guarded | None
    """Why the last shutdown did not make the staged deployment bootable."""
    did_not_boot: Shown | None = None
    """What was to boot when the machine started last and was not started, with the cause if it is
    known. That is no verdict on the image."""
    overridden: Shown | None = None
    """What overrides the boot order, so that updates do not boot, and how to lift it."""
    no_room: Shown | None = None
    """Why the available image was not staged when that was tried last: its kernel has no room on
    the boot partition. It says what helps."""
    unfit: Shown | None = None
    """Why no host can use the available image; it is not fetched again."""
    misconfigured: Shown | None = None
    """Why other settings are in force than ``bootd.toml`` says."""
    failing: FailingUpdates | None = None
    """What became of the last attempts to find or stage an update, if they failed."""
    next_run: NextRun | None = None
    """When the machine looks for an update by itself next; None: it does not, or no daemon plans
    it."""
    last_fallback: Denial | None
    """The newest digest that failed here, with its cause, until one that was staged later has
    proved itself; a rollback by hand is no failure."""
    deployments: list[DeploymentStatus]
    etc_drift: Guarded | None = None
    """A digest of what this machine changed in its ``/etc``; the same on machines that are set up
    alike, whichever version they run. None: it was not asked for by root, or is not known."""
    seal_wanted: bool = False
    """The settings ask for sealed deployments; it holds for what is staged from then on."""
    trust: TrustStatus | None = None
    """The policy for images that is in force, and what it refused; None: that is not known."""
    boot_loader: Shown | None = None
    """What the boot loader on ``$BOOT`` is: ``systemd-boot 257.8``; None: not known."""
    image_boot_loader: Shown | None = None
    """The boot loader of the running image; None: it has none, or that is not known."""
    unconfined: Shown | None = None
    """What the running kernel lacks to keep the processes that read layers from all else."""
    problems: list[Shown] = Field(default_factory=list)
    """Whatever is not as it should be, each in a sentence: records that cannot be read, and what
    keeps an update from booting."""


class CheckDocument(Document):
    """Result of a check."""

    kind: Literal["Check"] = "Check"
    image: Shown
    digest: Digest
    image_version: Shown
    update: bool
    """An upgrade would stage something."""
    denied: bool
    """It would not, because this digest failed here before, or is unfit."""
    download_bytes: int
    """Compressed size of the layers that are not in the store yet; 0 without an update."""
    sources: list[SourceUse] = Field(default_factory=list)
    """The places that were asked, mirrors among them; none where the image is in a file."""


class StageCause(StrEnum):
    """What an upgrade brings."""

    IMAGE = "image"
    """Another image."""
    KERNEL_ARGUMENTS = "kernel-arguments"
    """The same image with the kernel arguments that ``bootd.toml`` asks for now."""


class StageDocument(Document):
    """Result of an upgrade or a switch."""

    kind: Literal["Stage"] = "Stage"
    changed: bool
    """False: the machine is, or will be, on this image already."""
    cause: StageCause | None = None
    """What is new; None: nothing."""
    image: Shown
    taken_from: Shown | None = None
    """Where it came from instead of `image`, for this one time; None: from there."""
    digest: Digest
    deployment: DeploymentId | None
    fetched_bytes: int
    fetched_layers: int
    etc: EtcReport | None
    kernel_arguments_not_taken: list[Shown] = Field(default_factory=list)
    """What ``bootd.toml`` asks for and the next boot is without: it was taken away on this machine,
    or a rollback went back from it."""
    kernel_arguments_refused: list[Shown] = Field(default_factory=list)
    """As in the status of the deployment."""
    gives_up: list[DeploymentId] = Field(default_factory=list)
    """Deployments whose kernel the next shutdown takes off the boot partition to make room."""
    sources: list[SourceUse] = Field(default_factory=list)
    """The places that were asked, mirrors among them; none where the image is in a file."""


class KernelArgumentsChangeDocument(Document):
    """Result of a change of kernel arguments."""

    kind: Literal["KernelArgumentsChange"] = "KernelArgumentsChange"
    changed: bool
    """False: the next boot is as wanted already."""
    deployment: DeploymentId
    """What boots next, with these arguments."""
    arguments: list[Shown]
    added: list[Shown]
    removed: list[Shown]
    absent: list[Shown] = Field(default_factory=list)
    """What was to go away and was not there."""
    sources: dict[Shown, list[Shown]] = Field(default_factory=dict)
    """Which of the arguments programs own, by their names."""
    other_root: bool = False
    """The change is one of the root file system, on which the deployments are."""


class FinalizeDocument(Document):
    """Result of finalize."""

    kind: Literal["Finalize"] = "Finalize"
    deployment: DeploymentId | None
    """None: nothing was staged."""
    entry: Shown | None
    etc: EtcReport | None
    given_up: list[DeploymentId] = Field(default_factory=list)
    """Deployments whose boot entry and kernel made room on the boot partition; they are still in
    the store, and a rollback brings their kernel back."""
    held_by: Shown | None = None
    """Who holds updates, so that what is staged stays staged; None: nothing is held back."""


class FirmwareEntry(BaseModel):
    """An entry among what the firmware of this machine starts, or what kept it from being made."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    label: Shown
    number: Shown | None
    """Four hex digits, as in ``Boot0003``; it is the first. None: there is no entry."""
    partition: Shown
    """The UUID of the EFI system partition."""
    loader: Shown
    """The loader's path on that, with backslashes."""
    problem: Shown | None
    """Why there is none."""
    command: Shown
    """What makes the entry, for a shell."""


class InstallDocument(Document):
    """Result of an installation."""

    kind: Literal["Install"] = "Install"
    image: Shown
    digest: Digest
    follows: Shown
    """The reference the machine will follow."""
    deployment: DeploymentId
    entry: Shown
    device: Shown | None
    """The disk or disk image; None: onto a file system that was there."""
    filesystem: Shown
    """The root file system's type."""
    kernel_arguments: list[Shown]
    fetched_bytes: int
    loader: Shown | None = None
    """Where the boot loader is on the EFI system partition; None: no name for it was free."""
    firmware_entries: list[FirmwareEntry] = Field(default_factory=list)
    """What this machine's firmware starts; none for a disk that is for another machine."""
    warnings: list[Shown] = Field(default_factory=list)
    """What may keep the machine from starting, or from starting this; a sentence each."""


class RollbackDocument(Document):
    """Result of a rollback."""

    kind: Literal["Rollback"] = "Rollback"
    deployment: DeploymentId
    entry: Shown
    denied: Digest | None
    """The digest that was put on the deny list, if one was left behind."""
    unstaged: DeploymentId | None
    etc_left_behind: list[Shown] = Field(default_factory=list, max_length=MAX_PATHS)
    """Paths at which ``/etc`` is not as it was made since that deployment was left."""
    more_left_behind: int = 0
    """How many beyond those."""
    etc: EtcReport | None = None
    """The merge that brought later edits along, if they were to be."""
    etc_copy: Shown | None = None
    """The copy of what that merge replaced."""
    given_up: list[DeploymentId] = Field(default_factory=list)
    """As for finalize."""


class CollectDocument(Document):
    """Result of a cleanup, or of forgetting a deployment."""

    kind: Literal["Collect"] = "Collect"
    deployments: list[DeploymentId]
    etc_copies: list[Shown] = Field(default_factory=list)
    """Copies that were made of edits of ``/etc`` that no deployment has any more."""
    images: int
    layers: int
    objects: int
    kernels: int
    partial_downloads: int
    freed_bytes: int
    freed_boot_bytes: int = 0
    """What the kernels took on the boot partition."""


class Damage(BaseModel):
    """One thing that is not what it should be."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    what: Shown
    """``object``, ``layer``, ``image``, ``deployment``, ``kernel``, ``entry``, ``loader``,
    ``record`` or ``boot-partition``."""
    path: Shown
    problem: Shown
    repaired: bool
    """A kernel, an entry or a loader was put back; anything else was taken away, so that the next
    upgrade brings it back."""


class FsckDocument(Document):
    """Result of fsck."""

    kind: Literal["Fsck"] = "Fsck"
    objects: int
    bytes: int
    images: int
    damages: list[Damage]


class DeniedDocument(Document):
    """The deny list."""

    kind: Literal["Denied"] = "Denied"
    denied: list[Denial]


class EtcConflictsDocument(Document):
    """What is undecided in ``/etc``, and the reports of the deployments that have one."""

    kind: Literal["EtcConflicts"] = "EtcConflicts"
    reports: dict[DeploymentId, EtcReport]
    open: list[OpenConflict] = Field(default_factory=list)
    """Conflicts that nobody has decided yet: in the running deployment, and, as of staging, in the
    staged one."""


class Reason(StrEnum):
    """Why an update is, or is not, made."""

    NO_IMAGE = "no-image"
    """Nobody said which image to follow."""
    UNREADABLE = "unreadable"
    """Records cannot be read, or something else is not as it should be; `status` names it."""
    DENIED = "denied"
    """What is available failed on this machine before."""
    UNFIT = "unfit"
    """No host can use what is available."""
    NO_ROOM = "no-room"
    """The kernel of what is available has no room on the boot partition."""
    HELD = "held"
    """Somebody holds automatic upgrades."""
    FINALIZE_FAILED = "finalize-failed"
    """The last shutdown could not make the staged deployment bootable."""
    DID_NOT_BOOT = "did-not-boot"
    """What was to boot when the machine started last was not started."""
    OVERRIDDEN = "overridden"
    """An EFI variable, ``loader.conf`` or another system's entry overrides the boot order."""
    REFUSED = "refused"
    """The policy for images does not allow what is available, or it is an older release."""
    AUTOMATIC_OFF = "automatic-off"
    """The timer is told to do nothing."""
    AUTOMATIC_ONLY_CHECKS = "automatic-only-checks"
    """The timer is told to check, not to stage."""
    MISCONFIGURED = "misconfigured"
    """``bootd.toml`` cannot be used, so other settings are in force."""
    FAILING = "failing"
    """The last attempt to find or stage an update failed, so nobody knows what is newest."""
    NEVER_CHECKED = "never-checked"
    """The registry was not asked yet."""
    STAGED = "staged"
    """An update is staged and waits for a shutdown."""
    QUEUED = "queued"
    """Another deployment boots next."""
    ON_TRIAL = "on-trial"
    """The running deployment has not proved itself yet."""
    UP_TO_DATE = "up-to-date"
    """The machine runs what is available."""


class ExplanationDocument(Document):
    """Why an update is, or is not, made."""

    kind: Literal["Explanation"] = "Explanation"
    image: Shown | None
    available: AvailableImage | None
    state: UpgradeState
    automatic: Automatic
    held_by: Shown | None
    held_until: datetime | None = None
    held_back: bool = False
    staged_by_hand: bool = False
    replaced: Shown | None = None
    gates: list[GateVerdict] = Field(default_factory=list)
    """What each gate says to a restart that nobody asks for; none: nobody looked."""
    put_off: Shown | None = None
    """Why a restart that nobody asked for was put off; None: none was."""
    denial: Denial | None
    """Of the available digest."""
    last_fallback: Denial | None
    finalize_failure: Guarded | None
    did_not_boot: Shown | None = None
    overridden: Shown | None = None
    no_room: Shown | None = None
    failing: FailingUpdates | None = None
    next_run: NextRun | None = None
    """See `StatusDocument.next_run`."""
    trust: TrustStatus | None = None
    """As in the status."""
    accepted: Acceptance | None = None
    """What the policy said of the running deployment's image when that was staged."""
    reasons: list[Reason]
    """Those that hold, the strongest first."""


class HistoryDocument(Document):
    """``bootctl-py history``: what became of looking for an update."""

    kind: Literal["History"] = "History"
    attempts: list[Attempt]
    """The newest first, as far as they are remembered."""
    in_a_row: int
    """How many failed since the last that did not."""
    first_failure: datetime | None
    """When the first of those failed."""
    last_success: datetime | None
    next_run: NextRun | None = None
    """See `StatusDocument.next_run`."""


class ErrorDocument(Document):
    """What went wrong, for ``--json`` and for a failed job's ``Error``."""

    kind: Literal["Error"] = "Error"
    code: Shown
    message: Shown
    hint: Shown
    exit_status: int
