"""Somebody emptied the EFI system partition: what belongs there is put back, and boots."""

from __future__ import annotations

from support.vm_scenario import ESP, Scenario

_FILES = f"cd {ESP}; find EFI bootd loader -type f | sort | xargs sha256sum; cd /"


def test_kernel_and_loader_are_put_back(scenario: Scenario) -> None:
    before = scenario.on_esp(_FILES)
    scenario.on_esp(f"rm -r {ESP}/bootd {ESP}/EFI")
    assert scenario.status()["problems"] != []
    status, said = scenario.machine.ask("bootctl-py fsck")
    assert status != 0
    for missing in ("vmlinuz", "BOOTX64.EFI", "systemd-bootx64.efi"):
        assert missing in said
    assert "still there" not in said
    assert scenario.on_esp(_FILES) == before
    scenario.reboot_into("v1")
    assert scenario.status()["problems"] == []
