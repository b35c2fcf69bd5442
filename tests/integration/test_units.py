"""The files of systemd/ as systemd's own tools read them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bootd.cli.main import INTERRUPTED
from bootd.daemon.unattended.scheduler import LIMIT_SECONDS
from bootd.daemon.unattended.timetable import SHIPPED
from bootd.model.errors import HeldError, NotBlessedYetError, UnhealthyError
from bootd.model.event import Event
from bootd.operations.bless import BLESSED_MARKER, FAILURE_MARKER

_SYSTEMD = Path(__file__).parents[2] / "systemd"
_UNITS = sorted(path.name for path in _SYSTEMD.iterdir() if path.suffix in {".service", ".timer"})
_KNOWS_NOTIFY_RELOAD = 253
_MOUNT_POINTS = ("/sysroot", "/boot", "/efi", "/boot/efi", "/etc", "/var")
_STOPS_WITH = ("Requires", "Requisite", "BindsTo", "PartOf", "StopPropagatedFrom")
_MOST_EXPOSED = {
    "bootd.service": 37,
    "bootd-finalize.service": 45,
    "bootd-rescue.service": 45,
    "bootd-bless.service": 80,
    "bootd-health.service": 80,
    "bootd-derive.service": 80,
    "bootd-boot-array.service": 50,
    "bootd-deadline.service": 35,
    "bootd-trial-failed.service": 35,
    "bootd-upgrade.service": 15,
    "bootd-upgrade-due.service": 15,
}
"""On the scale of ``systemd-analyze security``, times ten; mounting takes CAP_SYS_ADMIN. The last
three run what images and administrators bring along: health checks, and tools that make files anew.
What those may expect is not taken from them."""


def _run(*command: str | Path, status: int = 0) -> str:
    done = subprocess.run(
        [str(word) for word in command], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == status, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root folder with systemd's own units, ours, and programs that they name."""
    units = tmp_path / "usr/lib/systemd/system"
    shutil.copytree("/usr/lib/systemd/system", units, symlinks=True)
    for name in _UNITS:
        shutil.copy(_SYSTEMD / name, units)
    for program in ("bin/bootctl-py", "libexec/bootd", "bin/mkdir", "bin/touch", "bin/sh"):
        stub = tmp_path / "usr" / program
        stub.parent.mkdir(parents=True, exist_ok=True)
        stub.write_text("#!/bin/sh\n")
        stub.chmod(0o755)
    return tmp_path


def _version() -> int:
    found = re.match(r"systemd (\d+)", _run("systemd-analyze", "--version"))
    assert found is not None
    return int(found[1])


def test_there_is_every_unit():
    assert _UNITS == [
        "bootd-bless.service",
        "bootd-boot-array.service",
        "bootd-deadline.service",
        "bootd-deadline.timer",
        "bootd-derive.service",
        "bootd-finalize.service",
        "bootd-health.service",
        "bootd-rescue.service",
        "bootd-trial-failed.service",
        "bootd-upgrade-due.service",
        "bootd-upgrade.service",
        "bootd-upgrade.timer",
        "bootd.service",
    ]


@pytest.mark.parametrize("name", _UNITS)
def test_unit_verifies_clean(name: str, root: Path):
    said = _run("systemd-analyze", "verify", "--man=no", f"--root={root}", name)
    ours = [line for line in said.splitlines() if "bootd" in line]
    if _version() < _KNOWS_NOTIFY_RELOAD:
        # A machine that bootd manages has a newer systemd, because it has a newer kernel.
        ours = [line for line in ours if "notify-reload" not in line]
    assert not ours


@pytest.mark.parametrize(("name", "most"), _MOST_EXPOSED.items())
def test_a_unit_is_confined(name: str, most: int, root: Path):
    shown = _run(
        "systemd-analyze",
        "security",
        "--offline=yes",
        f"--threshold={most}",
        f"--root={root}",
        name,
    )
    assert "Overall exposure level" in shown


def test_what_has_to_work_in_a_broken_boot_takes_no_name_space():
    for name in ("bootd-deadline.service", "bootd-trial-failed.service"):
        text = (_SYSTEMD / name).read_text()
        assert not re.findall(
            r"^(?:Private|Protect|ReadWritePaths|InaccessiblePaths)", text, re.MULTILINE
        )


