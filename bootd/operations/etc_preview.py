"""What an upgrade would do to ``/etc``, with an image that may have to be fetched for that."""

from __future__ import annotations

from bootd.etc.report import with_notes
from bootd.model.digest import Digest
from bootd.model.errors import NothingStagedError
from bootd.model.etc.report import EtcReport
from bootd.operations.etc.merge import trial_merge
from bootd.operations.etc.owners import OwnersHere, owner_notes, owners_here
from bootd.operations.host import Host
from bootd.operations.image.fetch import fetched_image
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Phase, Progress
from bootd.store.images.image import EROFS_NAME


def preview(host: Host, progress: Progress, *, digest: str | None = None) -> EtcReport:
    """Return what finalizing now would do to ``/etc``, with every path that would be another.

    Args:
        host: the machine.
        progress: told what is done.
        digest: of the image that would come; None for the staged one. What the store does not have
            of it is fetched from where the followed image comes from, and nothing is staged.

    Raises:
        NothingStagedError: there is nothing to merge with.
        InvalidDigestError: the digest is none.
        TransportError, ContentError, NoSpaceError: the image could not be fetched.
        BusyError: another process changes the store.
    """
    if digest is not None:
        wanted = Digest(digest)
        with host.sysroot.lock(exclusive=True) as records:
            with records.left():
                erofs = fetched_image(host, wanted, progress).erofs
            survey = take_survey(host.sysroot)
            owners = owners_here(host, survey, erofs) or OwnersHere()
            trial = trial_merge(host, survey, erofs, owners.content, listed=True)
            return with_notes(trial.report, owner_notes(owners.mapped, owners.unknown))
    with host.sysroot.records_lock(exclusive=False):
        progress.report(Phase.VERIFYING)
        survey = take_survey(host.sysroot)
        if survey.staged is None:
            raise NothingStagedError(
                "nothing is staged, so there is nothing to preview",
                hint="'bootctl-py upgrade' stages an image; 'bootctl-py etc preview DIGEST' needs "
                "none.",
            )
        erofs = host.sysroot.deployment(survey.staged) / EROFS_NAME
        record = survey.records[survey.staged]
        notes = owner_notes(record.mapped_files, record.ownerless_files)
        return with_notes(trial_merge(host, survey, erofs, listed=True).report, notes)
