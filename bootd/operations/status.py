"""Status: all that is known without the registry, the lock or a daemon."""

from __future__ import annotations

from collections import Counter

from bootd import __version__
from bootd.boot.proof import boot_problems
from bootd.model.config import Integrity
from bootd.model.deployment import Denial, DeploymentRecord, Intent
from bootd.model.digest import Digest
from bootd.model.documents import AvailableImage, DeploymentStatus, Standing, StatusDocument
from bootd.model.errors import BootdError, NoImageConfiguredError
from bootd.operations.bless import not_blessed_yet
from bootd.operations.boot.awaited import did_not_boot
from bootd.operations.boot.loader import loader_problems, loader_versions
from bootd.operations.boot.mirrors import check_mirrors
from bootd.operations.boot.overrides import override, reboot_helps
from bootd.operations.boot.repair import boot_losses
from bootd.operations.etc.undecided import read_undecided
from bootd.operations.etc_reports import read_report
from bootd.operations.host import Host
from bootd.operations.image.overdue import overdue
from bootd.operations.image.unfit_list import find_unfit, what_is_wrong
from bootd.operations.machine.attempts import read_attempts
from bootd.operations.machine.last_check import LastCheck, read_last_check
from bootd.operations.machine.seals import seal_of
from bootd.operations.machine.survey import Survey, take_survey
from bootd.operations.machine.trust_status import trust_status
from bootd.operations.trial.deny import ROLLED_BACK
from bootd.operations.upgrade.arguments import arguments_of, origins_of
from bootd.sandbox.confinement import unconfined
from bootd.startup import later

with later():
    from bootd.operations.etc import drift  # merges are 2 MB of modules


def status(host: Host) -> StatusDocument:
    """Return the machine's state.

    Raises:
        NotASysrootError, UnknownFormatError, DamagedRecordError: the store or the intent cannot
            be read; damage of a single deployment is in `problems`.
    """
    survey = take_survey(host.sysroot)
    unexpected = (did_not_boot(survey), override(survey))
    told = (*unexpected, not_blessed_yet(host.sysroot, survey))
    problems = [*boot_problems(host.sysroot), *survey.problems]
    if host.configuration_problem is not None:
        problems.insert(0, host.configuration_problem)
    problems += [*(problem for problem in told if problem), *boot_losses(host, survey)]
    boot_loader, image_boot_loader = _boot_loaders(host, survey, problems)
    mirrors = check_mirrors(host.sysroot, thorough=False, repair=False)
    problems += [f"{damage.problem}; 'bootctl-py fsck' makes it alike" for damage in mirrors]
    denied = [one for one in host.sysroot.read_denied().denied if one.cause != ROLLED_BACK]
    last = read_last_check(host.sysroot)
    attempts = read_attempts(host.sysroot)
    no_room = None if last is None or last.digest == survey.heading_for else last.no_room or None
    unfit = None if last is None or last.digest == survey.heading_for else _unfit(host, last.digest)
    late = overdue(host, survey, last)
    problems += [told for told in (no_room, unfit, late) if told is not None]
    intent, now = survey.intent, host.clock.now()
    held_by = intent.hold_at(now)
    held_back = survey.staged is not None and intent.is_held_back(now)
    return StatusDocument(
        bootd=__version__,
        image=followed(host),
        state=survey.upgrade_state(),
        booted=survey.booted,
        staged=survey.staged,
        queued=survey.queued,
        rollback=survey.rollback_target(),
        reboot_helps=reboot_helps(survey) and not held_back,
        reboot_required=survey.staged is not None or survey.queued is not None,
        available=_available(host, survey, last),
        held_by=held_by,
        held_until=None if held_by is None else intent.held_until,
        held_back=held_back,
        staged_by_hand=survey.staged is not None and intent.staged_by_hand,
        replaced=intent.replaced if survey.staged is not None else None,
        queued_by_hand=survey.queued is not None and _is_queued_by_hand(intent),
        finalize_failure=intent.finalize_failure,
        did_not_boot=unexpected[0],
        overridden=unexpected[1],
        no_room=no_room,
        unfit=unfit,
        misconfigured=host.configuration_problem,
        failing=attempts.failing,
        last_fallback=_last_fallback(survey, denied),
        deployments=[_describe(host, survey, record, problems) for record in survey.kept()],
        trust=trust_status(host, attempts),
        seal_wanted=host.configuration.integrity is Integrity.VERITY,
        boot_loader=boot_loader,
        image_boot_loader=image_boot_loader,
        unconfined=unconfined(),
        problems=problems,
    )


def _is_queued_by_hand(intent: Intent) -> bool:
    return intent.awaited is not None and intent.awaited.by_hand


