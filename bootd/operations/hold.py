"""Hold: nobody's timer stages anything until whoever holds updates lets go."""

from __future__ import annotations

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
    with host.sysroot.lock(exclusive=True):
        intent = host.sysroot.read_intent()
        if intent.held_by not in (None, reason):
            raise HeldError(f"updates are held already: {intent.held_by}")
        host.sysroot.write_intent(intent.model_copy(update={"held_by": reason}))


def release(host: Host) -> None:
    """Let automatic upgrades go on; fine where nobody holds them."""
    with host.sysroot.lock(exclusive=True):
        intent = host.sysroot.read_intent()
        if intent.held_by is not None:
            host.sysroot.write_intent(intent.model_copy(update={"held_by": None}))
