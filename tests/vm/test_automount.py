"""``/boot`` is an automount that goes when nobody uses it: it takes nothing with it."""

from __future__ import annotations

from support.vm_scenario import Scenario

_IDLE_SECONDS = 5
_FSTAB = (
    "/dev/disk/by-partlabel/esp /boot vfat "
    f"x-systemd.automount,x-systemd.idle-timeout={_IDLE_SECONDS} 0 0"
)


def test_edit_after_boot_went_idle_is_kept(scenario: Scenario) -> None:
    scenario.run(f"echo '{_FSTAB}' >>/etc/fstab && systemctl daemon-reload")
    scenario.run("systemctl start boot.automount && ls /boot/loader/entries")
    scenario.upgrade("v2")
    # To look at the folder itself would be use of it.
    scenario.run("while grep -q ' /boot vfat ' /proc/mounts; do sleep 1; done", seconds=120)
    # It may be mounted again and go again, as often as somebody looks.
    scenario.run(f"ls /boot; sleep {2 * _IDLE_SECONDS}; test -e /run/bootd/staged.json")
    assert scenario.version_of("staged") == "v2"
    scenario.run("echo late >/etc/late")
    scenario.reboot_into("v2")
    assert scenario.run("cat /etc/late") == "late\n"
    assert scenario.status()["problems"] == []
