"""Kernels on the EFI system partition: shared, collected, and refused where there is no room."""

from __future__ import annotations

from support.vm_scenario import ESP, UPGRADE, Scenario


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
