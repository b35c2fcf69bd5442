"""One sample of every published document, by kind; their JSON and their text are golden files."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel

from bootd.cli.documents import (
    CompletionDocument,
    ConfigurationDocument,
    DeploymentsDocument,
    DoneDocument,
    JobDocument,
    JobsDocument,
    JobStatus,
    KernelArgumentsDocument,
    Setting,
)
from bootd.model.acceptance import Acceptance, TrustStatus
from bootd.model.attempts import Attempt, FailingUpdates, NextRun
from bootd.model.boot.usage import BootFolder, BootOwner, BootShare, BootUsageDocument
from bootd.model.config import Automatic
from bootd.model.deployment import Denial, DeploymentId
from bootd.model.digest import Digest
from bootd.model.doctor import DoctorDocument, DoctorFinding, Fit, NextCommand
from bootd.model.documents import (
    AvailableImage,
    CheckDocument,
    CollectDocument,
    Damage,
    DeniedDocument,
    DeploymentStatus,
    EtcConflictsDocument,
    ExplanationDocument,
    FinalizeDocument,
    FirmwareEntry,
    FsckDocument,
    HistoryDocument,
    InstallDocument,
    KernelArgumentsChangeDocument,
    Reason,
    RollbackDocument,
    StageCause,
    StageDocument,
    Standing,
    StatusDocument,
)
from bootd.model.etc.change import (
    CopyReason,
    EtcChangeDocument,
    EtcCopiesDocument,
    EtcCopy,
    EtcVersionsDocument,
    OpenConflict,
)
from bootd.model.etc.report import (
    ChangeKind,
    ConflictKind,
    EtcChange,
    EtcConflict,
    EtcCounts,
    EtcDiff,
    EtcNote,
    EtcReport,
    EtcSide,
    EtcStep,
    NoteKind,
)
from bootd.model.gate import Answer, GateVerdict
from bootd.model.health import (
    CheckResult,
    EtcDerivedDocument,
    HealthDocument,
    Outcome,
    Severity,
    Verdict,
)
from bootd.model.lint import LintDocument, LintFinding, LintRule, LintSeverity
from bootd.model.registry.source_use import SourceUse
from bootd.model.state import DeploymentState, SealedFrom, UpgradeState
from bootd.model.trust import TrustDocument

IMAGE = "registry.example/os:stable"
OLD = Digest("sha256:" + "1a" * 32)
NEW = Digest("sha256:" + "2b" * 32)
BAD = Digest("sha256:" + "3c" * 32)
OLD_ID = DeploymentId.compose(OLD, 0)
NEW_ID = DeploymentId.compose(NEW, 0)
BAD_ID = DeploymentId.compose(BAD, 0)
PAST = datetime(2026, 5, 1, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2026, 5, 2, 3, 4, 5, tzinfo=UTC)

_DEFAULT = EtcSide(type="file", size=10, digest="0" * 64, mode="0644", uid=0, gid=0)
_LOCAL = EtcSide(type="file", size=12, digest="1" * 64, mode="0600", uid=0, gid=33)
_ABSENT = EtcSide(type="absent")

REPORT = EtcReport(
    counts=EtcCounts(taken=7, removed=1, kept=4, deleted=1, merged=2, conflicts=2),
    conflicts=[
        EtcConflict(
            path="/etc/ssh/sshd_config",
            kind=ConflictKind.CONTENT,
            base=_DEFAULT,
            mine=_LOCAL,
            theirs=_DEFAULT,
        ),
        EtcConflict(
            path="/etc/motd",
            kind=ConflictKind.DELETED_HERE,
            base=_DEFAULT,
            mine=_ABSENT,
            theirs=_LOCAL,
        ),
    ],
    notes=[EtcNote(path="/etc/spool", kind=NoteKind.SPECIAL_SKIPPED, detail="fifo")],
    truncated=3,
)

DENIAL = Denial(
    digest=BAD, cause="boot failed three times", when=PAST, evidence="sshd.service\nfailed"
)

MISSED = f"{NEW_ID} was to boot and was not started: something else was"
NO_ROOM = (
    "kernel 6.12.50 needs 49.3 MiB on the boot partition; 3.2 MiB of 123.7 MiB are free. Held by "
    f"{OLD_ID} (running): 49.1 MiB; EFI/debian: 6.1 MiB. 'bootctl-py cleanup --boot' lists all."
)
UNFIT = (
    "the available image is unfit and is not fetched again: the image has 4 entries in /etc and 1 "
    "in /usr/etc: which are the defaults?"
)
OVERRIDDEN = f"{OLD_ID} boots next, and not {NEW_ID}: an EFI variable says so"

MISCONFIGURED = "/etc/bootd/bootd.toml: tries = '3': Input should be a valid integer"
FAILING = FailingUpdates(
    in_a_row=3,
    since=PAST,
    last_success=PAST,
    last=Attempt(
        when=LATER,
        operation="stage",
        automatic=True,
        user=0,
        outcome="unauthorized",
        message="registry.example wants a user name and password, and there are none",
        hint="Put credentials where they belong.",
    ),
)
ACCEPTED = Acceptance(
    when=PAST, scope="docker:registry.example", signers=["the OpenPGP key 0123", "nightly@example"]
)
TRUST = TrustStatus(
    policy="/etc/containers/policy.json",
    scope="docker:registry.example",
    requires=["signedBy", "sigstoreSigned"],
    bundles=True,
    refused=FAILING.last,
)
OLD_DEPLOYMENT = DeploymentStatus(
    id=OLD_ID,
    image=IMAGE,
    digest=OLD,
    image_version="1.0",
    created=PAST,
    state=DeploymentState.GOOD,
    booted=True,
    next_boot=True,
    pinned=True,
    tries_left=None,
    kernel_version="6.12.48",
    kernel_arguments=["quiet", "console=ttyS0"],
    etc_conflicts=0,
    accepted=ACCEPTED,
)
NEW_DEPLOYMENT = DeploymentStatus(
    id=NEW_ID,
    image=IMAGE,
    digest=NEW,
    image_version="1.1",
    created=LATER,
    state=DeploymentState.STAGED,
    booted=False,
    next_boot=False,
    pinned=False,
    tries_left=3,
    kernel_version="6.12.50",
    kernel_arguments=["quiet", "rd.shell=0"],
    kernel_argument_origins={
        "quiet": "/usr/lib/bootc/kargs.d/10-image.toml",
        "rd.shell=0": "kargs",
    },
    kernel_arguments_not_taken=["splash"],
    kernel_arguments_refused=["init=/bin/sh"],
    etc_conflicts=2,
    sealed=True,
    seal_digest="sha256:" + "5e" * 32,
    sealed_from=SealedFrom.ENTRY_UNSIGNED,
)

STATUS = StatusDocument(
    etc_drift="sha256:" + "4d" * 32,
    seal_wanted=True,
    trust=TRUST,
    boot_loader="systemd-boot 257.8-1~deb13u1",
    image_boot_loader="systemd-boot 257.8-1~deb13u2",
    unconfined="layers are imported by processes with fewer restrictions: no Landlock",
    bootd="0.1",
    image=IMAGE,
    state=UpgradeState.STAGED,
    booted=OLD_ID,
    staged=NEW_ID,
    queued=None,
    rollback=OLD_ID,
    reboot_required=True,
    reboot_helps=True,
    available=AvailableImage(
        image=IMAGE,
        digest=NEW,
        image_version="1.1",
        checked=LATER,
        download_bytes=0,
        standing=Standing.STAGED,
        update=False,
    ),
    held_by="operator: rack move",
    held_until=LATER,
    held_back=True,
    staged_by_hand=True,
    replaced="registry.example/os:stable 1.0, staged as 0c0c0c0c0c0c0c0c.0",
    finalize_failure="no space left on $BOOT",
    did_not_boot=MISSED,
    overridden=OVERRIDDEN,
    no_room=NO_ROOM,
    misconfigured=MISCONFIGURED,
    failing=FAILING,
    next_run=NextRun(when=LATER, why="retry"),
    unfit=UNFIT,
    last_fallback=DENIAL,
    deployments=[OLD_DEPLOYMENT, NEW_DEPLOYMENT],
    problems=[
        "/sysroot/bootd/deployments/0000000000000000.1/deployment.json is not JSON",
        MISSED,
        OVERRIDDEN,
        NO_ROOM,
        UNFIT,
    ],
)

SAMPLES: dict[str, BaseModel] = {
    "Status": STATUS,
    "Check": CheckDocument(
        image=IMAGE,
        digest=NEW,
        image_version="1.1",
        update=True,
        denied=False,
        download_bytes=61_234_567,
    ),
    "Stage": StageDocument(
        changed=True,
        cause=StageCause.IMAGE,
        kernel_arguments_not_taken=["nosmt"],
        image=IMAGE,
        digest=NEW,
        deployment=NEW_ID,
        fetched_bytes=61_234_567,
        fetched_layers=1,
        etc=REPORT,
        gives_up=[BAD_ID],
        sources=[
            SourceUse(location="cache.example/os", passed_over="cache.example: no route to host"),
            SourceUse(location="registry.example/os", answers=3, layer_bytes=61_234_567),
        ],
    ),
    "Finalize": FinalizeDocument(
        deployment=NEW_ID,
        entry=f"bootd-0002-{NEW_ID}+3-0.conf",
        etc=REPORT,
        given_up=[BAD_ID],
    ),
    "Install": InstallDocument(
        image=IMAGE,
        digest=NEW,
        follows="registry.example/os:testing",
        deployment=NEW_ID,
        entry=f"bootd-0001-{NEW_ID}+3-0.conf",
        device="/dev/vdb",
        filesystem="ext4",
        kernel_arguments=["quiet", "root=UUID=0b5a4a0e-7a0c-4b0e-9d0e-2f6c1c1f7a11", "rw"],
        fetched_bytes=724_000_000,
        loader="EFI/systemd/systemd-bootx64.efi",
        firmware_entries=[
            FirmwareEntry(
                label="bootd",
                number="0003",
                partition="6b1f3f0e-5f5b-4c1c-9d0e-0a4a1c5b7e11",
                loader="\\EFI\\systemd\\systemd-bootx64.efi",
                problem=None,
                command="efibootmgr --create --disk /dev/vdb --part 1",
            ),
            FirmwareEntry(
                label="bootd",
                number=None,
                partition="0f3c2a77-0a0c-4f5e-8d0b-5b6a1c5b7e12",
                loader="\\EFI\\systemd\\systemd-bootx64.efi",
                problem="efibootmgr is not installed",
                command="efibootmgr --create --disk /dev/vdc --part 1",
            ),
        ],
        warnings=["The EFI system partition has room for no second kernel."],
    ),
    "Rollback": RollbackDocument(
        deployment=OLD_ID,
        entry=f"bootd-0003-{OLD_ID}.conf",
        denied=NEW,
        unstaged=NEW_ID,
        etc_left_behind=["/etc/hosts", "/etc/new\\x0a"],
        more_left_behind=2,
        etc=REPORT,
        etc_copy=f"{OLD_ID}-1",
        given_up=[BAD_ID],
    ),
    "Collect": CollectDocument(
        deployments=[OLD_ID],
        images=1,
        layers=12,
        objects=4321,
        kernels=1,
        partial_downloads=0,
        etc_copies=[OLD_ID],
        freed_bytes=723_456_789,
        freed_boot_bytes=49_283_072,
    ),
    "BootUsage": BootUsageDocument(
        size=129_722_368,
        free=10_485_760,
        kernels=[
            BootFolder(
                folder="5e" * 32 + "-0a1b2c3d",
                bytes=49_348_608,
                owner=BootOwner.OWN,
                installation="0a1b2c3d",
                deployments=[NEW_ID, OLD_ID],
                entries=[f"bootd-0001-{OLD_ID}.conf", f"bootd-0002-{NEW_ID}+3-0.conf"],
                removable=False,
            ),
            BootFolder(
                folder="6f" * 32 + "-4e5f6071",
                bytes=41_943_040,
                owner=BootOwner.NEIGHBOUR,
                installation="4e5f6071",
                deployments=[],
                entries=["bootd-0001-0123456789abcdef.0.conf"],
                removable=False,
            ),
            BootFolder(
                folder="7a" * 32,
                bytes=20_971_520,
                owner=BootOwner.NOBODY,
                installation=None,
                deployments=[],
                entries=[],
                removable=True,
            ),
        ],
        others=[BootShare(path="EFI/debian", bytes=6_291_456)],
        freed_bytes=20_975_616,
    ),
    "Fsck": FsckDocument(
        objects=60_000,
        bytes=1_900_000_000,
        images=2,
        damages=[
            Damage(
                what="object",
                path="objects/ab/cdef",
                problem="its content has another digest",
                repaired=True,
            ),
            Damage(
                what="kernel", path="bootd/0123/vmlinuz", problem="it is missing", repaired=False
            ),
        ],
    ),
    "History": HistoryDocument(
        attempts=[
            FAILING.last,
            FAILING.last.model_copy(update={"when": PAST}),
            Attempt(when=PAST, operation="check", user=1000, outcome="done"),
        ],
        in_a_row=2,
        first_failure=PAST,
        last_success=PAST,
        next_run=NextRun(when=LATER, why="retry"),
    ),
    "Denied": DeniedDocument(denied=[DENIAL]),
    "EtcConflicts": EtcConflictsDocument(
        reports={OLD_ID: EtcReport(), NEW_ID: REPORT},
        open=[
            OpenConflict(
                deployment=NEW_ID,
                conflict=REPORT.conflicts[0].model_copy(update={"security": True}),
                diff_mine="--- a (base)\n+++ a (here)\n@@ -1 +1 @@\n-Port 22\n+Port 2222\n",
                diff_theirs="--- a (base)\n+++ a (image)\n@@ -1 +1 @@\n-Port 22\n+Port 222\n",
            ),
            OpenConflict(deployment=NEW_ID, conflict=REPORT.conflicts[1]),
        ],
    ),
    "EtcCopies": EtcCopiesDocument(
        copies=[
            EtcCopy(
                name=f"{NEW_ID}-1",
                deployment=NEW_ID,
                reason=CopyReason.RESET,
                created=PAST,
                size=2_345,
                paths=["/etc/hosts", "/etc/motd", "/etc/ssh/a", "/etc/ssh/b"],
                more_paths=2,
                absent=["/etc/motd"],
            ),
            EtcCopy(
                name=OLD_ID,
                deployment=OLD_ID,
                reason=CopyReason.COLLECTED,
                created=PAST,
                size=120,
                paths=["/etc/hosts"],
            ),
        ],
        keep_days=30,
    ),
    "EtcChange": EtcChangeDocument(
        decided=["/etc/hosts", "/etc/motd"],
        undecided=["/etc/group"],
        changed=["/etc/hosts", "/etc/new\\x0a"],
        more_changed=1,
        removed=["/etc/new\\x0a"],
        skipped=["/etc/passwd"],
        kept_as=f"{NEW_ID}-1",
        not_kept=["/etc/hosts"],
    ),
    "EtcVersions": EtcVersionsDocument(
        path="/etc/motd",
        mine="bWluZQo=",
        theirs="dGhlaXJzCg==",
        marked="PDw8PDw8PCBtaW5lCm1pbmUKPT09PT09PQp0aGVpcnMKPj4+Pj4+PiBpbWFnZQo=",
    ),
    "EtcReport": REPORT.model_copy(
        update={
            "changes": [
                EtcStep(path="/etc/gone.conf", kind=ChangeKind.REMOVED),
                EtcStep(path="/etc/new.conf", kind=ChangeKind.ADDED),
                EtcStep(path="/etc/sudoers", kind=ChangeKind.CONTENT_AND_METADATA),
            ],
            "more_changes": 4,
        }
    ),
    "EtcDiff": EtcDiff(
        changes=[
            EtcChange(path="/etc/hosts", kind=ChangeKind.CONTENT, base=_DEFAULT, mine=_LOCAL),
            EtcChange(path="/etc/motd", kind=ChangeKind.REMOVED, base=_DEFAULT, mine=_ABSENT),
            EtcChange(path="/etc/new\\x0a", kind=ChangeKind.ADDED, base=_ABSENT, mine=_LOCAL),
            EtcChange(
                path="/etc/localtime",
                kind=ChangeKind.TYPE,
                base=_DEFAULT,
                mine=EtcSide(type="symlink", target="../usr/share/zoneinfo/UTC", mode="0777"),
            ),
        ],
        truncated=2,
    ),
    "Deployments": DeploymentsDocument(
        deployments=[NEW_DEPLOYMENT, OLD_DEPLOYMENT], rollback=OLD_ID
    ),
    "KernelArguments": KernelArgumentsDocument(
        booted=["quiet", "console=ttyS0"],
        next=["quiet", "rd.shell=0"],
        added=["rd.shell=0"],
        removed=["console=ttyS0"],
        origins={
            "quiet": "/usr/lib/bootc/kargs.d/10-image.toml",
            "console=ttyS0": "bootd.toml",
            "rd.shell=0": "source tuned",
        },
        not_taken=["splash"],
    ),
    "KernelArgumentsChange": KernelArgumentsChangeDocument(
        changed=True,
        deployment=NEW_ID,
        arguments=["quiet", "root=UUID=2", "nosmt"],
        added=["root=UUID=2", "nosmt"],
        removed=["root=UUID=1"],
        absent=["splash"],
        sources={"tuned": ["nosmt"]},
        other_root=True,
    ),
    "Jobs": JobsDocument(
        jobs=[
            JobStatus(
                id=4,
                path="/org/bootd1/job/4",
                job_kind="stage",
                state="running",
                phase="pulling",
                progress=0.42,
            )
        ]
    ),
    "Job": JobDocument(path="/org/bootd1/job/4"),
    "Done": DoneDocument(verb="unstage", message="Nothing is staged any more."),
    "Completion": CompletionDocument(shell="bash", script="complete -F _bootctl_py bootctl-py"),
    "Configuration": ConfigurationDocument(
        settings=[
            Setting(name="image", value=IMAGE, source="/etc/bootd/bootd.toml"),
            Setting(name="automatic", value="stage", source="default"),
            Setting(name="kernel_arguments", value=["quiet", "nosmt"], source="default"),
            Setting(name="boot_partition", value=None, source="default"),
            Setting(name="keep_deployments", value=2, source="default"),
        ],
        warnings=["/etc/bootd/bootd.toml: the key 'imgae' is not known and ignored"],
    ),
    "Explanation": ExplanationDocument(
        image=IMAGE,
        available=STATUS.available,
        state=UpgradeState.IDLE,
        automatic=Automatic.APPLY,
        held_by="operator: rack move",
        held_until=LATER,
        held_back=True,
        replaced="registry.example/os:stable 1.0, staged as 0c0c0c0c0c0c0c0c.0",
        gates=[
            GateVerdict(
                gate="hold",
                answer=Answer.LATER,
                reason="updates are held: operator: rack move",
                until=LATER,
            ),
            GateVerdict(gate="inhibitors", answer=Answer.YES),
        ],
        put_off="something inhibits a reboot: backup (a nightly copy)",
        denial=DENIAL,
        last_fallback=DENIAL,
        finalize_failure="no space left on $BOOT",
        did_not_boot=MISSED,
        overridden=OVERRIDDEN,
        no_room=NO_ROOM,
        failing=FAILING,
        trust=TRUST,
        accepted=ACCEPTED,
        next_run=NextRun(when=LATER, why="regular"),
        reasons=list(Reason),
    ),
    "Doctor": DoctorDocument(
        managed=False,
        findings=[
            DoctorFinding(topic="firmware", fit=Fit.FITS, text="EFI on x86_64"),
            DoctorFinding(
                topic="boot partition",
                fit=Fit.LOOK,
                text="/dev/sda1 at /boot/efi: 190 of 256 MiB free",
                hint="Kernels want more.",
            ),
            DoctorFinding(topic="systemd", fit=Fit.UNKNOWN, text="it is not what runs here"),
        ],
        next=[NextCommand(command="bootctl-py lint ROOT", purpose="check an image")],
    ),
    "Trust": TrustDocument(
        image="registry.example/os:stable",
        digest=NEW,
        accepted=True,
        scope="docker:registry.example",
        signers=["the OpenPGP key 0123", "nightly@example"],
        refusal="",
        hint="",
    ),
    "Lint": LintDocument(
        root="/",
        findings=[
            LintFinding(
                lint="kernel",
                severity=LintSeverity.FATAL,
                path="/usr/lib/modules",
                problem="2 kernels: 6.12.0, 6.12.1",
            ),
            LintFinding(
                lint="var-content",
                severity=LintSeverity.WARNING,
                path="/var/lib/app",
                problem="holds 3 files",
            ),
            LintFinding(
                lint="var-content",
                severity=LintSeverity.INFO,
                path="/var/log/apt",
                problem="is a file",
            ),
        ],
        rules=[
            LintRule(
                id="var-content",
                severity=LintSeverity.WARNING,
                reason="Nothing updates it.",
                mend="Remove it.",
            ),
            LintRule(
                id="kernel",
                severity=LintSeverity.FATAL,
                reason="A host boots one kernel.",
                mend="Install one.",
            ),
            LintRule(id="names", severity=LintSeverity.WARNING, reason="So.", mend="Thus."),
        ],
        skipped=["accounts"],
    ),
    "EtcDerived": EtcDerivedDocument(
        deployment=NEW_ID,
        when=LATER,
        results=[
            CheckResult(
                name="derived/ca-certificates",
                path="update-ca-certificates",
                severity=Severity.REQUIRED,
                outcome=Outcome.FAILED,
                attempts=1,
                seconds=0.5,
                exit_status=1,
                output="corp.crt is no certificate",
            ),
            CheckResult(
                name="derived/linker-cache",
                path="ldconfig",
                severity=Severity.REQUIRED,
                outcome=Outcome.PASSED,
                attempts=1,
                seconds=0.1,
                exit_status=0,
                output="",
            ),
        ],
    ),
    "Health": HealthDocument(
        deployment=NEW_ID,
        on_trial=True,
        when=LATER,
        verdict=Verdict.UNHEALTHY,
        checks=[
            CheckResult(
                name="health.d/10-web",
                path="/usr/lib/bootd/health.d/10-web",
                severity=Severity.REQUIRED,
                outcome=Outcome.FAILED,
                attempts=3,
                seconds=0.25,
                exit_status=1,
                output="nobody listens on port 80\ngiving up",
            ),
            CheckResult(
                name="required.d/20-disk.sh",
                path="/etc/greenboot/check/required.d/20-disk.sh",
                severity=Severity.REQUIRED,
                outcome=Outcome.PASSED,
                attempts=1,
                seconds=1.5,
                exit_status=0,
                output="",
            ),
            CheckResult(
                name="wanted.d/mail.sh",
                path="/etc/greenboot/check/wanted.d/mail.sh",
                severity=Severity.WANTED,
                outcome=Outcome.TIMED_OUT,
                attempts=1,
                seconds=120,
                exit_status=-9,
                output="",
                old=True,
            ),
        ],
        problems=["/etc/bootd/health.d/10-web.toml: timeout: Extra inputs are not permitted"],
    ),
}
