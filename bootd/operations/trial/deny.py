"""The deny list: digests that failed on this machine and are never staged again by themselves.

What no host can use (`bootd.operations.image.unfit`) is kept apart, and told and lifted with it.

The list lies beside the deployments on the physical root, so that neither a rollback of ``/etc``
nor the removal of the failed deployment takes it away.
"""

from __future__ import annotations

from typing import Final

from bootd.boot.entries import remove_entry
from bootd.model.deployment import Denial, DeniedDigests
from bootd.model.digest import Digest
from bootd.model.documents import DeniedDocument
from bootd.model.errors import NotDeniedError
from bootd.operations.host import Host
from bootd.operations.image.unfit_list import forget_unfit, unfit_images
from bootd.operations.machine.survey import take_survey

ROLLED_BACK: Final = "rolled-back"
"""Cause of a denial that an administrator's rollback made; going there again lifts it."""

BOOT_FAILED: Final = "boot-failed"
"""Cause of a denial: the deployment used up its tries and was never found well or ill."""

HEALTH_FAILED: Final = "health-failed"
"""Cause of a denial: the deployment came up, and a required health check failed."""

_MOST_DENIED: Final = 1_000


def deny(host: Host, digest: Digest, cause: str, evidence: str = "") -> None:
    """Put a digest on the list, durably; the newest cause replaces an older one.

    Beyond a thousand digests the oldest are forgotten.
    """
    with host.sysroot.records_lock():
        deny_locked(host, digest, cause, evidence)


def deny_locked(host: Host, digest: Digest, cause: str, evidence: str = "") -> Denial:
    """Do what `deny` does under a lock that the caller holds; return what is on the list now."""
    denial = Denial(digest=digest, cause=cause, when=host.clock.now(), evidence=evidence)
    others = [old for old in host.sysroot.read_denied().denied if old.digest != digest]
    kept = [*others, denial][-_MOST_DENIED:]
    host.sysroot.write_denied(DeniedDigests(denied=kept))
    return denial


def allow(host: Host, digest: Digest) -> None:
    """Take a digest off the list; what failed of it does not count any more.

    The boot entries that are out of tries go first, because one whose digest is not on the list is
    a fallback that was not taken note of yet.

    Raises:
        NotDeniedError: it is not on it.
    """
    with host.sysroot.records_lock():
        was_unfit = forget_unfit(host.sysroot, digest)
        if host.sysroot.read_denied().find(digest) is not None:
            _forget_failures(host, digest)
        if not allow_locked(host, digest) and not was_unfit:
            raise NotDeniedError(f"{digest} is not on the deny list")


def _forget_failures(host: Host, digest: Digest) -> None:
    survey = take_survey(host.sysroot)
    for entry in survey.failed_entries():
        if survey.records[entry.deployment].digest == digest:
            remove_entry(host.sysroot, entry)


def allow_locked(host: Host, digest: Digest) -> bool:
    """Take a digest off the list under the caller's lock; return whether it was on it."""
    before = host.sysroot.read_denied()
    if before.find(digest) is None:
        return False
    kept = [old for old in before.denied if old.digest != digest]
    host.sysroot.write_denied(DeniedDigests(denied=kept))
    return True


def denied(host: Host) -> DeniedDocument:
    """Return the list, oldest first, and then the images that are unfit."""
    failed = host.sysroot.read_denied().denied
    return DeniedDocument(denied=[*failed, *unfit_images(host.sysroot)])
