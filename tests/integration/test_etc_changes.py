"""What an administrator does about /etc: look, decide, put back, restore, carry along."""

from __future__ import annotations

import base64
import os
import shutil
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.images import build_oci_layout, tar_layer
from support.machine import Machine, image_files, installed, publish

from bootd.cli.render.etc import render_change, render_conflicts
from bootd.cli.style import Style
from bootd.clock import Clock
from bootd.model.config import Configuration, EtcSettings
from bootd.model.deployment import DeploymentId
from bootd.model.errors import InvalidArgumentError, NothingStagedError
from bootd.model.etc.change import CopyReason
from bootd.model.etc.report import ConflictKind, NoteKind
from bootd.operations.collect import collect
from bootd.operations.etc_change import reset, resolve, restore
from bootd.operations.etc_copies import copies
from bootd.operations.etc_preview import preview
from bootd.operations.etc_views import conflicts, diff, versions
from bootd.operations.finalize import finalize
from bootd.operations.host import Host
from bootd.operations.machine.staged import unstage
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent
from bootd.operations.rollback import rollback
from bootd.operations.stage import stage
from bootd.operations.status import status
from bootd.process import run

TEXT = "".join(f"line {number}\n" for number in range(20))


@dataclass(frozen=True)
class LaterClock(Clock):
    """A clock that is some days ahead."""

    days: int = 0

    def now(self):
        return super().now() + timedelta(days=self.days)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return installed(tmp_path)


def etc_of(machine: Machine) -> Path:
    booted = machine.sysroot.booted()
    assert booted is not None
    return machine.etc(booted)


def clashing(machine: Machine, **more: bytes | str | None) -> DeploymentId:
    """Boot v2, which changed a file that was changed here too."""
    (etc_of(machine) / "app.conf").write_text("setting = mine\n")
    publish(machine.image, "v2", **more)
    machine.upgrade()
    return machine.reboot()


def test_a_conflict_is_open_until_it_is_decided(machine: Machine) -> None:
    second = clashing(machine)
    [one] = conflicts(machine.host).open
    assert (one.deployment, one.conflict.path) == (second, "/etc/app.conf")
    assert "-setting = v1\n+setting = mine\n" in one.diff_mine
    assert "-setting = v1\n+setting = v2\n" in one.diff_theirs
    assert status(machine.host).deployments[0].etc_conflicts == 1

    done = resolve(machine.host, Silent(), path="/etc/app.conf", choice="mine")

    assert (done.changed, done.kept_as) == ([], None)
    assert conflicts(machine.host).open == []
    assert status(machine.host).deployments[0].etc_conflicts == 0
    assert (machine.etc(second) / "app.conf").read_text() == "setting = mine\n"


def test_theirs_can_be_taken_and_undone(machine: Machine) -> None:
    second = clashing(machine)
    path = machine.etc(second) / "app.conf"
    path.chmod(0o640)

    done = resolve(machine.host, Silent(), path="/etc/app.conf", choice="theirs")

    assert done.changed == ["/etc/app.conf"]
    assert (path.read_text(), path.stat().st_mode & 0o7777) == ("setting = v2\n", 0o640)
    assert conflicts(machine.host).open == []
    assert done.kept_as is not None
    restore(machine.host, Silent(), copy=done.kept_as)
    assert path.read_text() == "setting = mine\n"


def test_a_conflict_can_be_decided_in_an_editor(machine: Machine) -> None:
    second = clashing(machine)
    found = versions(machine.host, "/etc/app.conf")
    assert base64.b64decode(found.mine) == b"setting = mine\n"
    marked = base64.b64decode(found.marked).decode()
    assert "<<<<<<< /etc/app.conf here\nsetting = mine\n" in marked
    content = base64.b64encode(b"setting = both\n").decode()

    resolve(machine.host, Silent(), path="/etc/app.conf", choice="edit", content=content)

    assert (machine.etc(second) / "app.conf").read_text() == "setting = both\n"
    assert conflicts(machine.host).open == []


def test_an_undecided_conflict_goes_on_with_the_base_it_had(machine: Machine) -> None:
    clashing(machine)
    publish(machine.image, "v3", **{"etc/app.conf": b"setting = v2\n"})
    machine.upgrade()
    third = machine.reboot()
    publish(machine.image, "v4")
    machine.upgrade()
    fourth = machine.reboot()
    collect(machine.host, Silent())
    [one] = conflicts(machine.host).open
    assert (third != fourth, one.deployment) == (True, fourth)
    assert "-setting = v1\n+setting = mine\n" in one.diff_mine
    assert "-setting = v1\n+setting = v4\n" in one.diff_theirs


