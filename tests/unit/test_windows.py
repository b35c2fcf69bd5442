"""Maintenance windows: how they are written, and when they are open, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from bootd.model.config import ApplySettings
from bootd.model.window import open_until, opens_at, parse_window
from bootd.policy.zone import machine_zone

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("window", "now", "until"),
    [
        ("22:00 6h", "2026-12-01T21:59:59Z", None),
        ("22:00 6h", "2026-12-01T22:00:00Z", "2026-12-02T04:00:00Z"),
        ("22:00 6h", "2026-12-02T03:59:59Z", "2026-12-02T04:00:00Z"),
        ("22:00 6h", "2026-12-02T04:00:00Z", None),
        ("Sun 23:00 90min", "2026-12-07T00:15:00Z", "2026-12-07T00:30:00Z"),
        ("Sun 23:00 90min", "2026-12-06T22:15:00Z", None),
        ("Fri 18:00 60h", "2026-12-06T12:00:00Z", "2026-12-07T06:00:00Z"),
        ("Mon 00:00 168h", "2026-12-06T23:59:59Z", "2026-12-07T00:00:00Z"),
        ("Sat..Mon 02:00 1h", "2026-12-07T02:30:00Z", "2026-12-07T03:00:00Z"),
        ("Sat..Mon 02:00 1h", "2026-12-08T02:30:00Z", None),
        ("tue,THU 02:00 1h", "2026-12-03T02:30:00Z", "2026-12-03T03:00:00Z"),
        ("02:00 1h Asia/Tokyo", "2026-12-01T17:30:00Z", "2026-12-01T18:00:00Z"),
    ],
)
def test_a_window_is_open_at_its_times(window: str, now: str, until: str | None):
    found = open_until([parse_window(window)], at(now), UTC)
    assert found == (None if until is None else at(until))


@pytest.mark.parametrize(
    ("window", "begins", "lasts"),
    [
        # The clock goes from 2 to 3 on the 29th of March.
        ("02:30 1h", "2026-03-29T03:30:00+02:00", 1),
        ("00:00 6h", "2026-03-29T00:00:00+01:00", 6),
        # It goes from 3 back to 2 on the 25th of October.
        ("02:30 1h", "2026-10-25T02:30:00+02:00", 1),
        ("00:00 6h", "2026-10-25T00:00:00+02:00", 6),
    ],
)
def test_summer_time_neither_cuts_a_window_off_nor_doubles_it(window: str, begins: str, lasts: int):
    parsed, begin = parse_window(window), at(begins)
    assert opens_at([parsed], begin - timedelta(hours=3), BERLIN) == begin
    open_minutes = [
        minute
        for minute in range(-180, 24 * 60 - 180)
        if open_until([parsed], begin + timedelta(minutes=minute), BERLIN)
    ]
    assert open_minutes == list(range(lasts * 60))


def test_of_several_windows_the_next_opens_and_the_last_closes():
    windows = [parse_window(text) for text in ("Mon 02:00 2h", "Mon 03:00 4h", "Wed 12:00 1h")]
    assert open_until(windows, at("2026-12-07T03:30:00Z"), UTC) == at("2026-12-07T07:00:00Z")
    assert opens_at(windows, at("2026-12-07T03:30:00Z"), UTC) == at("2026-12-09T12:00:00Z")
    assert opens_at(windows, at("2026-12-09T12:00:00Z"), UTC) == at("2026-12-14T02:00:00Z")
    assert opens_at([], at("2026-12-09T12:00:00Z"), UTC) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is not written like"),
        ("02:00", "it is not written like"),
        ("24:00 1h", "it is not written like"),
        ("02:00 0h", "it is not written like"),
        ("02:00 1h ../../etc/passwd", "it is not written like"),
        ("02:00 169h", "longer than a week"),
        ("02:00 99999min", "longer than a week"),
        ("Fryday 02:00 1h", "'Fryday' is no day"),
        ("Mon.. 02:00 1h", "'' is no day"),
        (",Mon 02:00 1h", "'' is no day"),
        ("02:00 1h Europe/Bonn", "no time zone 'Europe/Bonn'"),
    ],
)
def test_what_is_no_window_is_refused_with_the_settings(text: str, told: str):
    with pytest.raises(ValidationError, match=told):
        ApplySettings(windows=[text])


def test_the_machines_zone_is_its_own(tmp_path: Path):
    assert machine_zone(tmp_path) is UTC
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/localtime").write_bytes(b"nonsense")
    assert machine_zone(tmp_path) is UTC
    (tmp_path / "etc/localtime").unlink()
    (tmp_path / "etc/localtime").symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    zone = machine_zone(tmp_path)
    assert datetime(2026, 7, 1, tzinfo=zone).utcoffset() == timedelta(hours=2)
