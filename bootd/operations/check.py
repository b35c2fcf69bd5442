"""Check: what does the followed reference point to now?

Where nothing is new this costs the registry one conditional request.
"""

from __future__ import annotations

from contextlib import closing

from bootd.model.digest import Digest
from bootd.model.documents import CheckDocument
from bootd.model.registry.source_use import SourceUse
from bootd.operations.host import Host
from bootd.operations.image.unfit_list import find_unfit
from bootd.operations.machine.last_check import LastCheck, read_last_check, write_last_check
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Phase, Progress
from bootd.registry.sources.copied import copies_discarded
from bootd.registry.sources.source import open_source


def check(host: Host, progress: Progress) -> CheckDocument:
    """Ask the registry, and keep the answer for ``status``.

    Raises:
        NoImageConfiguredError: this machine follows no image.
        TransportError, ContentError: the registry cannot be reached or serves nothing usable.
    """
    progress.report(Phase.RESOLVING)
    last, uses = _ask(host, host.followed_image())
    write_last_check(host.sysroot, last)
    available = last.available(host.sysroot)
    survey = take_survey(host.sysroot)
    update = survey.heading_for != available.digest
    return CheckDocument(
        image=available.image,
        digest=available.digest,
        image_version=available.image_version,
        update=update,
        denied=_is_denied(host, available.digest),
        download_bytes=available.download_bytes if update else 0,
        sources=uses,
    )


def _is_denied(host: Host, digest: Digest) -> bool:
    failed = host.sysroot.read_denied().find(digest) is not None
    return failed or find_unfit(host.sysroot, digest) is not None


def _ask(host: Host, reference: str) -> tuple[LastCheck, list[SourceUse]]:
    before = read_last_check(host.sysroot)
    partial, disk = host.sysroot.partial, host.sysroot.disk
    source = open_source(reference, host.registry, partial, disk)
    with copies_discarded(partial, disk), closing(source):
        if before is not None and before.image == reference:
            digest, cached = source.poll(before.cached)
            if digest == before.digest:
                changes = {"checked": host.clock.now(), "cached": cached}
                return before.model_copy(update=changes), source.take_uses()
        last = LastCheck.of(reference, source.resolve(), host.clock.now())
        return last, source.take_uses()
