"""A machine is installed, upgrades itself through the timer's unit, and goes back and forth."""

from __future__ import annotations

import json

import pytest
from support.vm_disk import await_kept, installed_machine
from support.vm_scenario import MANAGER, UPGRADE, Scenario
from support.vm_versions import NEWER_BOOTD


@pytest.mark.machine(make=installed_machine)
def test_installation_boots(scenario: Scenario) -> None:
    await_kept(scenario.machine)
    found = scenario.status()
    assert [one["state"] for one in found["deployments"]] == ["good"]
    assert found["problems"] == []
    assert scenario.run("systemctl is-system-running --wait").strip() == "running"
    assert scenario.machine.ask("touch /usr/x")[0] != 0
    scenario.run("touch /etc/x /var/x /root/x")


@pytest.mark.daily
def test_upgrade_through_the_timer(scenario: Scenario) -> None:
    scenario.run("echo before >/etc/before; echo kept >/var/kept; chmod 0600 /etc/motd")
    scenario.upgrade("v2")
    assert scenario.version_of("booted") == "v1"
    scenario.run("echo late >/etc/late")
    scenario.reboot_into("v2")
    assert scenario.run("cat /etc/before /etc/late /var/kept") == "before\nlate\nkept\n"
    assert scenario.run("cat /etc/motd; stat -c %a /etc/motd") == "Welcome to v2.\n600\n"
    assert scenario.version_of("booted") == "v2"
    assert scenario.version_of("rollback") == "v1"
    assert scenario.status()["problems"] == []
    # Again: nothing to do.
    scenario.run(UPGRADE)
    assert scenario.version_of("staged") is None


def test_timer_is_armed(scenario: Scenario) -> None:
    listed = scenario.run("systemctl list-timers --no-legend bootd-upgrade.timer")
    assert "bootd-upgrade-due.service" in listed
    _, when = scenario.run(f"busctl get-property {MANAGER} NextCheck").split()
    assert int(when) > 0


def test_bus_for_root_and_for_a_plain_user(scenario: Scenario) -> None:
    scenario.serve("v2")
    as_user = "setpriv --reuid=65534 --regid=65534 --clear-groups "
    status, said = scenario.machine.ask(f"{as_user} busctl call {MANAGER} Upgrade 'a{{sv}}' 0")
    assert status != 0
    assert "needs authentication" in said or "is not granted" in said
    # Looking is free.
    assert '"idle"' in scenario.run(f"{as_user} busctl get-property {MANAGER} State")
    said = scenario.run(f"busctl call {MANAGER} Upgrade 'a{{sv}}' 0")
    assert "/org/bootd1/" in said
    scenario.run("for i in $(seq 100); do test -e /run/bootd/staged.json && exit; sleep 1; done")
    assert scenario.version_of("staged") == "v2"


def test_reboot_straight_after_staging(scenario: Scenario) -> None:
    scenario.serve("v2")
    scenario.run(f"{UPGRADE}; echo late >/etc/late; systemctl --no-block reboot", seconds=600)
    assert scenario.machine.await_boot() == "v2"
    assert scenario.run("cat /etc/late") == "late\n"


def test_rollback_and_rollback_again(scenario: Scenario) -> None:
    scenario.upgrade("v2")
    scenario.reboot_into("v2")
    scenario.run("echo new >/etc/new")
    scenario.run("bootctl-py rollback")
    scenario.reboot_into("v1")
    assert scenario.machine.ask("test -e /etc/new")[0] != 0
    # What was left is not staged again by itself.
    scenario.run(UPGRADE)
    assert scenario.version_of("staged") is None
    # Without daemon and bus, as in a rescue shell.
    scenario.run("systemctl stop bootd.service && systemctl mask --runtime bootd.service")
    scenario.run("bootctl-py rollback --offline")
    scenario.reboot_into("v2")
    assert scenario.run("cat /etc/new") == "new\n"


def test_rollback_with_one_deployment_is_refused(scenario: Scenario) -> None:
    status, said = scenario.machine.ask("bootctl-py rollback")
    assert status != 0
    assert "there is no other deployment" in said


def test_update_of_bootd_itself(scenario: Scenario) -> None:
    scenario.run(f"bootctl-py pin {scenario.status()['booted']}")
    scenario.upgrade("newer")
    scenario.reboot_into("newer")
    document = scenario.status()
    assert document["bootd"] == NEWER_BOOTD
    assert scenario.version_of("rollback") == "v1"
    pinned = [one["image_version"] for one in document["deployments"] if one["pinned"]]
    assert pinned == ["v1"]
    scenario.upgrade("v3")
    scenario.reboot_into("v3")
    told = json.loads(scenario.run("busctl get-property -j " + MANAGER + " Version"))
    assert told["data"] != NEWER_BOOTD


def test_staged_upgrade_survives_a_power_cut_without_network(scenario: Scenario) -> None:
    scenario.upgrade("v2")
    scenario.run("sync; echo late >/etc/late; sync /etc/late")
    scenario.machine.kill()
    scenario.machine.switch_on()
    scenario.machine.plug_network(plugged=False)
    assert scenario.machine.await_boot() == "v1"
    await_kept_or_good(scenario)
    assert scenario.version_of("staged") == "v2"
    scenario.reboot_into("v2")
    assert scenario.run("cat /etc/late") == "late\n"


def await_kept_or_good(scenario: Scenario) -> None:
    """Wait until the daemon has taken up what the power cut left."""
    scenario.run("systemctl is-system-running --wait", check=False, seconds=600)
