"""Deciding, putting back and looking at many paths of /etc at once, beforehand, and on a disk."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.images import build_oci_layout, entry, tar_layer
from support.machine import Machine, image_files, installed, publish
from support.tree_facts import tree_facts

from bootd.cli.main import main
from bootd.cli.render.etc import render_change, render_conflicts, render_report
from bootd.cli.style import Style
from bootd.durable import Disk
from bootd.model.config import EtcSettings
from bootd.model.deployment import DeploymentId
from bootd.model.errors import InvalidArgumentError, NoSuchDeploymentError
from bootd.model.etc.report import ChangeKind, ConflictKind
from bootd.operations.etc_change import reset, resolve, restore
from bootd.operations.etc_copies import copies
from bootd.operations.etc_preview import preview
from bootd.operations.etc_views import conflicts, diff
from bootd.operations.machine.message_of_the_day import UNDECIDED_NAME, message_file
from bootd.operations.progress import Silent
from bootd.operations.rollback import rollback
from bootd.operations.status import status

NAMES = ("etc/d/a", "etc/d/b", "etc/e/c", "etc/[x]")
SHORT = Style(full=False)


def files(text: str) -> dict[str, bytes | str | None]:
    return {"etc/d/": None, "etc/e/": None, **{name: f"{text}\n".encode() for name in NAMES}}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine that runs v3 and disagrees with it about four files."""
    machine = installed(tmp_path_factory.mktemp("original"))
    publish(machine.image, "v2", **files("old"))
    machine.upgrade()
    etc = machine.etc(machine.reboot())
    for name in NAMES:
        (etc.parent / name).write_text("mine\n")
    publish(machine.image, "v3", **files("new"))
    machine.upgrade()
    machine.reboot()
    return machine


@pytest.fixture
def machine(original: Machine, tmp_path: Path) -> Machine:
    copy = original.copy(tmp_path / "root", Disk())
    copy.image = shutil.copytree(original.image, tmp_path / "image")
    return copy


def etc_of(machine: Machine) -> Path:
    booted = machine.sysroot.booted()
    assert booted is not None
    return machine.etc(booted)


def texts(machine: Machine) -> list[str]:
    return [(etc_of(machine).parent / name).read_text().strip() for name in NAMES]


def undecided(machine: Machine) -> list[str]:
    return [one.conflict.path for one in conflicts(machine.host).open]


def test_nothing_is_said_where_the_boot_entries_are_not_seen(machine: Machine):
    """Which ``/etc`` is the one in use is not known while the boot partition is not mounted."""
    machine.sysroot.command_line.unlink()
    assert undecided(machine) == [f"/{name}" for name in sorted(NAMES)]
    shutil.rmtree(machine.sysroot.boot / "loader")
    with pytest.raises(NoSuchDeploymentError, match="boots next is not known") as raised:
        undecided(machine)
    assert "mount the boot partition" in raised.value.hint


@pytest.mark.parametrize(
    ("paths", "after"),
    [
        (["/etc/d"], ["new", "new", "mine", "mine"]),
        (["/etc/*/[ac]"], ["new", "mine", "new", "mine"]),
        (["/etc/e/c", "/etc/d/b"], ["mine", "new", "new", "mine"]),
        (["/etc/d/a", "/etc/d", "/etc/d/*"], ["new", "new", "mine", "mine"]),
        (["/etc/[x]"], ["mine", "mine", "mine", "new"]),
        (["/etc/**"], ["new"] * 4),
        (["/etc"], ["new"] * 4),
    ],
)
def test_several_paths_are_decided_at_once_and_that_undone(machine: Machine, paths, after) -> None:
    done = resolve(machine.host, Silent(), path=paths[0], also=paths[1:], choice="theirs")
    assert texts(machine) == after
    stay = [f"/{name}" for name, text in zip(NAMES, after, strict=True) if text == "mine"]
    assert undecided(machine) == sorted(stay)
    assert sorted(done.decided) == done.changed
    assert done.kept_as is not None
    restore(machine.host, Silent(), copy=done.kept_as)
    assert texts(machine) == ["mine"] * 4
    assert sorted(undecided(machine)) == sorted(f"/{name}" for name in NAMES)


