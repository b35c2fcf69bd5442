"""Stage: bring an image into a deployment beside the running one.

Order of writes (docs/architecture.md, "What is written, and in which order"): layers (`pull`), the
composed image, the deployment's folder under a temporary name, syncfs, rename, the intent, this
boot's marker. Until the intent is written nothing refers to what was made, and a cut leaves the old
system. What nothing needs any more is collected last, or before if there is no room otherwise. What
the registry said is kept for the next check, unless another image than the followed one was asked
for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bootd.boot.proof import require_boot
from bootd.boot.writable import check_writable
from bootd.durable import temporary_name
from bootd.file_lock import FileLock
from bootd.model.deployment import ArgumentChange, DeploymentId, DeploymentRecord
from bootd.model.documents import StageCause, StageDocument
from bootd.model.errors import (
    BootPartitionFullError,
    ContentError,
    HeldError,
    NoSpaceError,
    StagedByHandError,
)
from bootd.model.etc.report import EtcReport
from bootd.model.registry.image import ImageName, ResolvedImage
from bootd.model.registry.source_use import merged
from bootd.operations.boot.loader import keep_loader
from bootd.operations.boot.repair import mend_boot
from bootd.operations.host import Host
from bootd.operations.image.older import refuse_older
from bootd.operations.image.resolve import resolve as _resolve
from bootd.operations.image.unfit import (
    check_promises,
    check_tree,
    give_up_image,
    is_unfit,
    refuse_denied,
)
from bootd.operations.machine.kept_configuration import keep_configuration
from bootd.operations.machine.last_check import LastCheck, without_room, write_last_check
from bootd.operations.machine.staged import forget_staged, mark_staged
from bootd.operations.machine.survey import Survey, take_survey
from bootd.operations.progress import Phase, Progress
from bootd.operations.pull import Pulled, missing_layers, pull
from bootd.operations.trial.fallback import settle_fallbacks
from bootd.operations.upgrade.arguments import not_taken, settings_differ
from bootd.operations.upgrade.by_hand import refuse_if_held, refuse_if_queued, staged_by_hand
from bootd.registry.sources.copied import copies_discarded
from bootd.startup import keep_to_the_end, later, load, without_garbage_collection
from bootd.store.images.host_layout import HostLayout
from bootd.store.images.image import (
    EROFS_NAME,
    StoredImage,
    compose_image,
    has_image,
)
from bootd.store.upkeep.space import check_space, needed_space
from bootd.trust.accept import AcceptedImage

with later():
    # A run that finds nothing new does without; `_load_what_follows` loads some during a pull.
    from bootd.operations import check, collect
    from bootd.operations.boot import forecast, room
    from bootd.operations.upgrade import deploy, restage

_log = logging.getLogger(__name__)

LOCK_WAIT_SECONDS: Final = 2.0


def stage(
    host: Host,
    progress: Progress,
    *,
    reference: str | None = None,
    remember: bool = False,
    automatic: bool = False,
    taken_from: str | None = None,
    allow_downgrade: bool = False,
    composed: Callable[[HostLayout], object] | None = None,
) -> StageDocument:
    """Stage an image, so that the next shutdown makes it bootable.

    Args:
        host: the machine; a store is laid out where there is none.
        progress: told what is done.
        reference: the image; None for the followed one.
        remember: follow this reference from now on (Switch).
        automatic: nobody asked; a hold is obeyed.
        taken_from: another reference that the image comes from this one time, as if it were
            the followed one; what the machine follows, and knows of it, stays as it is.
        allow_downgrade: take an older release of the followed image, too.
        composed: told the tree that the image was composed of, unless the image was there.

    Returns:
        What was staged; `changed` is False where the machine is, or will be, on it already, with
        the kernel arguments that the settings ask for.

    Raises:
        DeniedDigestError: the image failed here before, or is known to be unfit.
        OlderReleaseError: the followed reference names an older release than the machine took.
        HeldError: nobody asked for it and updates are held; the registry was asked all the same.
        StagedByHandError: nobody asked for it, and a person staged something else.
        NoBootPartitionError, BootPartitionReadOnlyError: no partition is proven to be ``$BOOT``, or
            it takes no writes; said before anything is fetched.
        NoSpaceError: there is no room in the store; said before anything is fetched.
        BootPartitionFullError: there is no room for its kernel, whatever may be given up for it. If
            that is known only when the image is there, it stays for the next try.
        NotTrustedError, InvalidTrustPolicyError: see `resolve`.
        NoVerityError: deployments are to be sealed, and the file system cannot do that.
        TransportError, ContentError, StorageError: see `pull`. What is wrong with the content of an
            image is remembered (`bootd.operations.image.unfit`).
        BusyError: another process changes the store.
    """
    _begin(host)
    with (
        host.sysroot.lock(exclusive=True, wait_seconds=LOCK_WAIT_SECONDS) as records,
        copies_discarded(host.sysroot.partial, host.sysroot.disk),
    ):
        host.sysroot.name_installation()
        settle_fallbacks(host)
        found = _mend_boot(host)
        if automatic:
            _obey_hold(host, found, progress, records)
        progress.report(Phase.RESOLVING)
        wanted = reference or host.followed_image()
        with records.left():
            resolved = _resolve(host, taken_from or wanted)
        name = resolved.name._replace(accepted=resolved.acceptance)
        if taken_from is not None:
            name = name._replace(reference=wanted, taken_from=taken_from)
        asked = _Asked(
            name=name,
            resolved=resolved,
            checked=host.clock.now(),
            follow=wanted if remember else None,
            in_spite_of_age=bool(reference or taken_from or allow_downgrade),
            automatic=automatic,
            composed=composed,
        )
        return _stage_resolved(host, progress, records, asked)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be staged.

    Attributes:
        name: the image, as it is written down.
        resolved: the same, as the registry has it.
        checked: when it said so.
        follow: the reference to follow from now on; None: it stays.
        in_spite_of_age: an older release is taken, too.
        automatic: nobody asked.
        composed: see `stage`.
    """

    name: ImageName
    resolved: AcceptedImage
    checked: datetime
    follow: str | None
    in_spite_of_age: bool
    automatic: bool
    composed: Callable[[HostLayout], object] | None


