"""Refuse a release that is older than what this machine took from the same reference."""

from __future__ import annotations

from bootd.model.errors import OlderReleaseError
from bootd.model.registry.image import ResolvedImage
from bootd.operations.host import Host
from bootd.operations.machine.survey import Survey
from bootd.trust.age import Release, why_older


def refuse_older(host: Host, survey: Survey, resolved: ResolvedImage) -> None:
    """Fail if what the machine is on, or will be on, is a newer release of the same reference.

    Kept deployments beyond that do not count: somebody chose to leave them, or they failed.

    Raises:
        OlderReleaseError: it is newer.
    """
    heading = survey.staged or survey.settled
    record = survey.records.get(heading) if heading else None
    if record is None or record.image != resolved.reference:
        return
    candidate = Release(resolved.config.created, resolved.version)
    known = Release(record.released, record.version)
    why = why_older(candidate, known, host.clock.now())
    if why is not None:
        raise OlderReleaseError(
            f"{resolved.reference} names an older release now ({resolved.digest}): {why} "
            f"(deployment {record.id})"
        )
