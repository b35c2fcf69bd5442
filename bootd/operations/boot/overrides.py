"""What keeps the boot loader from starting what bootd means to boot, as sentences for people.

The boot order is bootd's, but an EFI variable, a line in ``loader.conf`` or an entry of another
system may come before it. That is somebody's choice and no damage; it has to be told, because
updates do not boot until it is lifted.
"""

from __future__ import annotations

from typing import Final

from bootd.boot.loader.choice import Choice, Setting
from bootd.operations.machine.survey import Survey

_LIFT: Final = {
    Setting.ONE_SHOT: "'bootctl set-oneshot \"\"' takes it back",
    Setting.PREFERRED: "'bootctl set-preferred \"\"' lifts that",
    Setting.PREFERRED_LINE: "take that line out to lift it",
    Setting.DEFAULT: "'bootctl set-default \"\"' lifts that",
    Setting.DEFAULT_LINE: "take that line out to lift it",
}
_LINES: Final = frozenset({Setting.PREFERRED_LINE, Setting.DEFAULT_LINE})


def override(survey: Survey) -> str | None:
    """Return what overrides the boot order, or will do so for the next update, or None.

    That another installation's entry comes first in this order is among the survey's problems.
    """
    if not survey.entries:
        return None
    meant = survey.entries[0].plain_name
    now, later, update = survey.loader.now, survey.loader.later, survey.loader.update
    if later.name != meant and later.setting is not None:
        return _whole(f"{_named(survey, later)} boots next, and not {survey.first}", later)
    if now.name != meant and now.setting is not None:
        return _whole(f"{_named(survey, now)} boots next, for once", now)
    if not survey.loader.update_boots:
        return _whole(f"no update will boot, because {_named(survey, update)} comes first", update)
    return None


def reboot_helps(survey: Survey) -> bool:
    """Return whether a reboot starts what is staged or queued, as far as anybody can know."""
    if survey.staged is not None:
        return survey.loader.update_boots and survey.loader.now.setting is not Setting.ONE_SHOT
    awaited = survey.intent.awaited
    missed = awaited is not None and awaited.missed is not None
    return survey.queued is not None and survey.queued == survey.next_boot and not missed


def reason(choice: Choice) -> str:
    """Return what the loader's choice rests on: a setting, or the place in the boot order."""
    if choice.setting is None:
        return f"{choice.name} comes first"
    if choice.setting in _LINES:
        return f"loader.conf on the boot partition says '{choice.setting} {choice.value}'"
    return f"the EFI variable {choice.setting} says {choice.value!r}"


def _named(survey: Survey, choice: Choice) -> str:
    deployment = survey.named(choice.name)
    return deployment or f"{choice.name}, which is not this installation's,"


def _whole(fact: str, choice: Choice) -> str:
    if choice.setting is None:
        return fact
    return f"{fact}: {reason(choice)}; {_LIFT[choice.setting]}"
