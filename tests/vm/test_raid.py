"""The EFI system partition is an md RAID1: the array is written, and both halves are alike."""

from __future__ import annotations

import pytest
from support.vm_raid import ADD_TO_FSTAB, COMPARE, MAKE_ARRAY, two_disks
from support.vm_scenario import Scenario


@pytest.mark.machine(make=two_disks)
def test_upgrade_is_written_to_both_halves(scenario: Scenario) -> None:
    scenario.run(MAKE_ARRAY, seconds=900)
    scenario.upgrade("k1")
    scenario.reboot_into("k1")
    assert scenario.status()["problems"] == []
    assert scenario.run(COMPARE).strip() == "alike"
    scenario.run("bootctl-py fsck")
    # Where fstab mounts it, the halves have to be alike before that.
    scenario.run(ADD_TO_FSTAB)
    scenario.upgrade("k2")
    scenario.reboot_into("k2")
    assert scenario.run("findmnt --noheadings --output FSTYPE /boot").strip() == "vfat"
    assert scenario.status()["problems"] == []
    assert scenario.run(COMPARE).strip() == "alike"
    scenario.run("bootctl-py fsck")
