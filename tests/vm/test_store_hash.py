"""A store of SHA-512 digests before a kernel with fs-verity: it boots, and is sealed."""

from __future__ import annotations

import pytest
from support.vm_disk import await_kept
from support.vm_hash import installed_with_sha512
from support.vm_scenario import Scenario


@pytest.mark.machine(make=installed_with_sha512)
def test_a_sealed_machine_lives_with_sha512(scenario: Scenario) -> None:
    await_kept(scenario.machine)
    assert scenario.status()["problems"] == []
    scenario.run("mkdir -p /etc/bootd && echo 'integrity = \"verity\"' >/etc/bootd/bootd.toml")
    scenario.upgrade("v2")
    scenario.reboot_into("v2")
    assert "verity=require" in scenario.run("findmnt --noheadings --output OPTIONS /")
    found = scenario.status()
    [booted] = [one for one in found["deployments"] if one["booted"]]
    assert booted["seal_digest"].startswith("sha512:")
    erofs = f"/sysroot/bootd/deployments/{booted['id']}/root.erofs"
    assert scenario.run(f"fsverity measure {erofs}").split()[0] == booted["seal_digest"]
    # The kernel hashes each block that is read, and fsck once more: slow where it is emulated.
    scenario.run("bootctl-py fsck", seconds=1_200)