def _available(host: Host, survey: Survey, last: LastCheck | None) -> AvailableImage | None:
    """Return what was looked up last, with what it is to this machine now."""
    if last is None:
        return None
    standing = _standing(host, survey, last)
    changes = {"standing": standing, "update": standing is Standing.NEW}
    return last.available(host.sysroot).model_copy(update=changes)


def _standing(host: Host, survey: Survey, last: LastCheck) -> Standing:
    if not host.follows(last.image):
        return Standing.NOT_FOLLOWED
    for standing, deployment in (
        (Standing.STAGED, survey.staged),
        (Standing.QUEUED, survey.queued),
        (Standing.BOOTED, survey.booted),
    ):
        record = survey.records.get(deployment) if deployment else None
        if record is not None and record.digest == last.digest:
            return standing
    if find_unfit(host.sysroot, last.digest) is not None:
        return Standing.UNFIT
    denied = host.sysroot.read_denied().find(last.digest) is not None
    return Standing.DENIED if denied else Standing.NEW


def _last_fallback(survey: Survey, denied: list[Denial]) -> Denial | None:
    """Return the newest image that failed here, until one that came later has proved itself."""
    if not denied:
        return None
    running = survey.records.get(survey.booted) if survey.booted else None
    entry = survey.entry(survey.booted)
    proved = running is not None and entry is not None and entry.tries_left is None
    if proved and running is not None and running.created > denied[-1].when:
        return None
    return denied[-1]


def status_with_drift(host: Host) -> StatusDocument:
    """Return the machine's state with the digest of its own changes of ``/etc``; for root.

    Raises:
        NotASysrootError, UnknownFormatError, DamagedRecordError: see `status`.
    """
    return with_drift(host, status(host))


def with_drift(host: Host, document: StatusDocument) -> StatusDocument:
    """Return a status with that digest; what is in the way of it is among the problems."""
    if not any(one.booted or one.next_boot for one in document.deployments):
        # Until one of them has been made bootable, there are no defaults to differ from.
        return document
    try:
        return document.model_copy(update={"etc_drift": drift.drift(host)})
    except BootdError as error:
        problems = [*document.problems, f"the drift of /etc is not known: {error.message}"]
        return document.model_copy(update={"problems": problems})


def _unfit(host: Host, available: Digest) -> str | None:
    """Return why no host can use the available image, if that is known."""
    found = find_unfit(host.sysroot, available)
    if found is None:
        return None
    return f"the available image is unfit and is not fetched again: {what_is_wrong(found)}"


def followed(host: Host) -> str | None:
    """Return the reference this machine follows; None: it follows nothing."""
    try:
        return host.followed_image()
    except NoImageConfiguredError:
        return None


def _boot_loaders(host: Host, survey: Survey, problems: list[str]) -> tuple[str | None, str | None]:
    """Return what the boot loader on ``$BOOT`` is, and the running image's."""
    try:
        problems += loader_problems(host, survey)
        return loader_versions(host, survey)
    except BootdError as error:
        problems.append(f"the boot loader is not known: {error.message}")
        return None, None


def _describe(
    host: Host, survey: Survey, record: DeploymentRecord, problems: list[str]
) -> DeploymentStatus:
    entry = survey.entry(record.id)
    conflicts, security = _etc_counts(host, survey, record, problems)
    arguments = arguments_of(record, entry)
    asked = Counter(record.image_arguments) | Counter(record.configured_arguments or ())
    seal = seal_of(host.sysroot, survey, record)
    return DeploymentStatus(
        id=record.id,
        image=record.image,
        taken_from=record.taken_from,
        digest=record.digest,
        image_version=record.version,
        created=record.created,
        state=survey.state_of(record.id),
        booted=record.id == survey.booted,
        next_boot=record.id == survey.next_boot,
        pinned=record.pinned,
        tries_left=None if entry is None else entry.tries_left,
        kernel_version=record.kernel.version,
        kernel_arguments=arguments,
        kernel_argument_origins=origins_of(record, entry),
        kernel_arguments_not_taken=list((asked - Counter(arguments)).elements()),
        kernel_arguments_refused=record.refused_arguments,
        etc_conflicts=conflicts,
        etc_security_conflicts=security,
        given_up=record.id in survey.given_up and record.id != survey.booted,
        accepted=record.accepted,
        sealed=seal.sealed,
        seal_digest=seal.digest,
        sealed_from=seal.enforced_from,
    )


def _etc_counts(
    host: Host, survey: Survey, record: DeploymentRecord, problems: list[str]
) -> tuple[int, int]:
    """Return how many conflicts are undecided, and how many of them matter for security."""
    try:
        if record.id == survey.staged:
            report = read_report(host.sysroot, record.id)
            return (0, 0) if report is None else (report.counts.conflicts, report.counts.security)
        undecided = read_undecided(host.sysroot, record.id).conflicts
    except BootdError as error:
        problems.append(error.message)
        return 0, 0
    return len(undecided), sum(one.conflict.security for one in undecided)
