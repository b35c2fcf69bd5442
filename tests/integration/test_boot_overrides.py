"""What overrides the boot order is told, and an update that did not boot is no failed one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.boot_tree import boot_entry
from support.loader import set_variable
from support.machine import Machine, installed, publish

from bootd.boot.entry import render_entry
from bootd.model.config import Automatic
from bootd.model.deployment import DeploymentId
from bootd.model.documents import Reason, StatusDocument
from bootd.operations.collect import collect
from bootd.operations.explain import explain
from bootd.operations.finalize import finalize
from bootd.operations.fsck import fsck
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent
from bootd.operations.recover import Recovery, recover
from bootd.operations.rollback import rollback
from bootd.operations.stage import stage
from bootd.operations.status import status
from bootd.operations.trial.deny import denied

FOREIGN = "title Debian\nsort-key aaa\nversion 99\nlinux /debian/linux\noptions quiet\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return installed(tmp_path)


def running(machine: Machine) -> DeploymentId:
    found = machine.sysroot.booted()
    assert found is not None
    return found


def entry_of(machine: Machine, deployment: DeploymentId) -> str:
    entry = take_survey(machine.sysroot).entry(deployment)
    assert entry is not None
    return entry.plain_name


def start(machine: Machine, deployment: DeploymentId | None, *, selected: str = "") -> Recovery:
    """Another boot, of whatever is said, as the loader says."""
    (machine.folder / "proc/boot_id").unlink(missing_ok=True)
    set_variable(machine.sysroot, "LoaderEntrySelected", selected or None)
    word = "rescue" if deployment is None else f"bootd={deployment}"
    machine.sysroot.command_line.write_text(f"quiet {word}\n")
    return recover(machine.host)


def seen(machine: Machine) -> StatusDocument:
    found = status(machine.host)
    for told in (found.did_not_boot, found.overridden):
        assert told is None or told in found.problems
    assert not denied(machine.host).denied
    return found


def reasons(machine: Machine) -> list[Reason]:
    return explain(status(machine.host), None, Automatic.APPLY).reasons


@pytest.mark.parametrize(
    ("name", "lift"),
    [("LoaderEntryDefault", "set-default"), ("LoaderEntryPreferred", "set-preferred")],
)
def test_an_entry_made_the_default_is_told_and_restarts_nothing(
    machine: Machine, name: str, lift: str
) -> None:
    old = running(machine)
    entry = entry_of(machine, old)
    set_variable(machine.sysroot, name, entry)
    # It is told before it does harm, so that nobody learns of it from an update.
    told = seen(machine)
    assert told.overridden is not None
    assert told.overridden.startswith(f"no update will boot, because {old} comes first")
    new = machine.upgrade()
    assert not status(machine.host).reboot_helps
    for _ in range(5):
        assert machine.reboot() == old
        found = seen(machine)
        assert (found.booted, found.queued, found.state) == (old, None, "idle")
        assert found.overridden is not None
        assert f"{old} boots next, and not {new}" in found.overridden
        assert f"{name} says '{entry}'" in found.overridden
        assert f"bootctl {lift}" in found.overridden
        assert found.did_not_boot is not None
        assert f"{new} was to boot" in found.did_not_boot
        assert f"{name} says '{entry}'" in found.did_not_boot
        assert not found.reboot_helps
        assert reasons(machine)[:2] == [Reason.DID_NOT_BOOT, Reason.OVERRIDDEN]
    assert not stage(machine.host, Silent()).changed
    collect(machine.host, Silent())
    assert take_survey(machine.sysroot).entry(new) is not None
    set_variable(machine.sysroot, name, None)
    found = seen(machine)
    assert (found.queued, found.overridden, found.reboot_required) == (new, None, True)
    assert machine.reboot() == new
    assert not seen(machine).problems
    assert machine.sysroot.read_intent().awaited is None


def test_a_miss_is_news_once_and_only_the_timer_does_not_restart_again(machine: Machine) -> None:
    old = running(machine)
    new = machine.upgrade()
    assert status(machine.host).reboot_helps
    finalize(machine.host, Silent())
    assert status(machine.host).reboot_helps
    assert recover(machine.host).miss is None, "the same boot"
    miss = start(machine, old, selected=entry_of(machine, old)).miss
    assert miss is not None
    assert (miss.deployment, "chosen in the boot menu" in miss.cause) == (new, True)
    assert recover(machine.host).miss is None
    for _ in range(3):
        found = seen(machine)
        assert (found.queued, found.reboot_required, found.reboot_helps) == (new, True, False)
        assert start(machine, old).miss is None
    publish(machine.image, "v3")
    newest = machine.upgrade()
    found = seen(machine)
    assert (found.did_not_boot, found.reboot_helps) == (None, True)
    assert machine.reboot() == newest


@pytest.mark.parametrize(
    ("selected", "cause"),
    [
        ("debian.conf", "another system's entry was chosen"),
        ("arch-linux.conf", "it reads another partition"),
        ("", "does not say what it started"),
    ],
)
def test_the_cause_is_told_as_far_as_it_is_known(
    machine: Machine, selected: str, cause: str
) -> None:
    old = running(machine)
    machine.upgrade()
    (machine.sysroot.boot / "loader/entries/debian.conf").write_text(FOREIGN)
    finalize(machine.host, Silent())
    miss = start(machine, old, selected=selected).miss
    assert miss is not None
    assert cause in miss.cause


def test_a_rescue_system_says_nothing_of_what_boots(machine: Machine) -> None:
    old = running(machine)
    new = machine.upgrade()
    finalize(machine.host, Silent())
    assert start(machine, None).miss is None
    assert start(machine, old).miss is not None
    assert start(machine, new).miss is None
    assert machine.sysroot.read_intent().awaited is None


def test_a_choice_for_one_boot_is_no_miss(machine: Machine) -> None:
    old = running(machine)
    new = machine.upgrade()
    set_variable(machine.sysroot, "LoaderEntryOneShot", entry_of(machine, old))
    found = seen(machine)
    assert found.overridden is None, "what runs is what boots anyway"
    finalize(machine.host, Silent())
    found = seen(machine)
    assert (found.queued, take_survey(machine.sysroot).next_boot) == (new, old)
    assert found.overridden is not None
    assert found.overridden.startswith(f"{old} boots next, for once")
    assert "set-oneshot" in found.overridden
    assert not found.reboot_helps
    assert machine.power_on() == old
    found = seen(machine)
    assert (found.queued, found.problems, found.reboot_helps) == (new, [], True)
    assert machine.power_on() == new


def test_another_system_chosen_for_one_boot(machine: Machine) -> None:
    old = running(machine)
    (machine.sysroot.boot / "loader/entries/debian.conf").write_text(FOREIGN)
    set_variable(machine.sysroot, "LoaderEntryOneShot", "debian.conf")
    found = seen(machine)
    assert found.overridden is not None
    assert "debian.conf, which is not this installation's, boots next, for once" in found.overridden
    assert (found.queued, take_survey(machine.sysroot).next_boot) == (None, None)
    assert (found.booted, found.rollback) == (old, None)


def test_the_firmware_chosen_for_one_boot_is_known_from_what_the_loader_listed(
    machine: Machine,
) -> None:
    name = "auto-reboot-to-firmware-setup"
    set_variable(machine.sysroot, "LoaderEntryOneShot", name)
    assert seen(machine).overridden is None
    listed = f"{entry_of(machine, running(machine))}\0{name}\0"
    set_variable(machine.sysroot, "LoaderEntries", listed)
    assert name in (seen(machine).overridden or "")


def test_an_update_chosen_for_one_boot_is_what_boots_anyway(machine: Machine) -> None:
    new = machine.upgrade()
    finalize(machine.host, Silent())
    set_variable(machine.sysroot, "LoaderEntryOneShot", entry_of(machine, new))
    assert seen(machine).overridden is None
    assert machine.power_on() == new


def test_a_variable_that_names_the_new_entry_hinders_the_one_after(machine: Machine) -> None:
    new = machine.upgrade()
    finalize(machine.host, Silent())
    set_variable(machine.sysroot, "LoaderEntryDefault", entry_of(machine, new))
    found = seen(machine)
    assert (found.queued, take_survey(machine.sysroot).next_boot) == (new, new)
    assert "no update will boot" in (found.overridden or "")
    assert machine.power_on() == new
    assert seen(machine).did_not_boot is None


@pytest.mark.parametrize(
    "value",
    [
        "bootd-*",
        "BOOTD-*.CONF",
        "bootd-0042-0000000000000000.0.conf",
        "nothing-*",
        "",
        "@saved",
        b"",
        b"\x00",
        b"\xff",
        b"\x00\xd8\x00\xd8",
        b"latin-1 and no UTF-16!",
        "long" * 100_000,
    ],
)
def test_what_names_no_older_entry_or_nothing_at_all_is_not_told(
    machine: Machine, value: str | bytes
) -> None:
    for name in ("LoaderEntryOneShot", "LoaderEntryDefault", "LoaderEntryPreferred"):
        set_variable(machine.sysroot, name, value)
    new = machine.upgrade()
    finalize(machine.host, Silent())
    found = seen(machine)
    assert (found.problems, found.queued) == ([], new)


def test_a_variable_that_cannot_be_read_breaks_nothing(machine: Machine) -> None:
    set_variable(machine.sysroot, "LoaderEntryDefault", "x")
    for path in machine.sysroot.efi_variables.iterdir():
        path.unlink()
        path.mkdir()
    assert not seen(machine).problems


def test_what_was_started_last_may_be_what_starts_again(machine: Machine) -> None:
    old = running(machine)
    set_variable(machine.sysroot, "LoaderEntryDefault", "@saved")
    set_variable(machine.sysroot, "LoaderEntryLastBooted", entry_of(machine, old))
    machine.upgrade()
    assert machine.reboot() == old
    found = seen(machine)
    assert "LoaderEntryDefault says '@saved'" in (found.overridden or "")
    assert found.did_not_boot is not None


@pytest.mark.parametrize("key", ["default", "preferred"])
def test_a_line_of_the_loaders_configuration_is_told(machine: Machine, key: str) -> None:
    old = running(machine)
    new = machine.upgrade()
    finalize(machine.host, Silent())
    path = machine.sysroot.boot / "loader/loader.conf"
    path.write_text(f"{path.read_text()}{key} {entry_of(machine, old)}\n")
    found = seen(machine)
    assert (found.queued, take_survey(machine.sysroot).next_boot) == (None, old)
    assert f"loader.conf on the boot partition says '{key} {entry_of(machine, old)}'" in (
        found.overridden or ""
    )
    assert machine.power_on() == old
    assert f"{new} was to boot" in (seen(machine).did_not_boot or "")


def test_another_systems_entry_that_is_preferred(machine: Machine) -> None:
    machine.upgrade()
    (machine.sysroot.boot / "loader/entries/arch-6.conf").write_text(FOREIGN)
    path = machine.sysroot.boot / "loader/loader.conf"
    path.write_text(f"preferred arch-*\n{path.read_text()}")
    finalize(machine.host, Silent())
    found = seen(machine)
    assert (found.queued, found.state) == (None, "idle")
    assert "arch-6.conf, which is not this installation's, boots next, and not" in (
        found.overridden or ""
    )


def add_neighbour(machine: Machine, serial: int) -> str:
    """An entry of another installation of bootd on this boot partition."""
    entry = replace(
        boot_entry(serial, deployment=0xF), installation="ab" * 16, linux="/k", initrds=("/i",)
    )
    (machine.sysroot.boot / "k").touch()
    path = machine.sysroot.boot / "loader/entries" / entry.file_name
    path.write_bytes(render_entry(entry))
    return entry.plain_name


def test_a_variable_that_names_a_neighbours_entry(machine: Machine) -> None:
    neighbour = add_neighbour(machine, 1)
    set_variable(machine.sysroot, "LoaderEntryDefault", neighbour)
    new = machine.upgrade()
    finalize(machine.host, Silent())
    found = seen(machine)
    assert (found.queued, found.reboot_helps) == (None, False)
    assert f"{neighbour}, which is not this installation's, boots next, and not {new}" in (
        found.overridden or ""
    )
    set_variable(machine.sysroot, "LoaderEntryDefault", None)
    assert (seen(machine).queued, status(machine.host).reboot_helps) == (new, True)


def test_a_neighbour_that_comes_first_is_no_override_and_hinders_no_update(
    machine: Machine,
) -> None:
    neighbour = add_neighbour(machine, 70)
    found = seen(machine)
    assert (found.overridden, take_survey(machine.sysroot).next_boot) == (None, None)
    assert found.problems == [f"{neighbour}, an entry of another installation of bootd, boots next"]
    assert fsck(machine.host, Silent()).damages == []
    new = machine.upgrade()
    assert status(machine.host).reboot_helps
    assert machine.reboot() == new
    assert not seen(machine).problems


def test_a_copy_of_an_entry_that_would_boot_first_is_named(machine: Machine) -> None:
    folder = machine.sysroot.boot / "loader/entries"
    entry = entry_of(machine, running(machine))
    text = (folder / entry).read_text().replace("version 0001", "version 0002")
    (folder / "bootd-0002-debug.conf").write_text(text)
    assert "bootd-0002-debug.conf, an entry that bootd did not write, boots next" in (
        seen(machine).problems
    )


def test_a_machine_on_trial_whose_variable_names_the_older_one(machine: Machine) -> None:
    old = running(machine)
    new = machine.upgrade()
    assert machine.reboot(healthy=False) == new
    set_variable(machine.sysroot, "LoaderEntryDefault", entry_of(machine, old))
    found = seen(machine)
    assert (found.state, found.queued) == ("trial", None)
    assert f"{old} boots next, and not {new}" in (found.overridden or "")
    assert machine.power_on() == old


def test_an_entry_without_its_kernel_is_left_out_by_the_loader(machine: Machine) -> None:
    """Somebody else's clean-up of the boot partition, say, between two boots."""
    old = running(machine)
    publish(machine.image, "v2", **{"usr/lib/modules/6.12.0-test/vmlinuz": b"another kernel " * 99})
    new = machine.upgrade()
    finalize(machine.host, Silent())
    entry = take_survey(machine.sysroot).entry(new)
    assert entry is not None
    (machine.sysroot.boot / entry.linux.lstrip("/")).unlink()
    found = status(machine.host)
    assert (take_survey(machine.sysroot).next_boot, found.queued) == (old, None)
    assert not found.reboot_helps
    miss = start(machine, old, selected=entry_of(machine, old)).miss
    assert miss is not None
    assert "its kernel is not on the boot partition" in miss.cause
    # The start of the daemon put it back; a restart by hand is what is left to do.
    assert status(machine.host).queued == new
    assert machine.power_on() == new


def test_a_rollback_is_awaited_and_undone_without_a_word(machine: Machine) -> None:
    old = running(machine)
    machine.upgrade()
    new = machine.reboot()
    rollback(machine.host, Silent())
    miss = start(machine, new, selected=entry_of(machine, new)).miss
    assert miss is not None
    assert miss.deployment == old
    rollback(machine.host, Silent())
    assert status(machine.host).did_not_boot is None
    assert machine.sysroot.read_intent().awaited is None


def test_a_shutdown_that_was_cut_after_its_commit_is_awaited_too(machine: Machine) -> None:
    old = running(machine)
    new = machine.upgrade()
    before = machine.sysroot.read_intent()
    finalize(machine.host, Silent())
    machine.sysroot.write_intent(before)
    start(machine, old)
    assert status(machine.host).reboot_helps
    assert start(machine, old).miss is not None
    assert not status(machine.host).reboot_helps
    assert machine.power_on() == new
