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
from bootd.operations.machine.survey import Survey, survey
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
    found = survey(sysroot)
    awaited = None
    if deployment != found.booted:
        overridden = found.named(found.loader.now.name) != deployment
        awaited = AwaitedBoot(
            deployment=deployment,
            since=sysroot.this_boot(),
            override=_bounded(reason(found.loader.now)) if overridden else "",
            postponed=overridden and found.queued == deployment,
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
    found = survey(sysroot)
    awaited = found.intent.awaited
    if awaited is None or found.booted is None or awaited.since == sysroot.this_boot():
        return None
    if not _is_waited_for(found, awaited):
        _write(sysroot, None)
        return None
    if awaited.missed is not None:
        return None
    if awaited.postponed:
        _write(sysroot, AwaitedBoot(deployment=awaited.deployment, since=sysroot.this_boot()))
        return None
    cause = _bounded(awaited.override or _cause(sysroot, found, awaited.deployment))
    _write(sysroot, awaited.model_copy(update={"missed": cause}))
    return Miss(awaited.deployment, cause)


def did_not_boot(found: Survey) -> str | None:
    """Return the sentence on what was to boot and was not started, while it still is to."""
    awaited = found.intent.awaited
    if awaited is None or awaited.missed is None or not _is_waited_for(found, awaited):
        return None
    return f"{awaited.deployment} was to boot and was not started: {awaited.missed}"


def _is_waited_for(found: Survey, awaited: AwaitedBoot) -> bool:
    """Return whether it is still meant to boot, and never was started."""
    entry = found.entry(awaited.deployment)
    if entry is None or found.settled != awaited.deployment:
        return False
    return found.booted != awaited.deployment and entry.tries_done == 0


def _cause(sysroot: Sysroot, found: Survey, awaited: DeploymentId) -> str:
    entry = found.entry(awaited)
    if entry is not None and entry.plain_name in found.loader.passed_over:
        return "its kernel is not on the boot partition, so the boot loader left its entry out"
    if found.named(found.loader.later.name) != awaited:
        return reason(found.loader.later)
    selected = selected_entry(sysroot)
    if selected is None:
        return "the boot loader does not say what it started, or why"
    started = found.named(selected)
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
