"""What the daemon asks of the services beside it, where it runs on the machine it manages."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from bootd.daemon.dbus import names
from bootd.daemon.dbus.bus import Connection
from bootd.daemon.dbus.wire import ERROR_PREFIX, RemoteError
from bootd.daemon.unattended.timetable import Timetable
from bootd.model.errors import BusyError, ProcessFailedError

_log = logging.getLogger(__name__)

FINALIZE_UNIT: Final = "bootd-finalize.service"
TIMER_PATH: Final = "/org/freedesktop/systemd1/unit/bootd_2dupgrade_2etimer"

_SYSTEMD: Final = "org.freedesktop.systemd1"
_SYSTEMD_PATH: Final = "/org/freedesktop/systemd1"
_LOGIND: Final = "org.freedesktop.login1"
_LOGIND_PATH: Final = "/org/freedesktop/login1"
_ROOT_CHECKS_INHIBITORS: Final = 1
"""SD_LOGIND_ROOT_CHECK_INHIBITORS of org.freedesktop.login1(5): root waits like everybody else."""


async def arm_finalization(connection: Connection) -> None:
    """Start the unit whose stop, at shutdown, makes the staged deployment bootable.

    Raises:
        ProcessFailedError: it could not be started, so the next shutdown would do nothing.
    """
    try:
        await connection.call(
            _SYSTEMD,
            _SYSTEMD_PATH,
            f"{_SYSTEMD}.Manager.StartUnit",
            "ss",
            FINALIZE_UNIT,
            "replace",
        )
    except RemoteError as error:
        raise ProcessFailedError(
            f"{FINALIZE_UNIT} could not be started: {error.message}",
            hint="Run 'bootctl-py finalize' before the reboot.",
        ) from error


async def timetable(connection: Connection) -> Timetable | None:
    """Return when the timer wants an update to be looked for; None: it is switched off.

    An administrator who gives it another time, or stops it, means what bootd does by itself.
    """
    try:
        [state] = await connection.call(
            _SYSTEMD,
            TIMER_PATH,
            f"{names.PROPERTIES}.Get",
            "ss",
            f"{_SYSTEMD}.Unit",
            "ActiveState",
        )
        [timer] = await connection.call(
            _SYSTEMD, TIMER_PATH, f"{names.PROPERTIES}.GetAll", "s", f"{_SYSTEMD}.Timer"
        )
    except RemoteError as error:
        _log.debug("the timer is not known: %s", error.message)
        return None
    if state != "active":
        return None
    expressions = tuple(str(expression) for _, expression, _ in timer["TimersCalendar"])
    return Timetable(expressions, timedelta(microseconds=timer["RandomizedDelayUSec"]))


async def reboot(connection: Connection) -> None:
    """Reboot through logind, which asks whoever inhibits it.

    Raises:
        BusyError: something inhibits the shutdown.
        ProcessFailedError: logind could not.
    """
    try:
        await connection.call(
            _LOGIND,
            _LOGIND_PATH,
            f"{_LOGIND}.Manager.RebootWithFlags",
            "t",
            _ROOT_CHECKS_INHIBITORS,
        )
    except RemoteError as error:
        if error.name == f"{ERROR_PREFIX}AccessDenied":
            raise BusyError(
                f"something inhibits a reboot: {error.message}",
                hint="'systemd-inhibit --list' names it; 'bootctl-py apply' again afterwards.",
            ) from error
        raise ProcessFailedError(
            f"logind does not reboot: {error.message}",
            hint="Reboot by hand; what is staged or queued boots then.",
        ) from error