def _stage_resolved(
    host: Host, progress: Progress, records: FileLock, asked: _Asked
) -> StageDocument:
    """Stage an image; others may change records while it is fetched, so that is looked at after."""
    resolved = asked.resolved
    survey = take_survey(host.sysroot)
    replaced = _yield_to_people(host, survey, asked)
    change = survey.records[survey.staged].argument_change if survey.staged else None
    if resolved.digest == survey.settled_on != survey.heading_for:
        # The tag went back to what boots anyway.
        if replaced is not None:
            _log.warning("what was staged by hand is dropped, as its tag went back: %s", replaced)
        forget_staged(host.sysroot)
        survey = take_survey(host.sysroot)
    is_new = survey.heading_for != resolved.digest
    if is_new:
        _refuse_unwanted(host, survey, resolved, asked_for=asked.in_spite_of_age)
        if asked.automatic:
            with _keeping_refusal(host, asked):
                refuse_if_queued(survey)
    with _keeping_refusal(host, asked):
        _make_room(host, survey, resolved, is_new=is_new)
    with _noting_unfit(host, asked, is_new=is_new), records.left():
        fetched = _pull_and_compose(host, asked, progress)
    survey = take_survey(host.sysroot)
    # What people decided while it was fetched counts as well.
    replaced = _yield_to_people(host, survey, asked) or replaced
    if survey.heading_for == resolved.digest:
        return _stay(host, survey, asked, fetched, change)
    pulled, image = fetched
    progress.report(Phase.STAGING)
    with _keeping_refusal(host, asked):
        record, report = deploy.deploy(host, survey, asked.name, image, change)
    now = host.clock.now() if asked.automatic else None
    mark_staged(host.sysroot, record.id, asked.follow, unless_held_at=now, replaced=replaced)
    _keep_answer(host, asked)
    collect.clean_up(host)
    document = _with_not_taken(host, _document(asked.name, record.id, pulled, report))
    return _tell_what_goes(host, document, record)


