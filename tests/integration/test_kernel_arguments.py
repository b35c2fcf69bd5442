"""Kernel arguments of a machine that is on the newest image: settings and edits of its entry."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.machine import Machine, installed, publish

from bootd.model.deployment import DeploymentId, DeploymentRecord
from bootd.model.documents import StageCause, StageDocument
from bootd.model.errors import DeniedDigestError, HeldError
from bootd.operations.hold import hold, release
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent
from bootd.operations.rollback import rollback
from bootd.operations.stage import stage
from bootd.operations.status import status
from bootd.operations.trial.deny import allow


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that runs v2, the newest image, as its first deployment but one."""
    made = installed(tmp_path)
    made.upgrade()
    made.reboot()
    return made


def configure(machine: Machine, *arguments: str) -> None:
    changes = {"kernel_arguments": list(arguments)}
    machine.configuration = machine.configuration.model_copy(update=changes)


def upgrade(machine: Machine, *, automatic: bool = False) -> StageDocument:
    return stage(machine.host, Silent(), automatic=automatic)


def line(machine: Machine) -> list[str]:
    """What the kernel was started with, without what says which deployment."""
    return machine.sysroot.command_line.read_text().split()[1:]


def booted(machine: Machine) -> DeploymentId:
    found = machine.sysroot.booted()
    assert found is not None
    return found


def record(machine: Machine, deployment: DeploymentId) -> DeploymentRecord:
    return take_survey(machine.sysroot).records[deployment]


def edit_entry(machine: Machine, old: str, new: str) -> None:
    entry = take_survey(machine.sysroot).entry(booted(machine))
    assert entry is not None
    path = machine.sysroot.boot / "loader/entries" / entry.file_name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_settings_take_effect_under_the_same_image_once(machine: Machine) -> None:
    before = booted(machine)
    configure(machine, "console=ttyS0", 'dyndbg="file a.c +p"', "console=tty0")
    done = upgrade(machine)
    assert (done.changed, done.cause) == (True, StageCause.KERNEL_ARGUMENTS)
    assert (done.fetched_bytes, done.deployment) == (0, take_survey(machine.sysroot).staged)
    assert not upgrade(machine, automatic=True).changed
    after = machine.reboot()
    added = ["console=ttyS0", 'dyndbg="file', "a.c", '+p"', "console=tty0"]
    assert line(machine) == ["quiet", "image=v2", *added, "panic=30"]
    assert (after != before, record(machine, after).digest) == (
        True,
        record(machine, before).digest,
    )
    assert (machine.etc(after) / "local.conf").read_text() == "mine\n" * 30
    for _ in range(2):
        assert not upgrade(machine, automatic=True).changed
        assert machine.reboot() == after


def test_settings_go_as_they_came_and_in_their_order(machine: Machine) -> None:
    configure(machine, "console=ttyS0", "console=tty0", "console=ttyS0")
    upgrade(machine)
    machine.reboot()
    assert line(machine)[2:5] == ["console=ttyS0", "console=tty0", "console=ttyS0"]
    configure(machine, "console=tty0", "panic=5")
    assert upgrade(machine).changed
    machine.reboot()
    assert line(machine) == ["quiet", "image=v2", "console=tty0", "panic=5"]
    configure(machine)
    assert upgrade(machine).changed
    machine.reboot()
    assert line(machine) == ["quiet", "image=v2", "panic=30"]


def test_a_staged_image_gets_the_new_settings(machine: Machine) -> None:
    publish(machine.image, "v3")
    staged = machine.upgrade()
    configure(machine, "nosmt")
    done = upgrade(machine)
    assert (done.changed, done.cause) == (True, StageCause.KERNEL_ARGUMENTS)
    assert done.deployment == staged
    assert not upgrade(machine).changed
    assert machine.reboot() == staged
    assert line(machine) == ["quiet", "image=v3", "nosmt", "panic=30"]


def test_edits_of_the_entry_stay_beside_the_settings(machine: Machine) -> None:
    edit_entry(machine, "quiet image=v2", "image=v2 rd.debug")
    assert not upgrade(machine).changed
    configure(machine, "nosmt", "rd.debug")
    upgrade(machine)
    edit_entry(machine, "rd.debug", "rd.debug verbose")
    machine.reboot()
    assert sorted(line(machine)) == ["image=v2", "nosmt", "panic=30", "rd.debug", "verbose"]
    for version in ("v3", "v4"):
        publish(machine.image, version)
        machine.upgrade()
        machine.reboot()
        assert f"image={version}" in line(machine)
        assert "quiet" not in line(machine)
        assert line(machine).count("rd.debug") == 1


