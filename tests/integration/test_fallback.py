"""A bad image is given up, blamed once, and never tried again by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.loader import set_variable, use_up_tries
from support.machine import Machine, installed, publish

from bootd.boot.entry import BootEntry
from bootd.boot.listing import list_entries
from bootd.model.deployment import DeploymentId
from bootd.model.errors import DeniedDigestError
from bootd.model.state import DeploymentState
from bootd.operations.bless import FAILURE_MARKER, bless, leave_undecided
from bootd.operations.collect import collect
from bootd.operations.machine.message_of_the_day import message_file
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent
from bootd.operations.recover import recover
from bootd.operations.rollback import rollback
from bootd.operations.stage import stage
from bootd.operations.status import status
from bootd.operations.trial.deny import BOOT_FAILED, HEALTH_FAILED, ROLLED_BACK, allow, denied
from bootd.operations.trial.health import run_health


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return installed(tmp_path)


def booted(machine: Machine) -> DeploymentId:
    found = machine.sysroot.booted()
    assert found is not None
    return found


def fall_back(machine: Machine) -> tuple[DeploymentId, DeploymentId]:
    """Upgrade to what does not come up, until the loader gives it up: (good, bad)."""
    good = booted(machine)
    bad = machine.upgrade()
    before = denied(machine.host)
    assert machine.reboot(healthy=False) == bad
    for _ in range(2):
        assert machine.power_on(healthy=False) == bad
        assert denied(machine.host) == before
    assert machine.power_on(healthy=False) == good
    return good, bad


def add_check(root: Path, name: str, text: str) -> None:
    path = root / "usr/lib/bootd/health.d" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_the_machine_falls_back_and_tells_once(machine: Machine) -> None:
    good = booted(machine)
    bad = machine.upgrade()
    machine.reboot(healthy=False)
    seen = status(machine.host)
    assert (seen.booted, seen.state) == (bad, "trial")
    for tries_left in (1, 0):
        machine.power_on(healthy=False)
        found = take_survey(machine.sysroot)
        assert found.state_of(bad) is DeploymentState.TRIAL
        [entry] = [one for one in found.entries if one.deployment == bad]
        assert entry.tries_left == tries_left
    machine.power_on(healthy=False)
    [denial] = denied(machine.host).denied
    record = machine.sysroot.read_deployment(bad)
    assert (denial.digest, denial.cause) == (record.digest, BOOT_FAILED)
    assert denial.evidence.splitlines()[0].endswith("started 3 times")
    seen = status(machine.host)
    assert (seen.booted, seen.last_fallback, seen.queued) == (good, denial, None)
    assert f"{record.image} v2" in message_file(machine.sysroot).read_text()
    assert not recover(machine.host).fallbacks
    assert denied(machine.host).denied == [denial]


def test_thirty_nights_stage_nothing_and_a_new_image_is_tried(machine: Machine) -> None:
    good, bad = fall_back(machine)
    digest = machine.sysroot.read_deployment(bad).digest
    for night in range(30):
        with pytest.raises(DeniedDigestError):
            stage(machine.host, Silent(), automatic=True)
        if night == 5:
            collect(machine.host, Silent())
            assert machine.sysroot.deployment_ids() == [good]
        if night % 10 == 7:
            # /etc went back with the deployment; nothing in it decides.
            (machine.etc(good) / "bootd").mkdir(exist_ok=True)
            (machine.etc(good) / "bootd/bootd.toml").write_text('automatic = "stage"\n')
            assert machine.power_on() == good
    assert not message_file(machine.sysroot).exists()
    assert status(machine.host).last_fallback == machine.sysroot.read_denied().find(digest)
    publish(machine.image, "v3")
    fixed = stage(machine.host, Silent(), automatic=True).deployment
    assert machine.reboot() == fixed
    assert status(machine.host).state == "idle"
    [denial] = denied(machine.host).denied
    assert denial.digest == digest


def test_two_bad_images_are_each_tried_once(machine: Machine) -> None:
    good, _ = fall_back(machine)
    publish(machine.image, "v3")
    assert fall_back(machine)[0] == good
    assert [one.cause for one in denied(machine.host).denied] == [BOOT_FAILED, BOOT_FAILED]
    assert message_file(machine.sysroot).read_text().count("fell back") == 1


def test_what_is_allowed_again_is_tried_again_and_not_blamed_for_the_past(machine: Machine) -> None:
    good, bad = fall_back(machine)
    digest = machine.sysroot.read_deployment(bad).digest
    allow(machine.host, digest)
    assert not recover(machine.host).fallbacks
    again = machine.upgrade()
    assert (again.serial, machine.reboot()) == (1, again)
    assert not denied(machine.host).denied
    assert status(machine.host).rollback == good


def test_a_rollback_to_the_failed_deployment_is_a_new_trial(machine: Machine) -> None:
    good, bad = fall_back(machine)
    rollback(machine.host, Silent(), target=bad)
    assert machine.reboot(healthy=False) == bad
    assert [one.cause for one in denied(machine.host).denied] == [ROLLED_BACK]
    assert status(machine.host).last_fallback is None
    for _ in range(2):
        machine.power_on(healthy=False)
    assert machine.power_on(healthy=False) == good
    assert denied(machine.host).denied[-1].cause == BOOT_FAILED


def test_a_trial_on_its_last_try_is_where_the_machine_is(machine: Machine) -> None:
    good = booted(machine)
    bad = machine.upgrade()
    machine.reboot(healthy=False)
    machine.power_on(healthy=False)
    assert machine.power_on(healthy=False) == bad
    seen = status(machine.host)
    assert (seen.state, seen.queued, seen.reboot_required) == ("trial", None, False)
    assert seen.rollback == good
    assert not stage(machine.host, Silent(), automatic=True).changed
    document = rollback(machine.host, Silent())
    assert document.deployment == good
    assert document.denied == machine.sysroot.read_deployment(bad).digest
    assert status(machine.host).queued == good
    assert machine.power_on() == good


def entry_of(machine: Machine, deployment: DeploymentId) -> BootEntry:
    [entry] = [one for one in list_entries(machine.sysroot).entries if one.deployment == deployment]
    return entry


def test_an_older_entry_chosen_by_hand_is_no_verdict(machine: Machine) -> None:
    """The power key in the first boot of a new deployment, and the older entry in the menu."""
    good = booted(machine)
    older = entry_of(machine, good).plain_name
    new = machine.upgrade()
    assert machine.reboot(healthy=False) == new
    for _ in range(3):
        assert machine.power_on(chosen=older) == good
        assert not denied(machine.host).denied
        assert entry_of(machine, new).tries_left == 2
        assert status(machine.host).queued == new
    assert machine.power_on() == new
    assert status(machine.host).state == "idle"


def test_an_older_entry_chosen_after_a_try_was_given_back_is_no_verdict(machine: Machine) -> None:
    good = booted(machine)
    older = entry_of(machine, good).plain_name
    new = machine.upgrade()
    machine.reboot(healthy=False)
    assert leave_undecided(machine.host) == new
    assert leave_undecided(machine.host) is None, "one try a boot"
    set_variable(machine.sysroot, "LoaderEntryOneShot", older)
    assert machine.power_on() == good
    collect(machine.host, Silent())
    assert not denied(machine.host).denied
    assert machine.power_on() == new


def test_an_older_deployment_in_rescue_mode_is_no_verdict(machine: Machine) -> None:
    good = booted(machine)
    new = machine.upgrade()
    machine.reboot(healthy=False)
    machine.sysroot.command_line.write_text(f"bootd={good} systemd.unit=rescue.target\n")
    assert not recover(machine.host).fallbacks
    assert not stage(machine.host, Silent(), automatic=True).changed
    assert not denied(machine.host).denied
    assert machine.power_on() == new


def test_each_boot_that_is_cut_off_is_one_try(machine: Machine) -> None:
    """A person in between does not make them fewer, nor more."""
    good = booted(machine)
    older = entry_of(machine, good).plain_name
    bad = machine.upgrade()
    machine.reboot(healthy=False)
    for left in (2, 1):
        assert entry_of(machine, bad).tries_left == left
        assert machine.power_on(chosen=older) == good
        assert machine.power_on(healthy=False) == bad
    assert not denied(machine.host).denied
    assert machine.power_on() == good
    assert [one.cause for one in denied(machine.host).denied] == [BOOT_FAILED]


def test_a_boot_that_passed_its_checks_and_ended_before_the_soak_is_not_counted(
    machine: Machine,
) -> None:
    new = machine.upgrade()
    machine.reboot(healthy=False)
    for _ in range(20):
        run_health(machine.host, machine.folder, take_survey(machine.sysroot))
        assert leave_undecided(machine.host) == new
        assert entry_of(machine, new).file_name.endswith("+3-0.conf")
        assert machine.power_on(healthy=False) == new
    assert bless(machine.host) == new
    assert not denied(machine.host).denied


def test_a_deployment_that_was_never_started_is_not_blamed(machine: Machine) -> None:
    machine.upgrade()
    good = booted(machine)
    new = machine.reboot(healthy=False)
    machine.sysroot.command_line.write_text(f"quiet bootd={good}\n")
    [entry] = [one for one in list_entries(machine.sysroot).entries if one.deployment == new]
    folder = machine.sysroot.boot / "loader/entries"
    (folder / entry.file_name).rename(folder / entry.file_name.replace("+2-1", "+3-0"))
    assert not recover(machine.host).fallbacks
    assert status(machine.host).queued == new


def test_a_rescue_system_is_no_fallback(machine: Machine) -> None:
    machine.upgrade()
    machine.reboot(healthy=False)
    machine.sysroot.command_line.write_text("rescue\n")
    assert not recover(machine.host).fallbacks


def test_an_old_deployment_with_a_damaged_entry_is_not_blamed(machine: Machine) -> None:
    """Only what has a record can be blamed, and only what is out of tries."""
    machine.upgrade()
    machine.reboot()
    assert not recover(machine.host).fallbacks
    assert not denied(machine.host).denied


def test_a_fallback_that_no_daemon_saw_is_noted_before_staging(machine: Machine) -> None:
    machine.upgrade()
    good = booted(machine)
    bad = machine.reboot(healthy=False)
    [entry] = [one for one in list_entries(machine.sysroot).entries if one.deployment == bad]
    use_up_tries(machine.sysroot, entry)
    machine.sysroot.command_line.write_text(f"bootd={good}\n")
    with pytest.raises(DeniedDigestError):
        stage(machine.host, Silent(), automatic=True)


def test_a_failed_health_check_is_named_in_the_evidence(machine: Machine) -> None:
    good = booted(machine)
    bad = machine.upgrade()
    machine.reboot(healthy=False)
    add_check(machine.folder, "10-web", "echo nobody listens; exit 3")
    for _ in range(3):
        found = take_survey(machine.sysroot)
        assert found.booted == bad
        document = run_health(machine.host, machine.folder, found)
        assert (document.verdict, document.on_trial) == ("unhealthy", True)
        machine.power_on(healthy=False)
    assert booted(machine) == good
    [denial] = denied(machine.host).denied
    assert denial.cause == HEALTH_FAILED
    assert "required health.d/10-web: failed, exit status 3" in denial.evidence
    assert "nobody listens" in denial.evidence
    collect(machine.host, Silent())
    assert not (machine.sysroot.health / f"{bad}.json").exists()


def test_what_failed_before_is_not_the_new_images_fault(machine: Machine) -> None:
    add_check(machine.folder, "10-web", "exit 1")
    before = run_health(machine.host, machine.folder, take_survey(machine.sysroot))
    assert (before.verdict, before.on_trial) == ("unhealthy", False)
    machine.upgrade()
    machine.reboot(healthy=False)
    for _ in range(3):
        after = run_health(machine.host, machine.folder, take_survey(machine.sysroot))
        assert (after.verdict, after.checks[0].old) == ("degraded", True)
    machine.configuration = machine.configuration.model_copy(update={"ignore_old_failures": False})
    after = run_health(machine.host, machine.folder, take_survey(machine.sysroot))
    assert after.verdict == "unhealthy"


def test_failures_of_earlier_tries_are_not_old(machine: Machine) -> None:
    machine.upgrade()
    machine.reboot(healthy=False)
    add_check(machine.folder, "10-web", "exit 1")
    for _ in range(2):
        run_health(machine.host, machine.folder, take_survey(machine.sysroot))
        machine.power_on(healthy=False)
    last = run_health(machine.host, machine.folder, take_survey(machine.sysroot))
    assert (last.verdict, last.checks[0].old) == ("unhealthy", False)


def test_a_planned_reboot_is_no_bad_boot(machine: Machine) -> None:
    new = machine.upgrade()
    machine.reboot(healthy=False)
    for _ in range(5):
        assert leave_undecided(machine.host) == new
        assert machine.power_on(healthy=False) == new
    assert bless(machine.host) == new
    assert leave_undecided(machine.host) is None


def test_planned_reboots_end_some_day(machine: Machine) -> None:
    good = booted(machine)
    new = machine.upgrade()
    machine.reboot(healthy=False)
    boots = 1
    while booted(machine) == new:
        leave_undecided(machine.host)
        machine.power_on(healthy=False)
        boots += 1
    assert (booted(machine), boots) == (good, 10)
    assert len(denied(machine.host).denied) == 1


def test_a_failed_boot_gets_no_try_back(machine: Machine) -> None:
    machine.upgrade()
    machine.reboot(healthy=False)
    machine.sysroot.disk.make_directory(machine.sysroot.run)
    (machine.sysroot.run / FAILURE_MARKER).touch()
    assert leave_undecided(machine.host) is None
    machine.power_on(healthy=False)
    add_check(machine.folder, "10-web", "exit 1")
    run_health(machine.host, machine.folder, take_survey(machine.sysroot))
    assert leave_undecided(machine.host) is None


def bootctl(machine: Machine, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(Path(sys.executable).with_name("bootctl-py")),
        *words,
        "--sysroot",
        str(machine.folder),
    ]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_the_verbs_work_on_a_machine_in_a_folder(machine: Machine) -> None:
    good = booted(machine)
    new = machine.upgrade()
    machine.reboot(healthy=False)
    assert bootctl(machine, "health").returncode == 1
    add_check(machine.folder, "10-web", "exit 0")
    done = bootctl(machine, "health", "run")
    assert (done.returncode, "is healthy: 1 check" in done.stdout) == (0, True)
    assert bootctl(machine, "bless", "--undecided", SERVICE_RESULT="exit-code").stdout.startswith(
        "This boot failed"
    )
    assert f"{new} gets its try back" in bootctl(machine, "bless", "--undecided").stdout
    assert f"{new} is kept for good" in bootctl(machine, "bless", "--soak").stdout
    done = bootctl(machine, "rollback")
    assert (done.returncode, f"{good} boots next" in done.stdout) == (0, True)
    assert bootctl(machine, "rollback", "--apply").returncode == 2
    done = bootctl(machine, "rollback", new)
    assert take_survey(machine.sysroot).next_boot == new
    add_check(machine.folder, "10-web", "exit 1")
    assert bootctl(machine, "health", "run").returncode == 1


def test_a_rescue_shell_rolls_back_without_a_bus() -> None:
    """This machine has no store, which is what the operation itself then finds."""
    assert os.geteuid() == 0, "run this as root"
    done = subprocess.run(
        [str(Path(sys.executable).with_name("bootctl-py")), "rollback"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere/bus"},
    )
    assert done.returncode == 1
    assert "rollback works without it" in done.stderr
