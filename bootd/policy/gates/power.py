"""The machine runs on its battery, and that has not enough left for a restart.

UPower sums up the batteries that supply the machine in one "display device"; those of mice and
telephones are not among them. Where there is no UPower, or no battery, the power is good. Source:
UPower D-Bus reference, ``org.freedesktop.UPower`` and ``org.freedesktop.UPower.Device``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bootd.model.errors import BootdError
from bootd.model.gate import Answer
from bootd.policy.gate import YES, Gate, Verdict, View

_UPOWER: Final = "org.freedesktop.UPower"
_PATH: Final = "/org/freedesktop/UPower"
_BATTERIES: Final = (2, 3)
"""``Type`` of a battery, and of an uninterruptible power supply."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What a machine on battery has left, and has to have, in percent."""

    left: float
    needed: int


async def look(view: View) -> Charge | None:
    """Return the charge; None: the machine is not on battery, or that is not known."""
    needed = view.configuration.apply.battery
    if view.ask is None or needed == 0:
        return None
    try:
        if not (await _properties(view, _PATH, _UPOWER)).get("OnBattery", False):
            return None
        whole = f"{_PATH}/devices/DisplayDevice"
        battery = await _properties(view, whole, f"{_UPOWER}.Device")
    except BootdError:
        return None
    if not battery.get("IsPresent", False) or battery.get("Type") not in _BATTERIES:
        return None
    return Charge(float(battery.get("Percentage", 0.0)), needed)


def judge(charge: Charge | None, _now: datetime) -> Verdict:
    """Say later while too little is left."""
    if charge is None or charge.left >= charge.needed:
        return YES
    return Verdict(
        Answer.LATER,
        f"the machine is on battery with {charge.left:.0f} % left; {charge.needed} % are needed",
    )


async def _properties(view: View, path: str, interface: str) -> dict[str, Any]:
    assert view.ask is not None
    get_all = "org.freedesktop.DBus.Properties.GetAll"
    [told] = await view.ask(_UPOWER, path, get_all, "s", interface)
    return {name: getattr(value, "value", value) for name, value in told.items()}


GATE: Final = Gate("power", look, judge)
