"""A server of Debian 12 that was lived in comes up under Debian 13, and does what it did."""

from __future__ import annotations

import json

import pytest
from support import debian_checks as checks
from support.debian_machine import EDITS, IMAGE_USER, PASSWORD, USER
from support.vm_debian import carried_machine
from support.vm_disk import await_kept
from support.vm_scenario import Scenario

_LOG_IN = """python3 - <<'END'
import os, pty, sys, time

child, terminal = pty.fork()
if child == 0:
    os.execv("/usr/bin/login", ["login"])
said = b""

def expect(text):
    global said
    end = time.monotonic() + 120
    while text not in said:
        if time.monotonic() > end:
            sys.exit(f"{{text!r}} did not come: {{said!r}}")
        try:
            said += os.read(terminal, 4096)
        except OSError:
            # login(1) hangs up its terminal before it opens it again (vhangup(2)).
            if os.waitpid(child, os.WNOHANG)[0]:
                sys.exit(f"the login ended: {{said!r}}")
            time.sleep(0.2)
    said = said.partition(text)[2]

expect(b"login: ")
os.write(terminal, b"{user}\\n")
expect(b"assword: ")
os.write(terminal, b"{password}\\n")
expect(b"$ ")
os.write(terminal, b"echo I am $(id -un) in $(pwd)\\n")
expect(b"I am {user} in {home}")
print("logged in")
END
"""
"""Does what a person at the console does."""
_SERVICES = ("chrony", "cron", "dbus", "NetworkManager", "nginx", "postfix@-")


@pytest.mark.machine(make=carried_machine)
def test_debian_12_comes_up_as_debian_13(scenario: Scenario) -> None:
    await_kept(scenario.machine)
    assert scenario.status()["problems"] == []
    assert scenario.run("cat /etc/debian_version").startswith("13")
    # Nobody made a home for the image's user; login(1) takes the root then.
    for user, home in ((USER, f"/home/{USER}"), (IMAGE_USER, "/")):
        log_in = _LOG_IN.format(user=user, password=PASSWORD, home=home)
        assert "logged in" in scenario.run(log_in)
    assert "(sudo)" in scenario.run(f"id {USER}")
    assert scenario.run("hostname").strip() == "old-server"
    scenario.run("sshd -t && systemctl is-active ssh.service systemd-networkd.service")
    assert "permitrootlogin no\n" in scenario.run("sshd -T")
    assert scenario.run("systemctl is-enabled rsyslog.service", check=False).strip() == "disabled"
    scenario.run("systemctl is-system-running --wait", check=False, seconds=600)
    assert scenario.run("systemctl list-units --failed --plain --no-legend").strip() == ""
    scenario.run(f"systemctl is-active {' '.join(_SERVICES)}")
    for check in (
        *(checks.check_jobs, checks.check_mail, checks.check_bus, checks.check_time),
        *(checks.check_trust, checks.check_logins),
    ):
        check(scenario.run)
    scenario.run(f"timeout 120 sh -c 'until grep hello /var/mail/{USER}; do sleep 1; done'")
    assert len(EDITS) == 33
    told = json.loads(scenario.run("bootctl-py etc conflicts --json=short"))
    paths = [one["conflict"]["path"] for one in told["open"]]
    assert "/etc/ssh/sshd_config" not in paths
    checks.check_questions(paths, scenario.run("bootctl-py etc conflicts"))
