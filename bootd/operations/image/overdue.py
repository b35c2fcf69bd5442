"""Whether a newer release should be there, by what the newest one says of itself."""

from __future__ import annotations

from bootd.operations.host import Host
from bootd.operations.machine.last_check import LastCheck
from bootd.operations.machine.survey import Survey


def overdue(host: Host, survey: Survey, last: LastCheck | None) -> str | None:
    """Return in words that no newer release came by the time that the followed image names.

    Nothing is refused for it: who keeps newer releases back gains nothing by that, and a publisher
    that is late must not keep machines from what it has.

    Args:
        host: the machine.
        survey: the same, as it was read.
        last: what the registry named last.
    """
    heading = survey.staged or survey.settled
    record = survey.records.get(heading) if heading else None
    if record is None or record.expires is None or not host.follows(record.image):
        return None
    is_newest = last is None or last.digest == record.digest
    if not is_newest or host.clock.now() < record.expires:
        return None
    until = record.expires.isoformat()
    return (
        f"{record.image} was to have a newer release by {until}, and has none: "
        "its publisher is late, or its registry, a mirror or somebody between keeps it back"
    )
