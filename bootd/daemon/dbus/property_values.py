"""Dictionaries that properties of the Manager hold, with the types that they have on the bus."""

from __future__ import annotations

from bootd.daemon.dbus.wire import Variant
from bootd.daemon.unattended.times import microseconds
from bootd.model.deployment import Denial
from bootd.model.documents import AvailableImage


def available_value(available: AvailableImage | None) -> dict[str, Variant]:
    """Return what can be had; nothing: there is nothing that this machine should take."""
    return {} if available is None or not available.update else _looked_up(available)


def last_check_value(available: AvailableImage | None) -> dict[str, Variant]:
    """Return what the last check found, and what that is to this machine; nothing: none was."""
    if available is None:
        return {}
    return {**_looked_up(available), "standing": Variant("s", available.standing.value)}


def _looked_up(available: AvailableImage) -> dict[str, Variant]:
    return {
        "image": Variant("s", available.image),
        "digest": Variant("s", available.digest),
        "version": Variant("s", available.image_version),
        "checked": Variant("t", microseconds(available.checked)),
    }


def fallback_value(denial: Denial | None) -> dict[str, Variant]:
    """Return what failed here last; nothing: nothing did."""
    if denial is None:
        return {}
    return {
        "digest": Variant("s", denial.digest),
        "cause": Variant("s", denial.cause),
        "when": Variant("t", microseconds(denial.when)),
    }