def test_a_job_that_takes_too_much_memory_does_not_end_the_daemon():
    lines = (_SYSTEMD / "bootd.service").read_text().splitlines()
    assert {"OOMPolicy=continue", "MemoryMax=2G", "TasksMax=256"} <= set(lines)


def test_timer_is_nightly_and_makes_up_for_missed_nights():
    text = (_SYSTEMD / "bootd-upgrade.timer").read_text()
    for line in ("FixedRandomDelay=yes", "Persistent=yes", "Unit=bootd-upgrade-due.service"):
        assert line in text
    assert _settings("bootd-upgrade.timer", "OnCalendar") == [SHIPPED]
    shown = _run("systemd-analyze", "calendar", "--iterations=2", SHIPPED)
    assert shown.count("02:00:00") >= 2


def test_timer_comes_within_half_an_hour_after_each_start():
    """systemd adds the delay anew after each start, and to each of the times."""
    [delay] = _settings("bootd-upgrade.timer", "RandomizedDelaySec")
    [after_start] = _settings("bootd-upgrade.timer", "OnBootSec")
    minutes = [int(one.removesuffix("min")) for one in (delay, after_start)]
    assert sum(minutes) <= 30


def test_a_run_that_fails_is_followed_up():
    """A unit of type oneshot may have no RestartForceExitStatus= before systemd 254."""
    due = "bootd-upgrade-due.service"
    assert _settings("bootd-upgrade.service", "OnFailure") == [due]
    assert _settings(due, "Restart") == ["on-failure"]
    assert _settings(due, "RestartSec") == ["30min"]
    for unit in ("bootd-upgrade.service", due):
        assert _settings(unit, "SuccessExitStatus") == [f"{HeldError.exit_status} {INTERRUPTED}"]
        [limit] = _settings(unit, "TimeoutStartSec")
        assert int(limit.removesuffix("h")) * 3_600 > LIMIT_SECONDS


