"""Kernel arguments of the machine: they change with a restart, and go with a rollback."""

from __future__ import annotations

from support.vm_scenario import Scenario

_ARGUMENT = "bootd_test.answer=42"


def test_argument_comes_with_a_restart_and_goes_with_a_rollback(scenario: Scenario) -> None:
    scenario.run(f"bootctl-py kargs add {_ARGUMENT}")
    assert _ARGUMENT not in scenario.run("cat /proc/cmdline")
    scenario.reboot_into("v1")
    assert _ARGUMENT in scenario.run("cat /proc/cmdline").split()
    assert _ARGUMENT in scenario.run("bootctl-py kargs")
    scenario.run("bootctl-py rollback")
    scenario.reboot_into("v1")
    assert _ARGUMENT not in scenario.run("cat /proc/cmdline")