def test_of_an_undone_answer_only_what_is_undone_is_asked_again(machine: Machine) -> None:
    kept = resolve(machine.host, Silent(), path="/etc/d", choice="theirs").kept_as
    assert kept is not None
    restore(machine.host, Silent(), copy=kept, paths=["/etc/d/b"])
    assert "/etc/d/b" in undecided(machine)
    assert "/etc/d/a" not in undecided(machine)
    [again] = [one for one in conflicts(machine.host).open if one.conflict.path == "/etc/d/b"]
    assert "-old\n+mine\n" in again.diff_mine


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["/etc/d", "/etc/hostname"], "nothing is undecided at /etc/hostname"),
        (["/etc/d/*", "/etc/zz*"], "nothing is undecided at /etc/zz"),
        (["/etc/d", "/var/log"], "no path below /etc"),
        (["/etc/d", "/etc/../d"], "no path below /etc"),
        (["/etc/d", "/etc/[z-a]"], "nothing is undecided"),
        (["/etc/d", "/etc/*/*/*/*/*"], "more than 4 stars"),
    ],
)
def test_all_are_decided_or_none(machine: Machine, paths, message) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        resolve(machine.host, Silent(), path=paths[0], also=paths[1:], choice="theirs")
    assert texts(machine) == ["mine"] * 4
    assert len(undecided(machine)) == 4
    assert copies(machine.host).copies == []


def test_a_folder_that_goes_takes_the_older_questions_below_it_along(machine: Machine) -> None:
    labels = {"org.opencontainers.image.version": "v4"}
    tree = {**image_files("v4"), **files("new"), "etc/d": "e"}
    for name in ("etc/d/", "etc/d/a", "etc/d/b"):
        del tree[name]
    build_oci_layout(machine.image, [tar_layer(tree)], labels=labels)
    machine.upgrade()
    machine.reboot()
    kinds = {one.conflict.path: one.conflict.kind for one in conflicts(machine.host).open}
    assert kinds["/etc/d"] is ConflictKind.TYPE
    resolve(machine.host, Silent(), path="/etc/**", choice="theirs")
    assert (etc_of(machine) / "d").readlink() == Path("e")
    assert undecided(machine) == []
    (etc_of(machine) / "d").unlink()
    (etc_of(machine) / "d").mkdir()
    (etc_of(machine) / "d/x").write_text("x\n")
    done = reset(machine.host, Silent(), paths=["/etc/d/x", "/etc/d"])
    assert ((etc_of(machine) / "d").readlink(), done.removed) == (Path("e"), ["/etc/d/x"])


def test_users_stay_undecided_when_a_pattern_takes_the_image_s(tmp_path: Path) -> None:
    machine = installed(tmp_path)
    users = {"etc/passwd": b"root:x:0:0::/:/bin/sh\n", "etc/group": b"root:x:0:\n"}
    publish(machine.image, "v2", **users, **{"etc/z": b"old\n"})
    machine.upgrade()
    etc = machine.etc(machine.reboot())
    (etc / "passwd").write_text("root:x:0:0::/:/bin/mine\n")
    (etc / "z").write_text("mine\n")
    users["etc/passwd"] = b"root:x:0:0::/:/bin/theirs\n"
    publish(machine.image, "v3", **users, **{"etc/z": b"new\n"})
    machine.upgrade()
    etc = machine.etc(machine.reboot())
    with pytest.raises(InvalidArgumentError, match="useradd"):
        resolve(machine.host, Silent(), path="/etc/pass*", choice="theirs")
    done = resolve(machine.host, Silent(), path="/etc/**", choice="theirs")
    assert (done.changed, done.undecided) == (["/etc/z"], ["/etc/passwd"])
    assert "/etc/passwd stays undecided" in render_change(done, SHORT)
    assert undecided(machine) == ["/etc/passwd"]
    assert "/bin/mine" in (etc / "passwd").read_text()