def test_an_undecided_conflict_ends_when_both_agree(machine: Machine) -> None:
    second = clashing(machine)
    (machine.etc(second) / "app.conf").write_text("setting = v2\n")
    assert conflicts(machine.host).open == []
    publish(machine.image, "v3")
    machine.upgrade()
    third = machine.reboot()
    assert status(machine.host).deployments[0].etc_conflicts == 0
    assert (machine.etc(third) / "app.conf").read_text() == "setting = v3\n"


def test_what_is_staged_shows_its_conflicts_before_it_boots(machine: Machine) -> None:
    (etc_of(machine) / "app.conf").write_text("setting = mine\n")
    staged = machine.upgrade()
    [one] = conflicts(machine.host).open
    assert one.deployment == staged
    assert "+setting = v2\n" in one.diff_theirs


@pytest.mark.parametrize(
    ("here", "there", "kind", "after"),
    [
        (
            lambda path: path.unlink(),
            b"setting = v2\n",
            ConflictKind.DELETED_HERE,
            "setting = v2\n",
        ),
        (lambda path: path.write_text("x"), None, ConflictKind.DELETED_THERE, None),
        (
            lambda path: (path.unlink(), path.mkdir(), (path / "f").write_text("f")),
            b"setting = v2\n",
            ConflictKind.TYPE,
            "setting = v2\n",
        ),
    ],
    ids=["deleted here", "deleted there", "another type"],
)
def test_theirs_of_every_kind(machine: Machine, here, there, kind, after) -> None:
    here(etc_of(machine) / "app.conf")
    files = {"etc/app.conf": there}
    if there is None:
        files = {"etc/other": b"the file is gone\n"}
        publish_without(machine, "etc/app.conf")
    else:
        publish(machine.image, "v2", **files)
    machine.upgrade()
    second = machine.reboot()
    [one] = conflicts(machine.host).open
    assert one.conflict.kind is kind
    done = resolve(machine.host, Silent(), path="/etc/app.conf", choice="theirs")
    path = machine.etc(second) / "app.conf"
    assert (path.read_text() if path.exists() else None) == after
    assert done.kept_as is not None
    restore(machine.host, Silent(), copy=done.kept_as)
    assert path.is_dir() == (kind is ConflictKind.TYPE)
    assert path.exists() != (kind is ConflictKind.DELETED_HERE)


def publish_without(machine: Machine, name: str) -> None:
    files = image_files("v2")
    del files[name]
    labels = {"org.opencontainers.image.version": "v2"}
    build_oci_layout(machine.image, [tar_layer(files)], labels=labels)


@pytest.mark.parametrize(
    ("path", "choice", "content", "message"),
    [
        ("/etc/motd", "mine", "", "nothing is undecided"),
        ("/etc/app.conf", "yours", "", "decides nothing"),
        ("/etc/app.conf", "edit", "?", "not in base64"),
        ("/etc/app.conf", "edit", base64.b64encode(b"x" * 600_000).decode(), "more than"),
    ],
)
def test_what_cannot_be_decided_is_said(machine: Machine, path, choice, content, message) -> None:
    second = clashing(machine)
    with pytest.raises(InvalidArgumentError, match=message):
        resolve(machine.host, Silent(), path=path, choice=choice, content=content)
    assert (machine.etc(second) / "app.conf").read_text() == "setting = mine\n"
    assert len(conflicts(machine.host).open) == 1


def test_users_are_not_decided_as_files(machine: Machine) -> None:
    passwd = b"root:x:0:0::/:/bin/sh\n"
    more = {"etc/passwd": passwd, "etc/group": b"root:x:0:\n"}
    publish(machine.image, "v1b", **more)
    machine.upgrade()
    machine.reboot()
    (etc_of(machine) / "passwd").write_bytes(passwd.replace(b"/bin/sh", b"/bin/mine"))
    more["etc/passwd"] = passwd.replace(b"/bin/sh", b"/bin/theirs")
    publish(machine.image, "v2", **more)
    machine.upgrade()
    machine.reboot()
    [one] = conflicts(machine.host).open
    assert one.conflict.kind is ConflictKind.ACCOUNT
    with pytest.raises(InvalidArgumentError, match="useradd"):
        resolve(machine.host, Silent(), path="/etc/passwd", choice="theirs")
    with pytest.raises(InvalidArgumentError, match="would be gone"):
        reset(machine.host, Silent(), paths=["/etc/passwd"])
    resolve(machine.host, Silent(), path="/etc/passwd", choice="mine")
    assert conflicts(machine.host).open == []


