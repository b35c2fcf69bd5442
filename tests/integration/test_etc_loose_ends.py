"""Links to nowhere, and units that only a preset would enable, are told after an upgrade."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.machine import Machine, publish

from bootd.model.etc.report import NoteKind
from bootd.operations.etc_preview import preview
from bootd.operations.etc_reports import read_report
from bootd.operations.progress import Silent

SYSTEM = "usr/lib/systemd/system"
USER = "usr/lib/systemd/user"
UNIT = b"[Service]\nExecStart=true\n[Install]\nWantedBy=multi-user.target\n"
Files = dict[str, bytes | str | None]


def image(**more: bytes | str | None) -> Files:
    folders = ("usr/lib/systemd/", f"{SYSTEM}/", f"{USER}/", "etc/systemd/", "etc/alternatives/")
    return {"lib": "usr/lib", **dict.fromkeys(folders), **more}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "root", tmp_path / "image")
    machine.folder.mkdir()
    return machine


def run_on(machine: Machine, version: str, files: Files) -> Path:
    publish(machine.image, version, **files)
    machine.upgrade()
    return machine.etc(machine.reboot())


def told(machine: Machine, kind: NoteKind) -> dict[str, str]:
    booted = machine.sysroot.booted()
    assert booted is not None
    report = read_report(machine.sysroot, booted)
    assert report is not None
    return {note.path: note.detail for note in report.notes if note.kind is kind}


def test_a_link_whose_target_went_with_the_image_is_told(machine: Machine) -> None:
    programs = {f"usr/bin/{name}": b"#!" for name in ("old-vi", "new-vi", "pager")}
    shipped = {"etc/alternatives/vi": "/usr/bin/old-vi", "etc/gone.target": b"x"}
    etc = run_on(machine, "v1", image(**programs, **shipped))
    links = {
        "alternatives/editor": "/usr/bin/old-vi",
        "alternatives/pager": "/usr/bin/pager",
        "alternatives/chain": "editor",
        "relative": "../usr/bin/../bin/old-vi",
        "to-gone": "gone.target",
        "always-broken": "/usr/bin/never",
        "masked.service": "/dev/null",
        "elsewhere": "/var/lib/thing",
        "loop": "loop",
    }
    for name, target in links.items():
        (etc / name).symlink_to(target)
    del programs["usr/bin/old-vi"]
    changed = {"etc/alternatives/vi": "/usr/bin/new-vi"}
    publish(machine.image, "v2", **image(**programs, **changed))
    machine.upgrade()
    seen = preview(machine.host, Silent()).notes
    machine.reboot()
    dangling = {
        "/etc/alternatives/editor": "/usr/bin/old-vi",
        "/etc/alternatives/chain": "editor",
        "/etc/relative": "../usr/bin/../bin/old-vi",
        "/etc/to-gone": "gone.target",
    }
    assert told(machine, NoteKind.LEADS_NOWHERE) == dangling
    assert {one.path for one in seen if one.kind is NoteKind.LEADS_NOWHERE} == dangling.keys()


def test_an_enabled_unit_that_is_gone_is_a_link_to_nowhere(machine: Machine) -> None:
    etc = run_on(machine, "v1", image(**{f"{SYSTEM}/old.service": UNIT}))
    wants = etc / "systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "old.service").symlink_to("/lib/systemd/system/old.service")
    run_on(machine, "v2", image())
    path = "/etc/systemd/system/multi-user.target.wants/old.service"
    assert told(machine, NoteKind.LEADS_NOWHERE) == {path: "/lib/systemd/system/old.service"}


@pytest.mark.parametrize(
    ("preset", "files", "expected"),
    [
        ("enable new.service\n", {}, True),
        ("# enable\n\nenable n*.service\ndisable *\n", {}, True),
        ("disable new.service\nenable new.service\n", {}, False),
        ("enable other.service\n", {}, False),
        ("", {}, False),
        ("enable new.service\n", {f"{SYSTEM}/new.service": b"[Service]\n"}, False),
        (
            "enable new.service\n",
            {f"{SYSTEM}/x.wants/": None, f"{SYSTEM}/x.wants/new.service": "../new.service"},
            False,
        ),
        (
            "enable new.service\n",
            {
                "etc/systemd/system/": None,
                "etc/systemd/system/x.wants/": None,
                "etc/systemd/system/x.wants/new.service": "/usr/lib/systemd/system/new.service",
            },
            False,
        ),
        ("enable new@.service\n", {f"{SYSTEM}/new@.service": UNIT}, False),
    ],
)
@pytest.mark.parametrize("place", ["machine", "image"])
def test_a_new_unit_that_only_a_preset_enables(
    machine: Machine, place: str, preset: str, files: Files, *, expected: bool
) -> None:
    shipped: Files = {"usr/lib/systemd/system-preset/": None}
    if place == "image":
        shipped["usr/lib/systemd/system-preset/50-x.preset"] = preset.encode()
    etc = run_on(machine, "v1", image(**shipped, **{f"{SYSTEM}/known.service": UNIT}))
    if place == "machine":
        folder = etc / "systemd/system-preset"
        folder.mkdir()
        (folder / "50-x.preset").write_text(preset)
    run_on(machine, "v2", image(**{**shipped, f"{SYSTEM}/new.service": UNIT, **files}))
    found = told(machine, NoteKind.PRESET)
    assert ("/etc/systemd/system/new.service" in found) is expected
    if expected:
        assert "systemctl enable new.service" in found["/etc/systemd/system/new.service"]
    # From the next one on it is not new.
    run_on(machine, "v3", image(**{**shipped, f"{SYSTEM}/new.service": UNIT, **files}))
    assert told(machine, NoteKind.PRESET) == {}


def test_a_preset_of_this_machine_hides_that_of_the_image_and_users_have_theirs(
    machine: Machine,
) -> None:
    presets = "usr/lib/systemd/user-preset"
    shipped: Files = {f"{presets}/": None, f"{presets}/50-x.preset": b"disable *\n"}
    etc = run_on(machine, "v1", image(**shipped))
    (etc / "systemd/user-preset").mkdir()
    (etc / "systemd/user-preset/50-x.preset").write_text("enable new.socket\n")
    run_on(machine, "v2", image(**shipped, **{f"{USER}/new.socket": UNIT}))
    assert told(machine, NoteKind.PRESET) == {
        "/etc/systemd/user/new.socket": "'systemctl --global enable new.socket' does"
    }