DRY_RUNS: dict[str, Callable[[Machine, bool], object]] = {
    "reset": lambda machine, dry: reset(
        machine.host, Silent(), paths=["/etc/d", "/etc/hostname"], dry_run=dry
    ),
    "theirs": lambda machine, dry: resolve(
        machine.host, Silent(), path="/etc/**", choice="theirs", dry_run=dry
    ),
    "mine": lambda machine, dry: resolve(
        machine.host, Silent(), path="/etc/d", choice="mine", dry_run=dry
    ),
    "restore": lambda machine, dry: restore(
        machine.host, Silent(), copy=copies(machine.host).copies[0].name, dry_run=dry
    ),
}


@pytest.mark.parametrize("verb", DRY_RUNS)
def test_a_dry_run_says_what_is_done_then_and_changes_nothing(machine: Machine, verb: str) -> None:
    (etc_of(machine) / "d/only-here").write_text("x\n")
    (etc_of(machine) / "gone").write_text("x\n")
    reset(machine.host, Silent(), paths=["/etc/gone"])
    before = tree_facts(machine.folder)
    told = DRY_RUNS[verb](machine, True)
    assert tree_facts(machine.folder) == before
    done = DRY_RUNS[verb](machine, False)
    assert told.dry_run
    assert told.kept_as is None
    for name in ("decided", "changed", "removed", "skipped", "more_changed"):
        assert getattr(told, name) == getattr(done, name), name
    assert told.decided or told.changed
    assert "Would" in render_change(told, SHORT)
    assert "Would" not in render_change(done, SHORT)


def test_a_path_in_a_folder_that_is_one_question_shows_that(machine: Machine) -> None:
    tree = {**image_files("v4"), **files("new"), "etc/d": "e"}
    for name in ("etc/d/", "etc/d/a", "etc/d/b"):
        del tree[name]
    build_oci_layout(machine.image, [tar_layer(tree)])
    machine.upgrade()
    machine.reboot()
    named = ["/etc/d/nothing"]
    assert [one.conflict.path for one in conflicts(machine.host, named).open] == ["/etc/d"]
    assert [one.path for one in diff(machine.host, named).changes] == ["/etc/d"]
    with pytest.raises(InvalidArgumentError, match="nothing is undecided"):
        resolve(machine.host, Silent(), path=named[0], choice="theirs")
    shutil.rmtree(etc_of(machine) / "e")
    assert [one.path for one in diff(machine.host, ["/etc/e/c"]).changes] == ["/etc/e"]


def test_one_path_has_one_question(machine: Machine) -> None:
    """A file here that is a folder there is not still a text that differs."""
    tree = {**image_files("v4"), **files("new"), "etc/e/c/": None, "etc/e/c/x": b"x\n"}
    del tree["etc/e/c"]
    build_oci_layout(machine.image, [tar_layer(tree)])
    machine.upgrade()
    machine.reboot()
    found = conflicts(machine.host, ["/etc/e/c"]).open
    assert [one.conflict.kind for one in found] == [ConflictKind.TYPE]
    (etc_of(machine) / "e/c").unlink()
    (etc_of(machine) / "e/c").mkdir()
    (etc_of(machine) / "e/c/other").write_text("mine\n")
    assert "/etc/e/c" not in undecided(machine)


def test_a_question_about_a_folder_s_mode_is_about_its_mode(machine: Machine) -> None:
    etc = etc_of(machine)
    (etc / "d").chmod(0o700)
    with_mode = [(entry("etc/d", tarfile.DIRTYPE, mode=0o750), b"")]
    tree = {**image_files("v4"), **files("new")}
    del tree["etc/d/"]
    layers = [tar_layer({"etc/": None}), tar_layer(with_mode), tar_layer(tree)]
    build_oci_layout(machine.image, layers)
    machine.upgrade()
    machine.reboot()
    assert "/etc/d" in undecided(machine)
    (etc_of(machine) / "d").chmod(0o750)
    assert undecided(machine) == sorted(f"/{name}" for name in NAMES)


def test_views_are_of_the_paths_that_are_named(machine: Machine) -> None:
    everything = conflicts(machine.host)
    some = conflicts(machine.host, ["/etc/d", "/etc/e/*"])
    assert [one.conflict.path for one in some.open] == ["/etc/d/a", "/etc/d/b", "/etc/e/c"]
    assert (some.reports, bool(everything.reports)) == ({}, True)
    assert [one.path for one in diff(machine.host, ["/etc/host*"]).changes] == ["/etc/hostname"]
    assert diff(machine.host, ["/etc/nothing"]).changes == []
    with pytest.raises(InvalidArgumentError, match="below /etc"):
        diff(machine.host, ["/home"])