def test_paths_can_be_put_back_and_that_undone(machine: Machine) -> None:
    etc = etc_of(machine)
    (etc / "motd").unlink()
    (etc / "link").unlink()
    (etc / "link").mkdir()
    (etc / "link/inside").write_text("inside\n")
    (etc / "app.conf").chmod(0o600)
    before = sorted(change.path for change in diff(machine.host).changes)
    names = ["motd", "link", "app.conf", "hostname", "local.conf"]

    done = reset(machine.host, Silent(), paths=[f"/etc/{name}" for name in names])

    assert sorted(done.changed) == sorted(f"/etc/{name}" for name in names)
    assert diff(machine.host).changes == []
    assert (etc / "link").readlink() == Path("hostname")
    assert done.kept_as is not None
    [copy] = copies(machine.host).copies
    assert (copy.name, copy.reason) == (done.kept_as, CopyReason.RESET)
    restore(machine.host, Silent(), copy=done.kept_as)
    assert sorted(change.path for change in diff(machine.host).changes) == before
    assert (etc / "link/inside").read_text() == "inside\n"
    assert not (etc / "motd").exists()


def test_only_some_of_a_copy_can_be_restored(machine: Machine) -> None:
    etc = etc_of(machine)
    done = reset(machine.host, Silent(), paths=["/etc/hostname", "/etc/local.conf"])
    assert done.kept_as is not None
    restore(machine.host, Silent(), copy=done.kept_as, paths=["/etc/hostname"])
    assert (etc / "hostname").read_text() == "my-machine\n"
    assert not (etc / "local.conf").exists()
    with pytest.raises(InvalidArgumentError, match="nothing at"):
        restore(machine.host, Silent(), copy=done.kept_as, paths=["/etc/motd"])
    for name in ("nothing", "../x", f"{machine.sysroot.booted()}-9"):
        with pytest.raises(InvalidArgumentError, match="there is no copy"):
            restore(machine.host, Silent(), copy=name)


def test_a_folder_is_put_back_with_what_is_in_it(machine: Machine) -> None:
    folder = {"etc/d/": None, "etc/d/a": b"a\n", "etc/d/e/": None, "etc/d/e/b": b"b\n"}
    publish(machine.image, "v2", **folder)
    machine.upgrade()
    etc = machine.etc(machine.reboot())
    shutil.rmtree(etc / "d/e")
    (etc / "d/new").write_text("new\n")
    (etc / "d").chmod(0o700)
    reset(machine.host, Silent(), paths=["/etc/d"])
    assert (etc / "d/e/b").read_text() == "b\n"
    assert not (etc / "d/new").exists()
    shutil.rmtree(etc / "d")
    reset(machine.host, Silent(), paths=["/etc/d/e/b"])
    assert sorted(path.name for path in etc.glob("d/**/*")) == ["b", "e"]


def test_what_is_as_shipped_needs_no_copy(machine: Machine) -> None:
    done = reset(machine.host, Silent(), paths=["/etc/motd"])
    assert (done.changed, done.kept_as) == ([], None)
    assert copies(machine.host).copies == []


@pytest.mark.parametrize(
    "path", ["/etc", "/etc/", "/usr/etc/x", "etc/x", "/etc/../etc/x", "/etc//x", "/etc/\\x", ""]
)
def test_no_path_below_etc_is_refused(machine: Machine, path: str) -> None:
    with pytest.raises(InvalidArgumentError):
        reset(machine.host, Silent(), paths=[path])


def test_nothing_is_put_back_through_a_link(machine: Machine, tmp_path: Path) -> None:
    publish(machine.image, "v2", **{"etc/d/": None, "etc/d/a": b"a\n"})
    machine.upgrade()
    etc = machine.etc(machine.reboot())
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.rmtree(etc / "d")
    (etc / "d").symlink_to(outside)
    with pytest.raises(InvalidArgumentError, match="/etc/d is a symbolic link here"):
        reset(machine.host, Silent(), paths=["/etc/d/a"])
    assert (etc / "d").is_symlink()
    done = reset(machine.host, Silent(), paths=["/etc/d"])
    assert list(outside.iterdir()) == []
    assert (etc / "d/a").read_text() == "a\n"
    assert done.changed == ["/etc/d"]
    (etc / "d/a").write_text("mine\n")
    kept = reset(machine.host, Silent(), paths=["/etc/d/a"]).kept_as
    assert kept is not None
    shutil.rmtree(etc / "d")
    (etc / "d").write_text("a file\n")
    with pytest.raises(InvalidArgumentError, match="/etc/d is no folder here"):
        restore(machine.host, Silent(), copy=kept)
    assert (etc / "d").read_text() == "a file\n"


