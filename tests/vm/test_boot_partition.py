"""Kernels on the EFI system partition: shared, collected, and refused where there is no room."""

from __future__ import annotations

from support.vm_scenario import ESP, UPGRADE, Scenario
from support.vm_versions import OWN_KERNELS

_SHRINK = """
set -eu
systemctl stop bootd.service
mkdir -p {esp} && mount /dev/disk/by-partlabel/esp {esp}
tar -C {esp} -cf /tmp/esp.tar .
one=$(du --bytes --summarize {esp}/bootd/* | awk '{{ print $1; exit }}')
umount {esp}
# Two kernels, the boot loader under both its names, and what is smaller than a third kernel.
mkfs.vfat -F 16 /dev/disk/by-partlabel/esp $((one * 5 / 2 / 1024)) >/dev/null
mount /dev/disk/by-partlabel/esp {esp}
tar -C {esp} --no-same-owner -xf /tmp/esp.tar
umount {esp}
"""
"""Makes the file system anew, with the same content and room for two kernels only."""


def test_kernel_is_shared_and_goes_with_its_last_deployment(scenario: Scenario) -> None:
    (first,) = scenario.on_esp(f"ls {ESP}/bootd").split()
    scenario.run("mkdir -p /etc/bootd && echo 'keep_deployments = 3' >/etc/bootd/bootd.toml")
    for version in ("v2", "v3"):
        scenario.upgrade(version)
        scenario.reboot_into(version)
    assert len(scenario.status()["deployments"]) == 3
    assert scenario.on_esp(f"ls {ESP}/bootd").split() == [first]
    scenario.run("echo 'keep_deployments = 1' >/etc/bootd/bootd.toml; systemctl reload bootd")
    scenario.upgrade("kernel")
    scenario.reboot_into("kernel")
    scenario.run("bootctl-py cleanup")
    # Where a rollback goes is kept in any case.
    assert scenario.version_of("rollback") == "v3"
    both = scenario.on_esp(f"ls {ESP}/bootd").split()
    assert len(both) == 2
    scenario.serve("kernel2")
    scenario.run(UPGRADE, seconds=600)
    scenario.reboot_into("kernel2")
    scenario.run("bootctl-py cleanup")
    left = scenario.on_esp(f"ls {ESP}/bootd").split()
    assert first not in left
    assert len(left) == 1


def test_full_boot_partition_is_refused_before_anything_is_written(scenario: Scenario) -> None:
    scenario.on_esp(f"dd if=/dev/zero of={ESP}/ballast bs=1M 2>/dev/null || :")
    before = scenario.on_esp(f"cd {ESP}; find . -printf '%p %s\\n' | sort; cd /")
    scenario.serve("kernel")
    status, said = scenario.machine.ask("bootctl-py upgrade", 600)
    assert status != 0
    assert "on the boot partition; 0.0 MiB of" in said
    assert scenario.on_esp(f"cd {ESP}; find . -printf '%p %s\\n' | sort; cd /") == before
    assert scenario.version_of("staged") is None
    assert scenario.machine.reboot() == "v1"


def test_upgrades_go_on_where_two_kernels_have_room(scenario: Scenario) -> None:
    scenario.run(_SHRINK.format(esp=ESP), seconds=600)
    scenario.run("mkdir -p /etc/bootd && echo 'tries = 1' >/etc/bootd/bootd.toml")
    before = "v1"
    for version in (*OWN_KERNELS[:3], "k-panics", *OWN_KERNELS[3:]):
        scenario.upgrade(version)
        # What runs is never given up; a fallback may be.
        assert scenario.version_of("booted") == before
        if version == "k-panics":
            scenario.await_fallback(before, tries=1)
            scenario.expect_denied(version, cause="boot-failed")
        else:
            scenario.reboot_into(version)
            before = version
        assert len(scenario.on_esp(f"ls {ESP}/bootd").split()) <= 2
        assert scenario.version_of("booted") == before
    scenario.run("bootctl-py fsck")
