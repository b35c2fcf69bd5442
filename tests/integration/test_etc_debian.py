"""A server of Debian 12 with 33 edits of its administrators goes to Debian 13.

The upgrade is bootd's own, images and all; programs of Debian 13 say whether it worked.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support import debian_checks as checks
from support.debian_machine import EDITS, PASSWORD_HASH, USER, within
from support.debian_roots import NEW, debian_root
from support.debian_upgrade import Upgraded, upgraded

from bootd.cli.main import main
from bootd.model.etc.report import ConflictKind, EtcReport
from bootd.operations.etc_reports import read_report
from bootd.process import run

# The roots of both versions have to be made once.
pytestmark = pytest.mark.timeout(1_200)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """The server with its new root, in which all was made anew that was due."""
    place = tmp_path_factory.mktemp("debian")
    with upgraded(place) as server:
        for one in server.due.rules:
            run(["chroot", server.root, *one.rule.command], timeout=120)
        yield server
    shutil.rmtree(place)


@pytest.fixture
def root(server: Upgraded) -> Path:
    return server.root


@pytest.fixture
def report(server: Upgraded) -> EtcReport:
    found = read_report(server.machine.sysroot, server.deployment)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "check",
    [
        checks.check_jobs,
        checks.check_mail,
        checks.check_bus,
        checks.check_time,
        checks.check_logins,
    ],
)
def test_the_server_does_what_it_did(root: Path, check: Callable[[checks.Run], None]) -> None:
    check(partial(within, root))


def test_numbers_of_the_image_are_strangers_here(server: Upgraded) -> None:
    """Otherwise the checks above would show nothing."""
    numbers = [
        {row.split(":")[0]: row.split(":")[2] for row in _lines(root, "group")}
        for root in (server.root, server.shipped)
    ]
    assert numbers[0]["localapp"] == numbers[1]["messagebus"]
    for name in ("crontab", "postdrop", "messagebus", "_chrony"):
        assert numbers[0][name] != numbers[1][name], name


def test_a_client_believes_the_servers_own_authority(root: Path) -> None:
    # In a network of its own, as a port of this machine may be taken.
    apart = ["unshare", "--net", "--pid", "--fork", "--kill-child", "chroot", root, "sh", "-euc"]

    def with_server(command: str) -> str:
        script = f"ip link set lo up; nginx; {command}; nginx -s stop"
        return run([*apart, script], timeout=60).stdout.decode()

    checks.check_trust(with_server)


def test_little_is_left_to_decide(
    server: Upgraded, report: EtcReport, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(EDITS) == 33
    sysroot = str(server.machine.folder)
    assert main(["--sysroot", sysroot, "etc", "conflicts"]) == 0
    checks.check_questions([one.path for one in report.conflicts], capsys.readouterr().out)


def test_the_users_are_sound(server: Upgraded) -> None:
    for tool in ("pwck", "grpck"):
        done = [
            run([tool, "-q", "-r", "-R", one], expected=range(3))
            for one in (server.root, server.shipped)
        ]
        assert done[0].returncode == done[1].returncode, done[0].stdout


def test_the_local_users_are_as_they_were(root: Path) -> None:
    assert "groups=" in (said := within(root, f"id {USER}"))
    assert {"(sudo)", "(adm)"} <= {f"({one.partition(')')[0]})" for one in said.split("(")}
    assert "backupd" in within(root, "getent passwd backupd")
    for name in (USER, "root"):
        assert within(root, f"getent shadow {name}").split(":")[1] == PASSWORD_HASH


def test_every_user_of_the_image_is_there_or_reported(server: Upgraded, report: EtcReport) -> None:
    told = " ".join(one.detail for one in report.conflicts if one.kind is ConflictKind.ACCOUNT)
    for database in ("passwd", "group"):
        names = [line.split(":")[0] for line in _lines(server.shipped, database)]
        here = {line.split(":")[0] for line in _lines(server.root, database)}
        assert {name for name in names if name not in here and f"'{name}'" not in told} == set()


def test_sshd_takes_its_configuration(root: Path, report: EtcReport) -> None:
    within(root, "mkdir -p /run/sshd; sshd -t")
    settings = within(root, "sshd -T")
    assert "permitrootlogin no\n" in settings
    assert "/etc/ssh/sshd_config" not in {one.path for one in report.conflicts}


def test_what_the_boot_would_start_is_sound(root: Path) -> None:
    wanted = root / "etc/systemd/system/multi-user.target.wants"
    broken = root / "etc/systemd/system/broken.service"
    verify = "systemd-analyze verify --man=no default.target "
    # Of what a target wants it only looks at the syntax, so each enabled unit is named too.
    enabled = " ".join(sorted({path.name for path in root.glob("etc/systemd/system/*.wants/*")}))
    try:
        within(root, verify + enabled)
        broken.write_text("[Service]\nExecStart=/no/such\n")
        assert "/no/such" in within(root, verify + "broken.service", status=1)
    finally:
        broken.unlink(missing_ok=True)
    assert (wanted / "systemd-networkd.service").is_symlink()
    assert not (wanted / "rsyslog.service").is_symlink()


def test_what_was_edited_and_deleted_stays_so(root: Path) -> None:
    etc = root / "etc"
    assert (etc / "hostname").read_text() == "old-server\n"
    assert "old-server" in (etc / "hosts").read_text()
    assert (etc / "systemd/network/10-lan.network").exists()
    assert (etc / "network/interfaces.d/lo").exists()
    assert not (etc / "logrotate.d/rsyslog").exists()
    assert not (etc / "cron.daily/logrotate").exists()
    assert (etc / "alternatives/editor").readlink() == Path("/usr/bin/vim.tiny")
    assert (etc / "rsyslog.conf").stat().st_mode & 0o7777 == 0o600
    assert len(list((etc / "ssh").glob("ssh_host_*"))) == 6


def test_what_nobody_touched_is_the_new_version(server: Upgraded) -> None:
    shipped = debian_root(NEW) / "etc"
    assert (server.root / "etc/debian_version").read_text().startswith("13")
    for name in ("login.defs", "sudoers", "bash.bashrc", "nanorc"):
        here = server.root / "etc" / name
        assert here.read_bytes() == (shipped / name).read_bytes(), name


def _lines(root: Path, database: str) -> list[str]:
    return (root / "etc" / database).read_text().splitlines()
