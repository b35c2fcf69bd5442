"""Hold: nobody's timer stages anything until whoever holds updates lets go."""

from __future__ import annotations

from collections.abc import Mapping

from bootd.model.deployment import Intent
from bootd.model.errors import HeldError
from bootd.operations.host import Host


def hold(host: Host, reason: str) -> None:
    """Hold automatic upgrades.

    Args:
        host: the machine.
        reason: who holds them and why; shown by ``status``.

    Raises:
        HeldError: somebody else holds them.
    """
    host.sysroot.check_format()

    def holding(intent: Intent) -> Mapping[str, object]:
        if intent.held_by not in (None, reason):
            raise HeldError(f"updates are held already: {intent.held_by}")
        return {"held_by": reason}

    host.sysroot.change_intent(holding)


def release(host: Host) -> None:
    """Let automatic upgrades go on; fine where nobody holds them."""
    host.sysroot.check_format()
    host.sysroot.change_intent(lambda _: {"held_by": None})
