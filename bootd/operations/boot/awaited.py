"""What was made to boot next, and whether it was started: a comparison at the next start.

Whoever commits an entry remembers it in the intent, with the boot in which that was. In another
boot either that deployment runs, and it is forgotten, or something else was started. This is no
failure of the image. It is told once with the cause, as far as it can be known, and the timer does
not restart the machine for the same deployment again.
"""

from __future__ import annotations

from dataclasses import dataclass

from bootd.boot.loader.next_boot import selected_entry
from bootd.model.deployment import AwaitedBoot, DeploymentId
from bootd.operations.boot.overrides import reason
from bootd.operations.machine.staged import NOTHING_STAGED
from bootd.operations.machine.survey import Survey, take_survey
from bootd.sysroot import Sysroot

_MOST_TEXT = 1_000


@dataclass(frozen=True, slots=True)
class Miss:
    """A deployment that was to boot and was not started.

    Attributes:
        deployment: which.
        cause: why, for people.
    """

    deployment: DeploymentId
    cause: str


def await_boot(sysroot: Sysroot, deployment: DeploymentId, *, by_hand: bool = False) -> None:
    """Remember, durably, what boots next from now on; nothing is staged any more.

    Args:
        sysroot: the machine, locked by the caller.
        deployment: its entry is committed.
        by_hand: a person made it so, and says when the machine restarts.
    """
    survey = take_survey(sysroot)
    awaited = None
    if deployment != survey.booted:
        overridden = survey.named(survey.loader.now.name) != deployment
        awaited = AwaitedBoot(
            deployment=deployment,
            since=sysroot.this_boot(),
            override=_bounded(reason(survey.loader.now)) if overridden else "",
            postponed=overridden and survey.queued == deployment,
            by_hand=by_hand,
        )
    changes = {**NOTHING_STAGED, "awaited": awaited}
    sysroot.change_intent(lambda _: changes)
    sysroot.clear_staged()


def settle_awaited(sysroot: Sysroot) -> Miss | None:
    """Compare what runs with what was to boot, under the caller's exclusive lock.

    Returns:
        What was not started, when that is news.
    """
    survey = take_survey(sysroot)
    awaited = survey.intent.awaited
    if awaited is None or survey.booted is None or awaited.since == sysroot.this_boot():
        return None
    if not _is_waited_for(survey, awaited):
        _write(sysroot, None)
        return None
    if awaited.missed is not None:
        return None
    if awaited.postponed:
        _write(sysroot, AwaitedBoot(deployment=awaited.deployment, since=sysroot.this_boot()))
        return None
    cause = _bounded(awaited.override or _cause(sysroot, survey, awaited.deployment))
    _write(sysroot, awaited.model_copy(update={"missed": cause}))
    return Miss(awaited.deployment, cause)


def did_not_boot(survey: Survey) -> str | None:
    """Return the sentence on what was to boot and was not started, while it still is to."""
    awaited = survey.intent.awaited
    if awaited is None or awaited.missed is None or not _is_waited_for(survey, awaited):
        return None
    return f"{awaited.deployment} was to boot and was not started: {awaited.missed}"


def _is_waited_for(survey: Survey, awaited: AwaitedBoot) -> bool:
    """Return whether it is still meant to boot, and never was started."""
    entry = survey.entry(awaited.deployment)
    if entry is None or survey.settled != awaited.deployment:
        return False
    return survey.booted != awaited.deployment and entry.tries_done == 0


def _cause(sysroot: Sysroot, survey: Survey, awaited: DeploymentId) -> str:
    entry = survey.entry(awaited)
    if entry is not None and entry.plain_name in survey.loader.passed_over:
        return "its kernel is not on the boot partition, so the boot loader left its entry out"
    if survey.named(survey.loader.later.name) != awaited:
        return reason(survey.loader.later)
    selected = selected_entry(sysroot)
    if selected is None:
        return "the boot loader does not say what it started, or why"
    started = survey.named(selected)
    if started == awaited:
        return f"the boot loader says it started {selected}, and something else runs"
    if started is not None:
        return (
            f"{selected} was started, which was chosen in the boot menu or by a variable since gone"
        )
    return (
        f"the boot loader started {selected}, which is no entry on this boot partition of this "
        f"installation: it reads another partition, or another system's entry was chosen"
    )


def _write(sysroot: Sysroot, awaited: AwaitedBoot | None) -> None:
    sysroot.change_intent(lambda _: {"awaited": awaited})


def _bounded(text: str) -> str:
    return text[:_MOST_TEXT]