def test_what_a_change_removes_is_named(machine: Machine) -> None:
    publish(machine.image, "v2", **{"etc/d/": None, "etc/d/a": b"a\n"})
    machine.upgrade()
    etc = machine.etc(machine.reboot())
    (etc / "d/key").write_text("only here\n")
    (etc / "d/below").mkdir()
    (etc / "d/below/file").write_text("only here\n")
    (etc / "d/a").write_text("mine\n")
    done = reset(machine.host, Silent(), paths=["/etc/d"])
    assert done.removed == ["/etc/d/below", "/etc/d/below/file", "/etc/d/key"]
    assert "Removed /etc/d/key" in render_change(done, Style())
    assert "Changed /etc/d/key" not in render_change(done, Style())


def test_a_whole_copy_brings_no_old_users_back(machine: Machine) -> None:
    users = {"etc/passwd": b"root:x:0:0::/:/bin/sh\n"}
    publish(machine.image, "v2", **users)
    machine.upgrade()
    etc = machine.etc(machine.reboot())
    with (etc / "passwd").open("a") as stream:
        stream.write("old:x:1000:1000::/:/bin/sh\n")
    (etc / "note").write_text("then\n")
    rollback(machine.host, Silent())
    machine.power_on()
    publish(machine.image, "v3", **users)
    machine.upgrade()
    etc = machine.etc(machine.reboot())
    with (etc / "passwd").open("a") as stream:
        stream.write("new:x:1001:1001::/:/bin/sh\n")
    collect(machine.host, Silent())
    [copy] = copies(machine.host).copies
    done = restore(machine.host, Silent(), copy=copy.name)
    assert done.skipped == ["/etc/passwd"]
    assert "/etc/passwd was not put back" in render_change(done, Style())
    assert (etc / "note").read_text() == "then\n"
    assert "new:x:1001" in (etc / "passwd").read_text()
    assert "old:x:1000" not in (etc / "passwd").read_text()


@pytest.mark.parametrize("choice", ["mine", "theirs"])
def test_the_image_s_version_beside_mine_goes_with_the_decision(machine: Machine, choice) -> None:
    settings = EtcSettings.model_validate({"policy": {"/etc/app.conf": "keep-both"}})
    machine.configuration = machine.configuration.model_copy(update={"etc": settings})
    second = clashing(machine)
    beside = machine.etc(second) / "app.conf.bootd-new"
    assert beside.read_text() == "setting = v2\n"
    done = resolve(machine.host, Silent(), path="/etc/app.conf", choice=choice)
    assert not beside.exists()
    assert done.removed == ["/etc/app.conf.bootd-new"]


def test_what_is_staged_is_compared_with_what_both_sides_came_from(machine: Machine) -> None:
    clashing(machine, **{"etc/app.conf": b"setting = v2\nroot = no\n"})
    publish(machine.image, "v3", **{"etc/app.conf": b"setting = v3\nroot = no\n"})
    new = machine.upgrade()
    [staged] = [one for one in conflicts(machine.host).open if one.deployment == new]
    assert "-setting = v1\n+setting = mine\n" in staged.diff_mine
    assert "root" not in staged.diff_mine


def test_line_ends_are_visible(machine: Machine) -> None:
    (etc_of(machine) / "app.conf").write_bytes(b"setting = v1\r\nother\x0cword\n")
    machine.upgrade()
    machine.reboot()
    text = render_conflicts(conflicts(machine.host), Style())
    assert "+setting = v1\\r" in text
    assert "+other\\x0cword" in text


def three_versions(machine: Machine) -> tuple[Path, DeploymentId]:
    """Boot v2 and v3, and edit a file in each; return v3's /etc and the ID of v1."""
    first = machine.sysroot.booted()
    assert first is not None
    (machine.etc(first) / "only-here").write_text("edit of v1\n")
    machine.upgrade()
    second = machine.reboot()
    (machine.etc(second) / "only-here").unlink()
    (machine.etc(second) / "hostname").write_text("renamed\n")
    publish(machine.image, "v3")
    machine.upgrade()
    return machine.etc(machine.reboot()), first