def test_what_is_undecided_is_a_line_a_path(machine: Machine) -> None:
    everything = conflicts(machine.host)
    short = render_conflicts(everything, SHORT)
    assert [line.split(":")[0] for line in short.splitlines()[1:5]] == [
        f"  /{name}" for name in sorted(NAMES)
    ]
    assert "+mine" not in short
    assert "+mine" in render_conflicts(everything, Style())
    many = everything.model_copy(
        update={
            "open": [
                everything.open[0].model_copy(
                    update={
                        "conflict": everything.open[0].conflict.model_copy(
                            update={"path": f"/etc/{number}"}
                        )
                    }
                )
                for number in range(900)
            ]
        }
    )
    assert len(render_conflicts(many, SHORT).splitlines()) < 30
    assert "and 880 more" in render_conflicts(many, SHORT)
    both = [
        one.model_copy(update={"deployment": DeploymentId("0" * 16 + ".0")}) for one in many.open
    ]
    twice = many.model_copy(update={"open": [*many.open, *both]})
    assert len(render_conflicts(twice, SHORT).splitlines()) <= 40


def test_a_preview_names_what_comes_changes_and_goes(machine: Machine) -> None:
    (etc_of(machine) / "own").write_text("mine\n")
    (etc_of(machine) / "e/c").write_text("new\n")
    tree = {**image_files("v4"), **files("new"), "etc/e/c": b"newer\n", "etc/new/": None}
    tree |= {"etc/new/x": b"x\n", "etc/link": "app.conf"}
    del tree["etc/motd"]
    build_oci_layout(machine.image, [tar_layer(tree)])
    machine.upgrade()
    before = tree_facts(machine.folder)
    report = preview(machine.host, Silent())
    assert tree_facts(machine.folder) == before
    assert {one.path: one.kind for one in report.changes} == {
        "/etc/app.conf": ChangeKind.CONTENT,
        "/etc/e/c": ChangeKind.CONTENT,
        "/etc/link": ChangeKind.CONTENT,
        "/etc/motd": ChangeKind.REMOVED,
        "/etc/new": ChangeKind.ADDED,
        "/etc/new/x": ChangeKind.ADDED,
    }
    then = tree_facts(etc_of(machine))
    machine.reboot()
    now = tree_facts(etc_of(machine))
    content = {
        f"/etc/{path}"
        for path in then.keys() | now.keys()
        if path not in then
        or path not in now
        or (then[path].content, then[path].target) != (now[path].content, now[path].target)
    }
    assert content == {one.path for one in report.changes}
    lots = report.model_copy(update={"changes": report.changes * 50})
    assert len(render_report(lots, SHORT).splitlines()) < 30
    assert len(render_report(lots, Style()).splitlines()) > 300


def test_logins_are_told_what_is_undecided(machine: Machine) -> None:
    message = message_file(machine.sysroot, UNDECIDED_NAME)
    assert message.read_text() == (
        "4 conflicts in /etc are undecided. 'bootctl-py etc conflicts' lists what.\n"
    )
    resolve(machine.host, Silent(), path="/etc/d", choice="mine", dry_run=True)
    assert message.read_text().startswith("4 ")
    resolve(machine.host, Silent(), path="/etc/d", choice="mine")
    assert message.read_text().startswith("2 conflicts")
    kept = resolve(machine.host, Silent(), path="/etc/e", choice="theirs").kept_as
    assert message.read_text().startswith("1 conflict in /etc is undecided.")
    resolve(machine.host, Silent(), path="/etc/**", choice="mine")
    assert not message.exists()
    assert kept is not None
    restore(machine.host, Silent(), copy=kept)
    assert message.read_text().startswith("1 conflict")
    settings = EtcSettings.model_validate({"security": ["/etc/d/**"]})
    machine.configuration = machine.configuration.model_copy(update={"etc": settings})
    (etc_of(machine) / "d/a").write_text("again\n")
    publish(machine.image, "v4", **files("newer"))
    machine.upgrade()
    machine.reboot()
    assert ", 2 of them about security" in message.read_text()


