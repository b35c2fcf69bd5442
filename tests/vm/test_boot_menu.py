"""A person or ``bootctl set-default`` chose an entry: an upgrade does not boot, and is told so."""

from __future__ import annotations

import json

from support.vm_disk import await_kept
from support.vm_scenario import ESP, Scenario

from bootd.model.event import Event

_MENU = "Reboot Into Firmware Interface"
"""The last line of a menu that is shown whole (systemd-boot(7))."""


def _expect_told(scenario: Scenario, *events: Event) -> None:
    """See that what keeps the upgrade from booting is told wherever people look."""
    await_kept(scenario.machine)
    document = scenario.status()
    assert "LoaderEntryDefault" in document["overridden"]
    assert 'bootctl set-default ""' in document["overridden"]
    assert document["did_not_boot"] in document["problems"]
    assert "LoaderEntryDefault" in scenario.run("bootctl-py why", check=False)
    for event in events:
        assert scenario.run(f"journalctl -b -o cat MESSAGE_ID={event.value}")
    assert json.loads(scenario.run("bootctl-py denied list --json=short"))["denied"] == []


def test_default_of_the_loader_is_told_and_lifted(scenario: Scenario) -> None:
    (running,) = scenario.on_esp(f"ls {ESP}/loader/entries").split()
    scenario.run(f"bootctl set-default {running}")
    scenario.upgrade("v2")
    assert scenario.machine.reboot() == "v1"
    _expect_told(scenario, Event.DID_NOT_BOOT, Event.BOOT_OVERRIDDEN)
    scenario.run("bootctl set-default ''")
    assert scenario.status()["overridden"] is None
    scenario.on_esp(f"echo 'timeout menu-force' >>{ESP}/loader/loader.conf")
    # In the menu, v1 is made the default with "d".
    since = len(scenario.machine.serial)
    scenario.run("systemctl --no-block reboot")
    scenario.machine.await_console(_MENU, since)
    scenario.machine.press("down", "d", "ret")
    assert scenario.machine.await_boot() == "v1"
    _expect_told(scenario, Event.BOOT_OVERRIDDEN)
    scenario.run("bootctl set-default ''")
    scenario.on_esp(f"sed -i /timeout/d {ESP}/loader/loader.conf")
    scenario.reboot_into("v2")
    assert scenario.status()["problems"] == []
