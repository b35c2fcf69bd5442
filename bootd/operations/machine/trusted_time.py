"""What time it is for what is removed when it is old, whatever the clock says.

A clock can be wrong for a boot: a dead battery makes it 1970, a reset firmware 2099. Nothing may be
removed because of that, and what is made in such a boot must not look old in the next one. So the
newest time that was believed is kept. A clock that is behind it is not believed. One that is ahead
of it by more than machines are usually switched off is believed when it says so in another boot.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from bootd.model.errors import BootdError
from bootd.operations.host import Host
from bootd.records import read_record, write_record
from bootd.sysroot import Sysroot

_log = logging.getLogger(__name__)

_RECORD: Final = "clock.json"
_MOST_TEXT: Final = 100
_LEAP: Final = timedelta(days=45)
_WORTH_A_WRITE: Final = timedelta(hours=1)


class _Doubt(BaseModel):
    """A time that was not believed, and the boot in which the clock said so."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    said: AwareDatetime
    boot: str = Field(max_length=_MOST_TEXT)


class _Believed(BaseModel):
    """``clock.json``: the newest time that was believed."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    format: Literal[1] = 1
    newest: AwareDatetime
    doubt: _Doubt | None = None


def time_of_record(host: Host) -> datetime:
    """Return the time that something made now is from; it never goes back.

    Args:
        host: the machine, locked by the caller.
    """
    now = host.clock.now()
    known = _read(host.sysroot)
    before = known or _Believed(newest=_newest_deployment(host.sysroot) or now)
    if _is_believed(host.sysroot, before, now):
        if known is None or before.doubt is not None or now - before.newest >= _WORTH_A_WRITE:
            _write(host.sysroot, _Believed(newest=now))
        return now
    if now > before.newest and (before.doubt is None or before.doubt.boot != _boot(host.sysroot)):
        _log.warning("the clock says %s, which is believed when another boot says it too", now)
        doubt = _Doubt(said=now, boot=_boot(host.sysroot))
        _write(host.sysroot, before.model_copy(update={"doubt": doubt}))
    return before.newest


def time_of_expiry(host: Host) -> datetime:
    """Return the time by which things are old; never one that any clock is still to reach.

    Args:
        host: the machine, locked by the caller.
    """
    return min(time_of_record(host), host.clock.now())


def _is_believed(sysroot: Sysroot, before: _Believed, now: datetime) -> bool:
    ahead = now - before.newest
    if ahead <= _LEAP:
        return ahead >= timedelta()
    doubt = before.doubt
    if doubt is None or doubt.boot == _boot(sysroot):
        return False
    return timedelta() <= now - doubt.said <= max(_LEAP, doubt.said - before.newest)


def _newest_deployment(sysroot: Sysroot) -> datetime | None:
    """Return when the newest deployment was made: where a store that kept no time begins."""
    found = []
    for identifier in sysroot.deployment_ids():
        try:
            created = sysroot.read_deployment(identifier).created
        except BootdError:
            continue
        found.append(created if created.tzinfo else created.replace(tzinfo=UTC))
    return max(found, default=None)


def _read(sysroot: Sysroot) -> _Believed | None:
    try:
        return read_record(sysroot.store / _RECORD, _Believed)
    except BootdError as error:
        _log.warning("%s", error.message)
        return None


def _write(sysroot: Sysroot, believed: _Believed) -> None:
    try:
        write_record(sysroot.disk, sysroot.store / _RECORD, believed)
    except BootdError as error:
        _log.warning("the time is not kept: %s", error.message)


def _boot(sysroot: Sysroot) -> str:
    return sysroot.this_boot()[:_MOST_TEXT]