def _stay(
    host: Host,
    survey: Survey,
    asked: _Asked,
    fetched: tuple[Pulled, StoredImage],
    change: ArgumentChange | None,
) -> StageDocument:
    """Make sure of the image that the machine is, or will be, on already."""
    pulled, image = fetched
    # What fsck took away because it was damaged is back now.
    _mend_deployments(host, survey, image)
    survey = _mend_boot(host)
    _follow(host, asked.follow)
    _keep_answer(host, asked)
    restaged = _take_up_arguments(host, survey, asked, image, change)
    there = survey.staged or survey.settled
    return _with_not_taken(host, _document(asked.name, there, pulled, None, restaged))


def _yield_to_people(host: Host, survey: Survey, asked: _Asked) -> str | None:
    """Refuse what people's decisions forbid a run that nobody asked for; see `staged_by_hand`."""
    if not asked.automatic:
        return None
    with _keeping_refusal(host, asked):
        refuse_if_held(survey, host.clock.now())
        return staged_by_hand(survey, asked.name)


def _obey_hold(host: Host, survey: Survey, progress: Progress, records: FileLock) -> None:
    """Refuse to stage while updates are held, after a look at what there is to be staged."""
    try:
        refuse_if_held(survey, host.clock.now())
    except HeldError:
        with records.left():
            check.check(host, progress)
        raise


def _tell_what_goes(host: Host, document: StageDocument, record: DeploymentRecord) -> StageDocument:
    """Add what the shutdown will give up on ``$BOOT``, which is known after the cleanup."""
    with suppress(BootPartitionFullError):
        # It did fit; if somebody took the room since, the shutdown tells of that.
        gives_up = room.check_room(host, take_survey(host.sysroot), record.kernel)
        return document.model_copy(update={"gives_up": gives_up})
    return document


def _begin(host: Host) -> None:
    require_boot(host.sysroot)
    host.sysroot.initialise()
    if host.configuration_problem is None:
        keep_configuration(host.sysroot, host.configuration)


def _pull_and_compose(host: Host, asked: _Asked, progress: Progress) -> tuple[Pulled, StoredImage]:
    """Bring the image into the store, composed while layers of it are fetched and synced."""
    resolved = asked.resolved
    check_promises(resolved)
    with without_garbage_collection():
        with pull(host, resolved, progress, _load_what_follows) as pulled:
            keep_to_the_end(pulled.tree)
            if not has_image(host.sysroot, resolved.digest):
                progress.report(Phase.COMPOSING)
                check_tree(host, pulled.tree.whole())
            composed = compose_image(host.sysroot, resolved, pulled.tree)
        image = composed.publish()
        if asked.composed is not None and composed.layout is not None:
            asked.composed(composed.layout)
        return pulled, image


@contextmanager
def _keeping_refusal(host: Host, asked: _Asked) -> Iterator[None]:
    """Keep what the registry said of an image that is not staged, and that it has no room."""
    try:
        yield
    except BootPartitionFullError as error:
        _keep_answer(host, asked, error)
        raise
    except (HeldError, StagedByHandError):
        _keep_answer(host, asked)
        raise


@contextmanager
def _noting_unfit(host: Host, asked: _Asked, *, is_new: bool) -> Iterator[None]:
    """Note an image that no host can use, and free what it left; one that is in use stays."""
    try:
        yield
    except ContentError as error:
        if is_new and is_unfit(error):
            _keep_answer(host, asked)
            give_up_image(host, asked.resolved, error)
        raise


def _load_what_follows() -> None:
    """Load what follows a pull meanwhile."""
    load(deploy, collect)


def _keep_answer(host: Host, asked: _Asked, error: BootPartitionFullError | None = None) -> None:
    """Spare the next check what is known already, and tell of a refusal until it is tried again."""
    name = asked.name
    if name.taken_from is None and host.follows(name.reference):
        last = LastCheck.of(name.reference, asked.resolved, asked.checked)
        write_last_check(host.sysroot, last if error is None else without_room(last, error))


def _follow(host: Host, reference: str | None) -> None:
    if reference is not None:
        host.sysroot.change_intent(lambda _: {"image": reference})


