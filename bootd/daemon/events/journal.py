"""Tells the journal of an `Event`."""

from __future__ import annotations

import logging
from typing import Final

from bootd.journal import EVENTS
from bootd.model.event import FIELDS, Event

_log = logging.getLogger(EVENTS)

_BAD_NEWS: Final = frozenset(
    {
        Event.FINALIZE_FAILED,
        Event.DENIED,
        Event.FALLBACK_SEEN,
        Event.DID_NOT_BOOT,
        Event.BOOT_OVERRIDDEN,
        Event.DAMAGE_FOUND,
        Event.JOB_FAILED,
        Event.ETC_SECURITY_CONFLICT,
    }
)


def announce(event: Event, message: str, *values: str) -> None:
    """Log an event.

    Args:
        event: what happened.
        message: the same for people.
        values: of the event's `FIELDS`, in their order.
    """
    fields = dict(zip(FIELDS[event], values, strict=True))
    level = logging.WARNING if event in _BAD_NEWS else logging.INFO
    _log.log(level, "%s", message, extra={"message_id": event.value, "fields": fields})