@pytest.fixture
def rescued(machine: Machine) -> Machine:
    """The same disk, mounted by a system that is none of bootd's."""
    shutil.rmtree(machine.folder / "run")
    shutil.rmtree(machine.folder / "proc")
    assert machine.sysroot.booted() is None
    return machine


def say(capsys: pytest.CaptureFixture[str], machine: Machine, *words: str) -> dict[str, object]:
    capsys.readouterr()
    assert main([*words, "--sysroot", str(machine.folder), "--json=short"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return document


def test_every_verb_works_on_a_disk(
    rescued: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    [current] = [one.id for one in status(rescued.host).deployments if one.next_boot]
    etc = rescued.etc(current)
    others = {one.id for one in status(rescued.host).deployments} - {current}
    before = {one: tree_facts(rescued.etc(one)) for one in others}

    assert len(say(capsys, rescued, "etc", "conflicts")["open"]) == 4
    assert len(say(capsys, rescued, "etc", "conflicts", "/etc/d")["open"]) == 2
    listed = say(capsys, rescued, "etc", "diff", "/etc/e")["changes"]
    assert [one["path"] for one in listed] == ["/etc/e/c"]
    told = say(capsys, rescued, "etc", "resolve", "/etc/d", "/etc/e", "theirs", "--dry-run")
    assert told["changed"] == ["/etc/d/a", "/etc/d/b", "/etc/e/c"]
    assert (etc / "d/a").read_text() == "mine\n"
    done = say(capsys, rescued, "etc", "resolve", "/etc/d", "/etc/e", "theirs")
    assert (etc / "d/a").read_text() == "new\n"
    say(capsys, rescued, "etc", "restore", str(done["kept_as"]), "/etc/e")
    assert (etc / "e/c").read_text() == "mine\n"
    monkeypatch.setenv("VISUAL", "sed -i -e '/^[<=>|]/d' -e s/old/both/")
    say(capsys, rescued, "etc", "resolve", "/etc/e/c", "edit")
    assert (etc / "e/c").read_text() == "mine\nboth\nnew\n"
    say(capsys, rescued, "etc", "reset", "/etc/hostname", "--offline")
    assert (etc / "hostname").read_text() == "default\n"
    assert len(say(capsys, rescued, "etc", "copies")["copies"]) == 4
    assert {one: tree_facts(rescued.etc(one)) for one in others} == before
    assert not message_file(rescued.sysroot, UNDECIDED_NAME).exists()


def test_a_preview_works_on_a_disk(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    publish(machine.image, "v4", **files("newer"))
    machine.upgrade()
    shutil.rmtree(machine.folder / "run")
    shutil.rmtree(machine.folder / "proc")
    paths = [one["path"] for one in say(capsys, machine, "etc", "preview")["changes"]]
    assert paths == ["/etc/app.conf", "/etc/motd"]


def test_after_going_back_a_disk_s_etc_is_the_one_that_boots_next(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = machine.sysroot.booted()
    older = rollback(machine.host, Silent()).deployment
    assert newer is not None
    shutil.rmtree(machine.folder / "run")
    shutil.rmtree(machine.folder / "proc")
    say(capsys, machine, "etc", "reset", "/etc/hostname")
    assert (machine.etc(older) / "hostname").read_text() == "default\n"
    assert (machine.etc(newer) / "hostname").read_text() == "my-machine\n"


def test_without_its_boot_partition_a_disk_says_what_is_missing(
    rescued: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(rescued.folder / "boot/loader/entries")
    assert main(["etc", "reset", "/etc/hostname", "--sysroot", str(rescued.folder)]) != 0
    assert "mount the boot partition there" in capsys.readouterr().err


def test_one_text_at_a_time_is_edited(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["etc", "resolve", "/etc/d/a", "/etc/d/b", "edit"]
    assert main([*words, "--sysroot", str(machine.folder)]) == 2
    assert "one path at a time" in capsys.readouterr().err
    with pytest.raises(InvalidArgumentError, match="one path at a time"):
        resolve(machine.host, Silent(), path="/etc/d", choice="edit", content="")
