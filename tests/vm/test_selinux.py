"""A machine that enforces an SELinux policy: its image brings no label, and yet it boots.

It keeps what was set here, and gets the policy that comes.
"""

from __future__ import annotations

import json

import pytest
from support.vm import BOOT_SECONDS
from support.vm_disk import await_kept
from support.vm_scenario import UPGRADE, Scenario
from support.vm_selinux import OWN_DENIALS, enforcing_machine, enforcing_versions

_OWN, _COMING = "cron_can_relabel", "cdrecord_read_content"
"""Booleans: of both versions, and of a module that comes with the second one."""


def labels(scenario: Scenario, *paths: str) -> list[str]:
    """The types of files."""
    lines = scenario.run(f"stat --format=%C {' '.join(paths)}").split()
    return [line.split(":")[2] for line in lines]


@pytest.mark.machine(make=enforcing_machine)
def test_an_enforced_policy_denies_bootd_nothing(scenario: Scenario) -> None:
    await_kept(scenario.machine)
    assert scenario.run("getenforce") == "Enforcing\n"
    written = labels(scenario, "/usr/bin/ls", "/etc", "/etc/hostname", "/var/lib")
    assert written == ["bin_t", "etc_t", "net_conf_t", "var_lib_t"]
    assert "Error getting" in scenario.run(f"getsebool {_COMING}", check=False)
    scenario.run(f"setsebool -P {_OWN} on", seconds=BOOT_SECONDS)
    scenario.registry.push(enforcing_versions(), "os", layout_tag="v2")
    scenario.run(UPGRADE, seconds=BOOT_SECONDS)
    assert scenario.version_of("staged") == "v2"
    assert scenario.run(OWN_DENIALS) == ""
    scenario.reboot_into("v2")
    assert scenario.run("getenforce") == "Enforcing\n"
    assert scenario.run(f"getsebool {_OWN} {_COMING}").split() == [
        *(_OWN, "-->", "on"),
        *(_COMING, "-->", "off"),
    ]
    assert scenario.status()["problems"] == []
    assert scenario.run(OWN_DENIALS) == ""
    assert json.loads(scenario.run("bootctl-py etc conflicts --json=short"))["open"] == []
    # What is built from now on has the new modules, too.
    scenario.run(f"setsebool -P {_COMING} on", seconds=BOOT_SECONDS)
    assert labels(scenario, "/etc/new.conf", "/etc/cron.d/new") == ["etc_t", "system_cron_spool_t"]
    scenario.run("bootctl-py rollback")
    assert scenario.run(OWN_DENIALS) == ""
    assert scenario.machine.reboot() == "v1"
    assert scenario.run("getenforce") == "Enforcing\n"
    assert scenario.run(f"getsebool {_OWN}").split()[-1] == "on"
    assert scenario.status()["problems"] == []
    assert scenario.run(OWN_DENIALS) == ""
