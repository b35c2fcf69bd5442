"""Collect: remove what no kept deployment needs.

Order: a doomed deployment's boot entry first, durably; then a copy of those edits of its ``/etc``
that no kept deployment has; then kernel folders, deployments, images and layer indexes; objects
last, by mark and sweep over what is left. So a cut leaves leftovers, which the next collect
removes, and never an entry whose deployment is gone.

Kept are: the booted, the staged and the next deployment, the one that would be next if nothing
overrode the boot order, where a rollback would go, what is pinned, and beyond those the newest up
to ``keep_deployments``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from bootd.boot.entries import remove_entry
from bootd.boot.entry import BootEntry
from bootd.boot.kernels.kernel_folders import remove_kernel, unreferenced_kernels
from bootd.boot.proof import require_boot
from bootd.boot.usage import kernel_holders
from bootd.model.deployment import DeploymentId
from bootd.model.documents import CollectDocument
from bootd.model.errors import StorageError
from bootd.model.state import DeploymentState
from bootd.operations.boot.noted_entries import note_entries
from bootd.operations.etc.edits import keep_edits
from bootd.operations.etc_copies import expire
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey, take_survey
from bootd.operations.progress import Phase, Progress
from bootd.operations.trial.fallback import settle_fallbacks
from bootd.operations.trial.health import forget_health
from bootd.registry.sources.copied import discard_copies
from bootd.store.images.image import all_images
from bootd.store.upkeep.collect import has_unneeded_layers, sweep

_log = logging.getLogger(__name__)


def deployments_to_keep(survey: Survey, keep: int) -> set[DeploymentId]:
    """Return the deployments that stay.

    Args:
        survey: the machine.
        keep: how many bootable ones at least, if there are as many.
    """
    needed = {
        survey.booted,
        survey.staged,
        survey.next_boot,
        survey.settled,
        survey.rollback_target(),
    }
    kept = {key for key in needed if key in survey.records}
    kept |= {key for key, record in survey.records.items() if record.pinned}
    kept |= survey.unreadable & survey.records.keys()
    for key in (*(entry.deployment for entry in survey.entries), *survey.given_up):
        if len(kept) >= keep:
            break
        if key in survey.records and survey.state_of(key) is not DeploymentState.FAILED:
            kept.add(key)
    return kept


def doomed_entries(host: Host, survey: Survey, kept: set[DeploymentId]) -> list[BootEntry]:
    """Return the boot entries that boot nothing that is kept.

    What has a damaged record is kept, for it may well boot.
    """
    there = {*host.sysroot.deployment_ids()} - survey.records.keys()
    return [entry for entry in survey.entries if entry.deployment not in kept | there]


def needed_kernels(survey: Survey, kept: set[DeploymentId]) -> set[str]:
    """Return the digests of the kernels that kept deployments have, or will have, on ``$BOOT``."""
    without = set(survey.given_up) - {survey.booted}
    return {survey.records[key].kernel.digest for key in kept - without}


def collect(host: Host, progress: Progress) -> CollectDocument:
    """Remove what nothing needs.

    Raises:
        NoBootPartitionError: no partition is proven to be ``$BOOT``; what is needed is not known.
        BusyError: another process changes the store.
        DamagedRecordError, DamagedImageError: what is needed cannot be known; nothing more goes.
    """
    require_boot(host.sysroot)
    with host.sysroot.lock(exclusive=True):
        settle_fallbacks(host)
        discard_copies(host.sysroot.partial, host.sysroot.disk)
        return collect_locked(host, lambda: progress.report(Phase.COLLECTING))


def clean_up(host: Host) -> None:
    """Remove what a new deployment made superfluous; that can wait if something is damaged.

    The caller holds an exclusive lock.
    """
    try:
        if _is_worthwhile(host):
            collect_locked(host)
    except StorageError as error:
        _log.warning("nothing was cleaned up: %s", error.message)


def _nothing_to_report() -> None:
    """Collecting within another operation has no progress of its own."""


def collect_locked(host: Host, report: Callable[[], None] = _nothing_to_report) -> CollectDocument:
    """Do what `collect` does under an exclusive lock that the caller holds.

    Args:
        host: the machine.
        report: called now and then; what it raises ends the collection.
    """
    report()
    survey = take_survey(host.sysroot)
    kept = deployments_to_keep(survey, host.configuration.keep_deployments)
    return remove_all_but(host, survey, kept, report)


def remove_all_but(
    host: Host, survey: Survey, kept: set[DeploymentId], report: Callable[[], None]
) -> CollectDocument:
    """Remove all deployments but the kept ones, and what only they needed, under a lock."""
    doomed, copies = _drop_deployments(host, survey, kept)
    expire(host)
    kernels, freed_on_boot = _drop_kernels(host, survey, kept)
    forget_health(host.sysroot, kept)
    digests = {survey.records[key].digest for key in kept}
    swept = sweep(host.sysroot, digests, report)
    return CollectDocument(
        deployments=doomed,
        etc_copies=copies,
        images=swept.images,
        layers=swept.layers,
        objects=swept.objects,
        kernels=kernels,
        partial_downloads=swept.partial_downloads,
        freed_bytes=swept.freed_bytes,
        freed_boot_bytes=freed_on_boot,
    )


def _is_worthwhile(host: Host) -> bool:
    """Return whether a deployment, an image or a layer would go; marking objects is for that only.

    Objects of an import that failed before its first layer wait for the next collection that is.
    """
    survey = take_survey(host.sysroot)
    kept = deployments_to_keep(survey, host.configuration.keep_deployments)
    digests = {survey.records[key].digest for key in kept}
    return (
        not survey.records.keys() <= kept
        or not set(all_images(host.sysroot)) <= digests
        or has_unneeded_layers(host.sysroot, digests)
    )


def _drop_deployments(
    host: Host, survey: Survey, kept: set[DeploymentId]
) -> tuple[list[DeploymentId], list[str]]:
    """Drop all but the kept ones; return which went, and the copies of their edits."""
    note_entries(host.sysroot, survey, without=survey.records.keys() - kept)
    for entry in doomed_entries(host, survey, kept):
        remove_entry(host.sysroot, entry)
    # A folder with a damaged record has no digest to keep an image by; fsck says what to do.
    doomed = [key for key in host.sysroot.deployment_ids() if key in survey.records]
    doomed = [key for key in doomed if key not in kept]
    gone, copies = [], []
    for identifier in doomed:
        try:
            copy = keep_edits(host, identifier, sorted(kept & survey.records.keys()))
        except StorageError as error:
            # There may be room for a copy once the objects are gone; until then it stays.
            _log.warning("%s is not removed yet: %s", identifier, error.message)
            continue
        host.sysroot.disk.remove_tree(host.sysroot.deployment(identifier))
        gone.append(identifier)
        copies += [] if copy is None else [copy.name]
    return gone, copies


def _drop_kernels(host: Host, survey: Survey, kept: set[DeploymentId]) -> tuple[int, int]:
    """Remove kernels; return how many, and what they took."""
    unneeded = unreferenced_kernels(host.sysroot, needed_kernels(survey, kept))
    sizes = {one.name: one.size for one in kernel_holders(host.sysroot)}
    for name in unneeded:
        remove_kernel(host.sysroot, name)
    return len(unneeded), sum(sizes.get(name, 0) for name in unneeded)