def _mend_boot(host: Host) -> Survey:
    """Put back what ``$BOOT`` lost; a kernel of what runs may come before room for a new one."""
    found, mended = mend_boot(host, take_survey(host.sysroot))
    for message in (*mended, *keep_loader(host, found, thorough=False, repair=True).messages):
        _log.warning("%s", message)
    return found


def _mend_deployments(host: Host, survey: Survey, image: StoredImage) -> None:
    """Give deployments of this image their EROFS file again if theirs is another file.

    Each shares one with its image until fsck drops a damaged image and it is composed anew.
    """
    for record in survey.records.values():
        path = host.sysroot.deployment(record.id) / EROFS_NAME
        if record.erofs != image.erofs_verity or (path.exists() and path.samefile(image.erofs)):
            continue
        fresh = temporary_name(path)
        host.sysroot.disk.discard_file(fresh)
        host.sysroot.disk.link_file(image.erofs, fresh)
        host.sysroot.disk.rename_file(fresh, path)


def _refuse_unwanted(
    host: Host, survey: Survey, resolved: ResolvedImage, *, asked_for: bool
) -> None:
    """Refuse an image that failed here, and one that is an older release unless it is asked for."""
    refuse_denied(host, resolved)
    if not (asked_for or host.configuration.trust.allow_downgrade):
        refuse_older(host, survey, resolved)


def _try_boot(host: Host, survey: Survey) -> Survey:
    """Try whether the shutdown could write to ``$BOOT``, after a collection if no file fits."""
    try:
        check_writable(host.sysroot)
    except BootPartitionFullError:
        collect.collect_locked(host)
        survey = take_survey(host.sysroot)
        check_writable(host.sysroot)
    return survey


def _make_room(host: Host, survey: Survey, resolved: ResolvedImage, *, is_new: bool) -> None:
    """Check that there is room, and collect what nothing needs only if there is not."""
    if is_new:
        survey = _try_boot(host, survey)
    try:
        _check_room(host, survey, resolved)
    except NoSpaceError:
        collect.collect_locked(host)
        survey = take_survey(host.sysroot)
        _check_room(host, survey, resolved)


def _check_room(host: Host, survey: Survey, resolved: ResolvedImage) -> None:
    layers = missing_layers(host, resolved)
    check_space(host.sysroot.store, needed_space([descriptor for descriptor, _ in layers]))
    if layers:
        forecast.check_coming_kernel(host, survey, resolved)


def _take_up_arguments(
    host: Host,
    survey: Survey,
    asked: _Asked,
    image: StoredImage,
    change: ArgumentChange | None,
) -> restage.Restaged | None:
    """Stage the image that is there already if its kernel arguments are to change."""
    if not settings_differ(host, survey) and (change is None or survey.staged is not None):
        return None
    return restage.take_up(host, survey, asked.name, image, change, automatic=asked.automatic)


def _with_not_taken(host: Host, document: StageDocument) -> StageDocument:
    changes: dict[str, list[str]] = {}
    if document.changed and document.deployment is not None:
        record = host.sysroot.read_deployment(document.deployment)
        changes["kernel_arguments_refused"] = record.refused_arguments
    configured = host.configuration.kernel_arguments
    if configured:
        changes["kernel_arguments_not_taken"] = not_taken(take_survey(host.sysroot), configured)
    return document.model_copy(update=changes)


def _document(
    name: ImageName,
    deployment: DeploymentId | None,
    pulled: Pulled,
    report: EtcReport | None,
    restaged: restage.Restaged | None = None,
) -> StageDocument:
    cause = None if report is None else StageCause.IMAGE
    if restaged is not None:
        deployment, report = restaged
        cause = StageCause.KERNEL_ARGUMENTS
    return StageDocument(
        changed=cause is not None,
        cause=cause,
        image=name.reference,
        taken_from=name.taken_from,
        digest=name.digest,
        deployment=deployment,
        fetched_bytes=pulled.bytes,
        fetched_layers=pulled.layers,
        etc=report,
        sources=merged(pulled.uses),
    )
