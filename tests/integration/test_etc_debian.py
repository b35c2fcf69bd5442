"""A real /etc of Debian 12, edited as machines are, carried to Debian 13."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.debian_machine import PASSWORD_HASH, live_with, within
from support.debian_roots import NEW, OLD, debian_root
from support.etc_trees import MemoryContents, read_tree

from bootd.etc.merge import merge
from bootd.etc.policy import EtcPolicies
from bootd.model.etc_policy import EtcPolicy, EtcRules
from bootd.model.etc_report import ConflictKind, EtcReport
from bootd.process import run

CONTENTS = MemoryContents()
POLICIES = EtcPolicies.of(EtcRules(policy={"/etc/ssh/sshd_config": EtcPolicy.MERGE}), EtcRules())


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, EtcReport]]:
    """The root of Debian 13 with the merged /etc, and the report of the merge."""
    place = tmp_path_factory.mktemp("debian")
    old, new = place / "old", place / "new"
    for suite, root in ((OLD, old), (NEW, new)):
        run(["cp", "--archive", "--reflink=auto", debian_root(suite), root], timeout=300)
    base = read_tree(old / "etc", CONTENTS)
    live_with(old)
    theirs = read_tree(new / "etc", CONTENTS)
    (new / "etc").rename(place / "shipped")
    report = merge(base, old / "etc", theirs, CONTENTS, new / "etc", policies=POLICIES)
    (new / "run/sshd").mkdir(exist_ok=True)
    yield new, report
    shutil.rmtree(place)


def test_the_users_are_sound(machine: tuple[Path, EtcReport]) -> None:
    root, _ = machine
    shipped = debian_root(NEW)
    for tool in ("pwck", "grpck"):
        done = [run([tool, "-q", "-r", "-R", one], expected=range(3)) for one in (root, shipped)]
        assert done[0].returncode == done[1].returncode, done[0].stdout


def test_the_local_users_are_as_they_were(machine: tuple[Path, EtcReport]) -> None:
    root, _ = machine
    assert "groups=" in (said := within(root, "id alice"))
    assert "(sudo)" in said
    assert "backupd" in within(root, "getent passwd backupd")
    for name in ("alice", "root"):
        assert within(root, f"getent shadow {name}").split(":")[1] == PASSWORD_HASH
    assert within(root, "su alice --command 'id --user --name'").strip() == "alice"


def test_every_user_of_the_image_is_there_or_reported(machine: tuple[Path, EtcReport]) -> None:
    root, report = machine
    told = " ".join(one.detail for one in report.conflicts if one.kind is ConflictKind.ACCOUNT)
    for database in ("passwd", "group"):
        names = [line.split(":")[0] for line in _lines(debian_root(NEW), database)]
        here = {line.split(":")[0] for line in _lines(root, database)}
        assert {name for name in names if name not in here and f"'{name}'" not in told} == set()


def test_sshd_takes_its_configuration(machine: tuple[Path, EtcReport]) -> None:
    root, report = machine
    within(root, "sshd -t")
    settings = within(root, "sshd -T")
    assert "permitrootlogin no\n" in settings
    assert "/etc/ssh/sshd_config" not in {one.path for one in report.conflicts}


def test_what_the_boot_would_start_is_sound(machine: tuple[Path, EtcReport]) -> None:
    root, _ = machine
    wanted = root / "etc/systemd/system/multi-user.target.wants"
    broken = root / "etc/systemd/system/broken.service"
    verify = "systemd-analyze verify --man=no default.target "
    # Of what a target wants it only looks at the syntax, so each enabled unit is named too.
    enabled = " ".join(sorted({path.name for path in root.glob("etc/systemd/system/*.wants/*")}))
    run(["mount", "--bind", "/proc", root / "proc"])
    try:
        within(root, verify + enabled)
        broken.write_text("[Service]\nExecStart=/no/such\n")
        assert "/no/such" in within(root, verify + "broken.service", status=1)
    finally:
        broken.unlink(missing_ok=True)
        run(["umount", root / "proc"])
    assert (wanted / "systemd-networkd.service").is_symlink()
    assert not (wanted / "cron.service").is_symlink()


def test_what_was_edited_and_deleted_stays_so(machine: tuple[Path, EtcReport]) -> None:
    root, _ = machine
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


def test_what_nobody_touched_is_the_new_version(machine: tuple[Path, EtcReport]) -> None:
    root, _ = machine
    shipped = debian_root(NEW) / "etc"
    assert (root / "etc/debian_version").read_text().startswith("13")
    for name in ("login.defs", "sudoers", "bash.bashrc", "nanorc"):
        assert (root / "etc" / name).read_bytes() == (shipped / name).read_bytes(), name


def _lines(root: Path, database: str) -> list[str]:
    return (root / "etc" / database).read_text().splitlines()