def test_preset_enables_what_is_to_run(root: Path):
    presets = root / "usr/lib/systemd/system-preset"
    presets.mkdir(parents=True)
    shutil.copy(_SYSTEMD / "90-bootd.preset", presets)
    (presets / "99-default.preset").write_text("disable *\n")
    for name in _UNITS:
        _run("systemctl", f"--root={root}", "preset", name)
    states = {
        name: subprocess.run(
            ["systemctl", f"--root={root}", "is-enabled", name],
            check=False,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for name in _UNITS
    }
    assert states == {
        "bootd.service": "enabled",
        "bootd-bless.service": "enabled",
        "bootd-boot-array.service": "enabled",
        "bootd-deadline.service": "static",
        "bootd-deadline.timer": "enabled",
        "bootd-derive.service": "enabled",
        "bootd-health.service": "enabled",
        "bootd-rescue.service": "enabled",
        "bootd-trial-failed.service": "static",
        "bootd-upgrade.timer": "enabled",
        "bootd-upgrade.service": "static",
        "bootd-upgrade-due.service": "static",
        "bootd-finalize.service": "static",
    }
    alias = root / "etc/systemd/system/dbus-org.bootd1.service"
    assert alias.readlink().name == "bootd.service"


def test_no_target_of_the_boot_waits_for_the_verdict(root: Path):
    for name in ("bootd-health.service", "bootd-bless.service", "bootd-deadline.timer"):
        _run("systemctl", f"--root={root}", "enable", name)
    said = _run("systemd-analyze", "verify", "--man=no", f"--root={root}", "multi-user.target")
    assert "ordering cycle" not in said
    pulled = root / "etc/systemd/system/boot-complete.target.requires/bootd-health.service"
    assert pulled.is_symlink()


def _dependencies(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    """Kind and unit of each dependency, as systemd has worked them out."""
    units = root / "usr/lib/systemd/system"
    for path in _MOUNT_POINTS:
        mount = f"[Mount]\nWhat=/dev/null\nWhere={path}\n"
        (units / f"{path[1:].replace('/', '-')}.mount").write_text(mount)
    monkeypatch.setenv("SYSTEMD_LOG_LEVEL", "debug")
    said = _run("systemd-analyze", "verify", "--man=no", f"--root={root}", name)
    return set(re.findall(r"^\t+(\w+): (\S+) \(", said, re.MULTILINE))


@pytest.mark.parametrize("name", [name for name in _UNITS if name.endswith(".service")])
def test_no_service_ends_with_a_mount_that_is_left_when_it_is_idle(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch
):
    found = _dependencies(name, root, monkeypatch)
    assert ("Requires", "system.slice") in found
    stopped_with = {unit for kind, unit in found if kind in _STOPS_WITH}
    mounts = {unit for unit in stopped_with if unit.endswith(("mount", "local-fs.target"))}
    # Nobody leaves the store, but the finalization must not end with a mount whatever happens.
    assert mounts <= (set() if name == "bootd-finalize.service" else {"sysroot.mount"})


def test_mounts_go_after_the_finalization(root: Path, monkeypatch: pytest.MonkeyPatch):
    found = _dependencies("bootd-finalize.service", root, monkeypatch)
    mounts = {f"{path[1:].replace('/', '-')}.mount" for path in _MOUNT_POINTS}
    automounts = {"boot.automount", "efi.automount", "boot-efi.automount"}
    assert mounts | automounts <= {unit for kind, unit in found if kind == "After"}


def test_units_and_code_agree_on_the_markers():
    for unit in ("bootd-trial-failed.service", "bootd-deadline.service"):
        text = (_SYSTEMD / unit).read_text()
        assert f"/run/bootd/{FAILURE_MARKER}\n" in text
    assert (
        f"!/run/bootd/{BLESSED_MARKER}\n" in (_SYSTEMD / "bootd-trial-failed.service").read_text()
    )


def _settings(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", (_SYSTEMD / unit).read_text(), re.MULTILINE)


def test_only_a_check_that_failed_fails_the_unit_that_blesses():
    """What is in the way of a write has an exit status of its own; see `bootd.cli.verbs.bless`."""
    assert UnhealthyError.exit_status != NotBlessedYetError.exit_status
    assert _settings("bootd-bless.service", "OnFailure") == ["bootd-trial-failed.service"]
    for unit in ("bootd-bless.service", "bootd-rescue.service"):
        assert _settings(unit, "SuccessExitStatus") == [str(NotBlessedYetError.exit_status)]
    [after] = _settings("bootd-health.service", "ExecStopPost")
    assert after.startswith("-"), "its failure would be the unit's"


@pytest.mark.parametrize(
    "words", ["systemd.unit=rescue.target", "systemd.unit=emergency.target", "single", "1"]
)
def test_a_boot_that_is_asked_for_a_shell_has_no_deadline_and_gets_its_try_back(words: str):
    for line, unit in (("|", "bootd-rescue.service"), ("!", "bootd-deadline.timer")):
        assert f"{line}{words}" in _settings(unit, "ConditionKernelCommandLine")
    given = {one[1:] for one in _settings("bootd-rescue.service", "ConditionKernelCommandLine")}
    barred = {one[1:] for one in _settings("bootd-deadline.timer", "ConditionKernelCommandLine")}
    assert given == barred


def test_tmpfiles_makes_our_folder(tmp_path: Path):
    folder = tmp_path / "usr/lib/tmpfiles.d"
    folder.mkdir(parents=True)
    shutil.copy(_SYSTEMD / "tmpfiles.d/bootd.conf", folder)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (tmp_path / "etc/group").write_text("root:x:0:\n")
    _run("systemd-tmpfiles", "--create", f"--root={tmp_path}", "bootd.conf")
    made = (tmp_path / "run/bootd").stat()
    assert (made.st_mode & 0o7777, made.st_uid) == (0o755, 0)


def test_catalogue_compiles(tmp_path: Path):
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(_SYSTEMD / "bootd.catalog", folder)
    _run("journalctl", f"--root={tmp_path}", "--update-catalog")
    listed = _run("journalctl", f"--root={tmp_path}", "--list-catalog")
    assert {line.split()[0] for line in listed.splitlines()} == {event.value for event in Event}
