"""Hold: nothing changes what boots until whoever holds updates lets go, or the hold is over.

The timer stages nothing, and what is staged already waits at shutdowns. What a person stages or
applies after that boots all the same. All of it is in the intent, which a hold changes by itself:
it is never refused because of what is done at the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from bootd.model.deployment import Intent
from bootd.model.errors import HeldError, InvalidArgumentError
from bootd.operations.host import Host

_LONGEST: Final = timedelta(days=3_660)


def hold(host: Host, reason: str, *, until: datetime | None = None) -> None:
    """Hold updates; what is staged now does not boot at the next shutdown.

    Args:
        host: the machine.
        reason: who holds them and why; shown by ``status``.
        until: when the hold is over by itself; None: when it is released. Who holds updates
            already gives the hold another end by that.

    Raises:
        HeldError: somebody else holds them.
        InvalidArgumentError: that time is past, or more than ten years ahead.
    """
    host.sysroot.check_format()
    now = host.clock.now()
    if until is not None and not now < until <= now + _LONGEST:
        raise InvalidArgumentError(
            f"a hold cannot end at {until:%Y-%m-%d %H:%M:%S %Z}: it is {now:%Y-%m-%d %H:%M:%S %Z}",
            hint="Name a time to come, of the next ten years; without one it lasts until released.",
        )

    def holding(intent: Intent) -> Mapping[str, object]:
        holder = intent.hold_at(now)
        if holder not in (None, reason):
            raise refusal(intent, now, "updates are held already")
        return {"held_by": reason, "held_until": until, "asked_for": None}

    host.sysroot.change_intent(holding)


def release(host: Host) -> None:
    """Let updates go on; fine where nobody holds them."""
    host.sysroot.check_format()
    host.sysroot.change_intent(lambda _: {"held_by": None, "held_until": None})


def ask_for_staged(host: Host) -> None:
    """Let what is staged boot at the next shutdown, although updates are held."""
    host.sysroot.change_intent(lambda intent: {"asked_for": intent.staged})


def hold_back_staged(host: Host) -> None:
    """Take that back: the machine does not restart after all."""
    host.sysroot.change_intent(lambda _: {"asked_for": None})


def refusal(intent: Intent, now: datetime, what: str = "updates are held") -> HeldError:
    """Return the error that names who holds updates, and until when."""
    end = "" if intent.held_until is None else f", until {intent.held_until:%Y-%m-%d %H:%M %Z}"
    return HeldError(f"{what}: {intent.hold_at(now)}{end}")
