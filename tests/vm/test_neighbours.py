"""Two systems of bootd share an EFI system partition: neither touches what is the other's."""

from __future__ import annotations

import re

import pytest
from support.vm_disk import await_kept
from support.vm_neighbours import SECOND, neighbours
from support.vm_scenario import ESP, Scenario


def _is_second(scenario: Scenario) -> bool:
    return scenario.run("hostname").strip() == SECOND


def _upgrade(scenario: Scenario, version: str) -> str:
    """Upgrade the system that runs, boot what came, and clean up; return its deployment."""
    second = _is_second(scenario)
    scenario.upgrade(version)
    deployment: str = scenario.status()["staged"]
    scenario.choose(f"bootd-*-{deployment}*")
    scenario.reboot_into(version)
    assert _is_second(scenario) == second
    scenario.run("bootctl-py cleanup")
    assert scenario.version_of("rollback") == "v1"
    return deployment


def _reboot_to(scenario: Scenario, deployment: str, version: str, *, second: bool) -> None:
    scenario.choose(f"bootd-*-{deployment}*")
    assert scenario.machine.reboot() == version
    assert _is_second(scenario) == second


@pytest.mark.machine(make=neighbours)
def test_two_systems_upgrade_and_clean_up_side_by_side(scenario: Scenario) -> None:
    await_kept(scenario.machine)
    began = _is_second(scenario)
    assert scenario.status()["problems"] == []
    (first,) = [one["id"] for one in scenario.status()["deployments"]]
    names = scenario.on_esp(f"ls {ESP}/loader/entries")
    (other,) = set(re.findall(r"[0-9a-f]{16}[.][0-9]+", names)) - {first}
    one = _upgrade(scenario, "k1")
    _reboot_to(scenario, other, "v1", second=not began)
    await_kept(scenario.machine)
    another = _upgrade(scenario, "k2")
    for deployment, version, second in ((one, "k1", began), (another, "k2", not began)):
        _reboot_to(scenario, deployment, version, second=second)
        scenario.run("bootctl-py fsck")
        assert scenario.version_of("rollback") == "v1"