def test_edits_that_go_with_a_deployment_are_kept_and_come_back(machine: Machine) -> None:
    etc, first = three_versions(machine)
    done = collect(machine.host, Silent())
    assert (done.deployments, done.etc_copies) == ([first], [first])
    [copy] = copies(machine.host).copies
    assert (copy.reason, copy.paths) == (
        CopyReason.COLLECTED,
        ["/etc/hostname", "/etc/only-here"],
    )
    restore(machine.host, Silent(), copy=copy.name, paths=["/etc/only-here"])
    assert (etc / "only-here").read_text() == "edit of v1\n"
    assert (etc / "hostname").read_text() == "renamed\n"


def test_edits_that_another_deployment_has_need_no_copy(machine: Machine) -> None:
    machine.upgrade()
    machine.reboot()
    publish(machine.image, "v3")
    machine.upgrade()
    machine.reboot()
    assert collect(machine.host, Silent()).etc_copies == []


def test_copies_end_with_their_time_and_the_oldest_first(machine: Machine) -> None:
    three_versions(machine)
    collect(machine.host, Silent())
    reset(machine.host, Silent(), paths=["/etc/local.conf"])
    assert len(copies(machine.host).copies) == 2
    later = replace(machine.host, clock=LaterClock(days=29))
    collect(later, Silent())
    assert len(copies(machine.host).copies) == 2
    collect(replace(machine.host, clock=LaterClock(days=31)), Silent())
    assert copies(machine.host).copies == []
    assert list(machine.sysroot.etc_copies.iterdir()) == []


def with_etc(machine: Machine, **settings: int) -> Host:
    etc = EtcSettings(**settings)
    configuration = Configuration(**{**machine.host.configuration.__dict__, "etc": etc})
    return replace(machine.host, configuration=configuration)


def test_no_copies_are_made_where_none_are_wanted(machine: Machine) -> None:
    three_versions(machine)
    done = collect(with_etc(machine, keep_days=0), Silent())
    assert len(done.deployments) == 1
    assert done.etc_copies == []
    assert reset(with_etc(machine, keep_mib=0), Silent(), paths=["/etc/hostname"]).kept_as is None


def test_copies_have_room_for_no_more_than_they_may(machine: Machine) -> None:
    etc = etc_of(machine)
    host = with_etc(machine, keep_mib=1)
    for name in ("a", "b"):
        (etc / name).write_bytes(os.urandom(700 << 10))
        reset(host, Silent(), paths=[f"/etc/{name}"])
    assert [copy.paths for copy in copies(host).copies] == [["/etc/b"]]
    (etc / "c").write_bytes(os.urandom(1_100 << 10))
    reset(host, Silent(), paths=["/etc/c"])
    assert copies(host).copies[0].left_out == ["/etc/c"]


def test_a_rollback_tells_what_stays_behind(machine: Machine) -> None:
    first = machine.sysroot.booted()
    machine.upgrade()
    second = machine.reboot()
    (machine.etc(second) / "late").write_text("late\n")
    (machine.etc(second) / "hostname").write_text("renamed\n")
    (machine.etc(second) / "local.conf").unlink()
    done = rollback(machine.host, Silent())
    assert done.deployment == first
    assert done.etc_left_behind == ["/etc/hostname", "/etc/late", "/etc/local.conf"]
    assert (machine.etc(first) / "hostname").read_text() == "my-machine\n"


def test_a_rollback_brings_edits_along(machine: Machine) -> None:
    first = machine.sysroot.booted()
    machine.upgrade()
    second = machine.reboot()
    etc = machine.etc(second)
    (etc / "late").write_text("late\n" * 100)
    (etc / "hostname").write_text("renamed\n")
    (etc / "local.conf").unlink()
    (etc / "app.conf").chmod(0o600)
    done = rollback(machine.host, Silent(), carry_etc=True)
    assert done.etc is not None
    assert (done.etc.conflicts, done.etc_left_behind) == ([], [])
    assert machine.reboot() == first
    etc = machine.etc(first)
    assert (etc / "late").read_text() == "late\n" * 100
    assert (etc / "hostname").read_text() == "renamed\n"
    assert not (etc / "local.conf").exists()
    assert (etc / "app.conf").read_text() == "setting = v1\n"
    assert (etc / "app.conf").stat().st_mode & 0o7777 == 0o600
    assert (etc / "motd").read_text().startswith("welcome to v1")
    assert done.etc_copy is not None
    restore(machine.host, Silent(), copy=done.etc_copy)
    assert (etc / "hostname").read_text() == "my-machine\n"
    assert (etc / "local.conf").exists()
    assert not (etc / "late").exists()