def test_settings_that_the_entry_has_already_stage_nothing(machine: Machine) -> None:
    edit_entry(machine, "image=v2", "image=v2 nosmt")
    configure(machine, "nosmt")
    assert not upgrade(machine).changed


def test_a_rollback_from_settings_holds_until_they_change(machine: Machine) -> None:
    before = booted(machine)
    configure(machine, "nosmt")
    upgrade(machine)
    left = machine.reboot()
    assert rollback(machine.host, Silent()).deployment == before
    assert not upgrade(machine).changed
    assert machine.reboot() == before
    assert "nosmt" not in line(machine)
    again = upgrade(machine, automatic=True)
    assert (again.changed, again.kernel_arguments_not_taken) == (False, ["nosmt"])
    configure(machine, "nosmt", "noapic")
    done = upgrade(machine)
    assert (done.changed, done.kernel_arguments_not_taken) == (True, [])
    assert machine.reboot() not in {before, left}
    assert {"nosmt", "noapic"} <= set(line(machine))


def test_what_was_taken_away_here_is_told_and_not_taken_up(machine: Machine) -> None:
    configure(machine, "nosmt", "bootd=x")
    assert upgrade(machine).kernel_arguments_not_taken == []
    machine.reboot()
    edit_entry(machine, " nosmt", "")
    publish(machine.image, "v3")
    assert upgrade(machine).kernel_arguments_not_taken == ["nosmt"]
    machine.reboot()
    assert line(machine) == ["quiet", "image=v3", "panic=30"]
    assert upgrade(machine).kernel_arguments_not_taken == ["nosmt"]


def test_settings_that_do_not_boot_are_not_tried_every_night(machine: Machine) -> None:
    before = booted(machine)
    configure(machine, "init=/nowhere")
    upgrade(machine)
    machine.reboot(healthy=False)
    for _ in range(3):
        machine.power_on(healthy=False)
    assert booted(machine) == before
    with pytest.raises(DeniedDigestError, match=r"kernel arguments of bootd\.toml are not taken"):
        upgrade(machine, automatic=True)
    assert take_survey(machine.sysroot).staged is None
    configure(machine)
    assert not upgrade(machine).changed
    configure(machine, "nosmt")
    allow(machine.host, record(machine, before).digest)
    assert upgrade(machine).changed


def test_a_hold_holds_settings_back_at_night_only(machine: Machine) -> None:
    configure(machine, "nosmt")
    hold(machine.host, "rack move")
    with pytest.raises(HeldError):
        upgrade(machine, automatic=True)
    assert upgrade(machine).changed
    release(machine.host)


def test_a_deployment_of_an_older_bootd_takes_new_settings_and_only_those(machine: Machine) -> None:
    def forget() -> None:
        old = record(machine, booted(machine)).model_copy(update={"configured_arguments": None})
        machine.sysroot.write_deployment(machine.sysroot.deployment(old.id), old)

    forget()
    assert not upgrade(machine).changed
    edit_entry(machine, "quiet ", "")
    assert not upgrade(machine).changed
    configure(machine, "nosmt")
    assert upgrade(machine).changed
    machine.reboot()
    forget()
    assert not upgrade(machine).changed
    assert line(machine) == ["image=v2", "nosmt", "panic=30"]


def test_an_image_cannot_keep_a_boot_from_falling_back(machine: Machine) -> None:
    asked = 'kargs = ["quiet", "init=/bin/sh", "panic=0", "bootd.shell", "panic_on_oops=1"]'
    path = {"usr/lib/bootc/kargs.d/90-own.toml": asked.encode()}
    publish(machine.image, "v3", **path)
    document = upgrade(machine)
    assert document.kernel_arguments_refused == ["init=/bin/sh", "panic=0"]
    machine.reboot()
    assert {"panic_on_oops=1", "panic=30"} <= {*line(machine)}
    assert not {"init=/bin/sh", "panic=0", "bootd.shell"} & {*line(machine)}
    [here] = [one for one in status(machine.host).deployments if one.booted]
    assert here.kernel_arguments_refused == ["init=/bin/sh", "panic=0"]


def test_a_machine_may_let_an_image_do_so(machine: Machine) -> None:
    publish(
        machine.image,
        "v3",
        **{"usr/lib/bootc/kargs.d/90-own.toml": b'kargs = ["init=/bin/sh", "panic=0"]'},
    )
    changes = {"allow_image_arguments": ["init", "panic"]}
    machine.configuration = machine.configuration.model_copy(update=changes)
    assert not upgrade(machine).kernel_arguments_refused
    machine.reboot()
    assert line(machine)[-2:] == ["init=/bin/sh", "panic=0"]
