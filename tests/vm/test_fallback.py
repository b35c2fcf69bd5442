"""Versions that do not come up: the machine falls back by itself, and stays back."""

from __future__ import annotations

import pytest
from support.vm_scenario import Scenario

_TRIES = 3


@pytest.mark.parametrize(
    ("version", "cause", "evidence", "timer_runs"),
    [
        ("panics", "boot-failed", "started 3 times", 30),
        ("lost", "boot-failed", "started 3 times", 3),
        ("ill", "health-failed", "the database does not answer", 3),
        ("hangs", "boot-failed", "started 3 times", 3),
    ],
)
def test_bad_version_falls_back_and_is_not_tried_again(
    scenario: Scenario, version: str, cause: str, evidence: str, timer_runs: int
) -> None:
    scenario.run("echo mine >/etc/mine")
    scenario.upgrade(version)
    scenario.await_fallback("v1", tries=_TRIES)
    assert scenario.run("cat /etc/mine") == "mine\n"
    assert evidence in scenario.expect_denied(version, cause=cause)
    scenario.expect_nothing_staged(timer_runs)
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
    scenario.run(
        "mkdir -p /tmp/esp && mount /dev/disk/by-partlabel/esp /tmp/esp && "
        f"printf '{foreign}' >/tmp/esp/loader/entries/aaa.conf && umount /tmp/esp"
    )
    scenario.run("mkdir -p /etc/bootd && echo 'tries = 1' >/etc/bootd/bootd.toml")
    scenario.upgrade("v2")
    scenario.reboot_into("v2")
    scenario.upgrade("panics")
    scenario.await_fallback("v2", tries=1)
    scenario.expect_denied("panics", cause="boot-failed")