def test_a_rollback_with_nothing_to_bring_along_leaves_all_as_it_is(machine: Machine) -> None:
    machine.upgrade()
    machine.reboot()
    done = rollback(machine.host, Silent(), carry_etc=True)
    assert (done.etc_copy, done.etc_left_behind) == (None, [])


def test_an_image_can_be_previewed_before_it_is_staged(machine: Machine) -> None:
    (etc_of(machine) / "app.conf").write_text("setting = mine\n")
    with pytest.raises(NothingStagedError):
        preview(machine.host, Silent())
    digest = stage(machine.host, Silent()).digest
    unstage(machine.host)
    collect(machine.host, Silent())
    report = preview(machine.host, Silent(), digest=digest)
    assert [one.path for one in report.conflicts] == ["/etc/app.conf"]
    assert take_survey(machine.sysroot).staged is None
    assert preview(machine.host, Silent(), digest=digest) == report


def test_edits_after_staging_are_carried_and_told(machine: Machine) -> None:
    machine.upgrade()
    etc = etc_of(machine)
    (etc / "late").write_text("after staging\n")
    (etc / "hostname").write_text("renamed\n")
    done = finalize(machine.host, Silent())
    assert done.etc is not None
    assert [note.path for note in done.etc.notes if note.kind is NoteKind.LATE] == [
        "/etc/hostname",
        "/etc/late",
    ]
    assert (machine.etc(machine.power_on()) / "late").read_text() == "after staging\n"


def test_an_edit_of_the_older_deployment_is_not_taken_back(machine: Machine) -> None:
    """Edited after the newer one was made, it is in the older one only: that is no deletion."""
    machine.upgrade()
    second = machine.reboot()
    rollback(machine.host, Silent())
    first = machine.reboot()
    (machine.etc(first) / "later").write_text("in the older one\n")
    rollback(machine.host, Silent())
    assert machine.reboot() == second
    (machine.etc(second) / "hostname").write_text("renamed\n")
    rollback(machine.host, Silent(), carry_etc=True)
    assert machine.reboot() == first
    assert (machine.etc(first) / "later").read_text() == "in the older one\n"
    assert (machine.etc(first) / "hostname").read_text() == "renamed\n"


def test_what_is_immutable_stops_a_change_before_it_begins(machine: Machine) -> None:
    path = etc_of(machine) / "hostname"
    run(["chattr", "+i", path])
    try:
        with pytest.raises(InvalidArgumentError, match="immutable"):
            reset(machine.host, Silent(), paths=["/etc/local.conf", "/etc/hostname"])
    finally:
        run(["chattr", "-i", path])
    assert (etc_of(machine) / "local.conf").exists()
    assert copies(machine.host).copies == []


def test_an_immutable_file_does_not_keep_its_deployment(machine: Machine) -> None:
    run(["chattr", "+i", etc_of(machine) / "local.conf"])
    for version in ("v2", "v3"):
        publish(machine.image, version)
        machine.upgrade()
        machine.reboot()
    assert len(collect(machine.host, Silent()).deployments) == 1


def test_each_row_of_users_is_a_question_of_its_own(machine: Machine) -> None:
    group = b"root:x:0:\n"
    passwd = b"root:x:0:0::/:/bin/sh\nredis:x:9:0::/:/bin/sh\nkea:x:8:0::/:/bin/sh\n"
    publish(machine.image, "v1b", **{"etc/passwd": passwd, "etc/group": group})
    machine.upgrade()
    machine.reboot()
    (etc_of(machine) / "passwd").write_bytes(passwd.replace(b"/bin/sh", b"/bin/mine"))
    for name in (b"redis", b"kea"):
        start, row, rest = passwd.partition(name)
        passwd = start + row + rest.replace(b"/bin/sh", b"/bin/" + name, 1)
        publish(machine.image, "v" + name.decode(), **{"etc/passwd": passwd, "etc/group": group})
        machine.upgrade()
        machine.reboot()
    told = sorted(one.conflict.detail[:12] for one in conflicts(machine.host).open)
    assert told == ["user 'kea': ", "user 'redis'"]
