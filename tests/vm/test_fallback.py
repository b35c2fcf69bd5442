"""Versions that do not come up: the machine falls back by itself, and stays back."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from support.vm_scenario import ESP, Scenario

_TRIES = 3
"""What is granted where nobody says otherwise."""


class Bad(NamedTuple):
    """A version that does not come up, and what is known of it afterwards."""

    version: str
    evidence: str
    tries: int = 2
    cause: str = "boot-failed"
    timer_runs: int = 1


_PANICS = Bad("panics", "started 3 times", tries=_TRIES)
_LOST = Bad("lost", "started 2 times")
_ILL = Bad("ill", "the database does not answer", cause="health-failed", timer_runs=30)
_UNMADE = Bad("unmade", "no table can be made of that", cause="health-failed")
_HANGS = Bad("hangs", "started 2 times")


@pytest.mark.parametrize(
    "bad",
    [pytest.param(_PANICS, marks=pytest.mark.daily), _LOST, _ILL, _UNMADE, _HANGS],
    ids=lambda bad: bad.version,
)
def test_bad_version_falls_back_and_is_not_tried_again(scenario: Scenario, bad: Bad) -> None:
    scenario.run("echo mine >/etc/mine")
    if bad.tries != _TRIES:
        scenario.run(f"mkdir /etc/bootd && echo 'tries = {bad.tries}' >/etc/bootd/bootd.toml")
    scenario.upgrade(bad.version)
    scenario.await_fallback("v1", tries=bad.tries)
    assert scenario.run("cat /etc/mine") == "mine\n"
    assert bad.evidence in scenario.expect_denied(bad.version, cause=bad.cause)
    scenario.expect_nothing_staged(bad.timer_runs)
    # A new digest is tried, once, as any other.
    scenario.upgrade("v2")
    scenario.reboot_into("v2")
    assert scenario.run("cat /etc/mine") == "mine\n"


def test_denied_version_is_tried_again_when_it_is_allowed(scenario: Scenario) -> None:
    scenario.run("mkdir -p /etc/bootd && echo 'tries = 1' >/etc/bootd/bootd.toml")
    scenario.upgrade("panics")
    scenario.await_fallback("v1", tries=1)
    scenario.expect_nothing_staged(1)
    digest = scenario.status()["last_fallback"]["digest"]
    scenario.run(f"bootctl-py denied allow {digest}")
    scenario.upgrade("panics")
    scenario.await_fallback("v1", tries=1)
    scenario.expect_denied("panics", cause="boot-failed")


def test_foreign_entry_that_sorts_first_never_boots(scenario: Scenario) -> None:
    foreign = "title Foreign\\nsort-key 000\\nversion 9999\\nlinux /foreign\\n"
    scenario.on_esp(f"printf '{foreign}' >{ESP}/loader/entries/aaa.conf")
    scenario.run("mkdir -p /etc/bootd && echo 'tries = 1' >/etc/bootd/bootd.toml")
    scenario.upgrade("v2")
    scenario.reboot_into("v2")
    scenario.upgrade("panics")
    scenario.await_fallback("v2", tries=1)
    scenario.expect_denied("panics", cause="boot-failed")


def test_damaged_object_of_a_sealed_deployment_is_refused(scenario: Scenario) -> None:
    scenario.run("mkdir -p /etc/bootd && echo 'integrity = \"verity\"' >/etc/bootd/bootd.toml")
    scenario.upgrade("v2")
    scenario.reboot_into("v2")
    assert "verity=require" in scenario.run("findmnt --noheadings --output OPTIONS /")
    scenario.upgrade("init")
    staged = scenario.status()["staged"]
    scenario.run(_DAMAGE_INIT.format(erofs=f"/sysroot/bootd/deployments/{staged}/root.erofs"))
    scenario.await_fallback("v2", tries=_TRIES)
    scenario.expect_denied("init", cause="boot-failed")


_DAMAGE_INIT = """
set -e
mkdir -p /tmp/tree && mount -o loop,ro {erofs} /tmp/tree
object=$(getfattr --absolute-names --only-values -n trusted.overlay.redirect \\
    /tmp/tree/usr/lib/systemd/systemd)
umount /tmp/tree
block=$(filefrag -v "/sysroot/bootd/objects$object" |
    awk '$1 == "0:" {{ sub(/[.].*/, "", $4); print $4 }}')
printf damaged | dd of=/dev/disk/by-partlabel/bootd bs=4096 seek="$block" conv=notrunc
sync
"""
"""Overwrites the beginning of the new init on the disk, below the file system."""
