"""What an upgrade would do to ``/etc``, with an image that may have to be fetched for that."""

from __future__ import annotations

from bootd.model.digest import Digest
from bootd.model.errors import NothingStagedError
from bootd.model.etc_report import EtcReport
from bootd.operations.etc_merge import trial_merge
from bootd.operations.fetch import fetched_image
from bootd.operations.host import Host
from bootd.operations.progress import Phase, Progress
from bootd.operations.survey import survey
from bootd.store.image import EROFS_NAME


def preview(host: Host, progress: Progress, *, digest: str | None = None) -> EtcReport:
    """Return what finalizing now would do to ``/etc``.

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
        with host.sysroot.lock(exclusive=True):
            erofs = fetched_image(host, wanted, progress).erofs
            return trial_merge(host, survey(host.sysroot), erofs).report
    with host.sysroot.lock(exclusive=False):
        progress.report(Phase.VERIFYING)
        found = survey(host.sysroot)
        if found.staged is None:
            raise NothingStagedError(
                "nothing is staged, so there is nothing to preview",
                hint="'bootctl-py upgrade' stages an image; 'bootctl-py etc preview DIGEST' needs "
                "none.",
            )
        erofs = host.sysroot.deployment(found.staged) / EROFS_NAME
        return trial_merge(host, found, erofs).report
