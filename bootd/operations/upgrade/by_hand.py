"""What people decided about the next boot, as a run that nobody asked for has to take it."""

from __future__ import annotations

from datetime import datetime

from bootd.model.errors import StagedByHandError
from bootd.model.registry.image import ImageName
from bootd.operations.hold import refusal
from bootd.operations.machine.survey import Survey


def refuse_if_held(survey: Survey, now: datetime) -> None:
    """Refuse to go on while somebody holds updates.

    Raises:
        HeldError: somebody does.
    """
    if survey.intent.hold_at(now) is not None:
        raise refusal(survey.intent, now)


def staged_by_hand(survey: Survey, name: ImageName) -> str | None:
    """Refuse to replace what a person staged and the followed image cannot stand for.

    What a person staged of the followed image gives way to another of it.

    Args:
        survey: the machine.
        name: the followed image, as it is now.

    Returns:
        What of a person's will be replaced, in words, or None.

    Raises:
        StagedByHandError: what is staged is another reference's, or came from elsewhere.
    """
    if survey.staged is None or not survey.intent.staged_by_hand:
        return None
    record = survey.records[survey.staged]
    if record.digest == name.digest:
        return None
    what = f"{record.image} {record.version}".strip()
    if record.image == name.reference and record.taken_from is None:
        return f"{what}, staged as {record.id}"
    raise StagedByHandError(f"{what} was staged by hand as {record.id}, and is kept")


def refuse_if_queued(survey: Survey) -> None:
    """Refuse to overtake a rollback, or what was made bootable by hand, before it has booted.

    Raises:
        StagedByHandError: there is such.
    """
    awaited = survey.intent.awaited
    by_hand = awaited is not None and awaited.by_hand
    if by_hand and survey.staged is None and survey.queued is not None:
        raise StagedByHandError(
            f"{survey.queued} was made to boot next by hand, and is kept",
            hint="The timer goes on after the next restart; 'bootctl-py upgrade' does not wait.",
        )
