"""What ``$BOOT`` lost is put back from the store: by fsck, an upgrade, a start of the daemon."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.loader import NothingBootsError, boot, set_variable
from support.machine import Machine, installed, publish
from support.small_boot import MIB, release, small_boot

from bootd.boot.kernels.kernel import kernel_damage
from bootd.boot.places import entries_folder
from bootd.model.documents import Damage
from bootd.operations.bless import bless
from bootd.operations.collect import collect
from bootd.operations.fsck import fsck
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent
from bootd.operations.recover import recover
from bootd.operations.rollback import rollback
from bootd.operations.stage import stage
from bootd.operations.status import status


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """It runs v2, blessed and started once more; v1 is what it would go back to."""
    machine = installed(tmp_path / "m")
    machine.upgrade()
    machine.reboot()
    machine.power_on()
    return machine


def entries(machine: Machine) -> list[Path]:
    return sorted(entries_folder(machine.sysroot).glob("*.conf"))


def kernels(machine: Machine, name: str = "vmlinuz") -> list[Path]:
    return sorted((machine.sysroot.boot / "bootd").glob(f"*/{name}"))


def run_fsck(machine: Machine, *, repair: bool = True) -> list[Damage]:
    return fsck(machine.host, Silent(), repair=repair).damages


def run_recover(machine: Machine) -> None:
    recover(machine.host)


def run_upgrade(machine: Machine) -> None:
    stage(machine.host, Silent())


def entry_of(machine: Machine, version: str) -> Path:
    found = take_survey(machine.sysroot)
    [name] = [
        entry.file_name
        for entry in found.entries
        if found.records[entry.deployment].version == version
    ]
    return entries_folder(machine.sysroot) / name


def _lose_kernels(machine: Machine) -> None:
    for folder in (machine.sysroot.boot / "bootd").iterdir():
        shutil.rmtree(folder)


def _lose_initramfs(machine: Machine) -> None:
    for path in kernels(machine, "initrd"):
        path.unlink()


def _empty_kernel(machine: Machine) -> None:
    kernels(machine)[0].write_bytes(b"")


def _lose_entry_of_what_runs(machine: Machine) -> None:
    entry_of(machine, "v2").unlink()


def _lose_entry_of_the_fallback(machine: Machine) -> None:
    entry_of(machine, "v1").unlink()


def _lose_all_entries(machine: Machine) -> None:
    for path in entries(machine):
        path.unlink()


def _lose_loader_folder(machine: Machine) -> None:
    shutil.rmtree(machine.sysroot.boot / "loader")


def _lose_marker(machine: Machine) -> None:
    (machine.sysroot.boot / "loader/entries.srel").unlink()


LOSSES: dict[str, Callable[[Machine], None]] = {
    "kernels": _lose_kernels,
    "initramfs": _lose_initramfs,
    "content of a kernel": _empty_kernel,
    "entry of what runs": _lose_entry_of_what_runs,
    "entry of the fallback": _lose_entry_of_the_fallback,
    "all entries": _lose_all_entries,
    "loader folder": _lose_loader_folder,
    "marker of the entries": _lose_marker,
}
MENDERS: dict[str, Callable[[Machine], object]] = {
    "fsck": run_fsck,
    "upgrade": run_upgrade,
    "start of the daemon": run_recover,
}


def contents(machine: Machine) -> dict[str, bytes]:
    boot = machine.sysroot.boot
    paths = [path for path in boot.rglob("*") if path.is_file()]
    return {str(path.relative_to(boot)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("mend", MENDERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_everything_comes_back_as_it_was(machine: Machine, loss: str, mend: str) -> None:
    before = contents(machine)
    LOSSES[loss](machine)
    assert contents(machine) != before
    problems = status(machine.host).problems
    assert problems or loss == "marker of the entries"
    assert all("'bootctl-py fsck' puts it back" in problem for problem in problems)
    told = run_fsck(machine, repair=False)
    assert told
    assert not any(damage.repaired for damage in told)
    assert contents(machine) != before
    MENDERS[mend](machine)
    assert contents(machine) == before
    assert not run_fsck(machine)
    assert not status(machine.host).problems
    assert take_survey(machine.sysroot).records[machine.power_on()].version == "v2"


def test_fsck_says_what_it_put_back(machine: Machine) -> None:
    kernel = kernels(machine)[0]
    kernel.unlink()
    entry = entry_of(machine, "v2")
    entry.unlink()
    assert {(one.what, one.repaired, one.problem) for one in run_fsck(machine)} == {
        ("kernel", True, f"{kernel} is missing"),
        ("entry", True, f"the boot entry {entry.name} is missing"),
    }


def test_a_kernel_with_wrong_bytes_is_found_by_fsck(machine: Machine) -> None:
    before = contents(machine)
    for path in (*kernels(machine), *kernels(machine, "initrd")):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    found = run_fsck(machine)
    assert {damage.what for damage in found} == {"kernel"}
    assert all(damage.repaired for damage in found)
    assert contents(machine) == before


def test_an_entry_that_cannot_be_read_is_written_again(machine: Machine) -> None:
    before = contents(machine)
    path = entry_of(machine, "v2")
    path.write_bytes(b"\0" * 512)
    run_recover(machine)
    assert path.read_bytes() == b"\0" * 512
    [damage] = run_fsck(machine)
    assert (damage.what, damage.path, damage.repaired) == ("entry", path.name, True)
    assert contents(machine) == before


def test_what_somebody_changed_in_an_entry_comes_back_too(machine: Machine) -> None:
    path = entry_of(machine, "v2")
    text = path.read_text().replace(" quiet", " debug quiet") + "x-mine kept\n"
    path.write_text(text)
    machine.power_on()
    path.unlink()
    run_fsck(machine)
    assert path.read_text() == text


def test_a_line_that_names_a_lost_file_is_left_out(machine: Machine) -> None:
    path = entry_of(machine, "v2")
    microcode = machine.sysroot.boot / "microcode.img"
    microcode.write_bytes(b"microcode")
    text = path.read_text()
    path.write_text(text.replace("initrd /bootd", "initrd /microcode.img\ninitrd /bootd"))
    machine.power_on()
    path.unlink()
    microcode.unlink()
    [damage] = run_fsck(machine)
    assert damage.repaired
    assert "x-bootd-left-out initrd /microcode.img\n" in path.read_text()
    assert take_survey(machine.sysroot).records[machine.power_on()].version == "v2"


def test_damaged_notes_stop_nothing(machine: Machine) -> None:
    machine.sysroot.noted_entries_file.write_bytes(b"\0" * 99)
    assert not status(machine.host).problems
    publish(machine.image, "v3")
    machine.upgrade()
    assert take_survey(machine.sysroot).records[machine.reboot()].version == "v3"
    assert len(machine.sysroot.read_noted_entries().entries) == len(entries(machine))


def test_the_damaged_copy_in_the_store_does_not_replace_a_good_one(machine: Machine) -> None:
    record = take_survey(machine.sysroot).records[machine.sysroot.booted()]
    name = record.kernel.initramfs_object
    path = machine.sysroot.objects / name[:2] / name[2:]
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    before = contents(machine)
    found = run_fsck(machine, repair=False)
    assert "kernel" not in {damage.what for damage in found}
    initrd = next(
        one
        for one in kernels(machine, "initrd")
        if one.parent.name.startswith(record.kernel.digest)
    )
    initrd.unlink()
    run_recover(machine)
    assert not initrd.exists()
    [damage] = [one for one in run_fsck(machine) if one.what == "kernel"]
    assert not damage.repaired
    assert "its object in the store is missing or damaged" in damage.problem
    with pytest.raises(NothingBootsError):
        boot(machine.copy(machine.folder.with_name("copy"), machine.disk).sysroot)
    # fsck took the damaged object away, so an upgrade to the same image brings all of it back.
    run_upgrade(machine)
    assert contents(machine) == before
    assert not run_fsck(machine)


def test_what_was_on_trial_and_runs_keeps_its_counter(tmp_path: Path) -> None:
    machine = installed(tmp_path / "m")
    machine.upgrade()
    machine.reboot(healthy=False)
    path = entry_of(machine, "v2")
    assert path.name.endswith("+2-1.conf")
    path.unlink()
    run_fsck(machine)
    assert entry_of(machine, "v2") == path


def test_what_was_blessed_since_it_was_noted_has_no_counter(tmp_path: Path) -> None:
    machine = installed(tmp_path / "m")
    machine.upgrade()
    machine.reboot(healthy=False)
    bless(machine.host)
    path = entry_of(machine, "v2")
    path.unlink()
    run_fsck(machine)
    assert entry_of(machine, "v2") == path
    assert "+" not in path.name


def test_a_trial_that_may_have_failed_does_not_come_back(tmp_path: Path) -> None:
    machine = installed(tmp_path / "m")
    machine.upgrade()
    machine.reboot(healthy=False)
    for path in entries(machine):
        if "+" in path.name:
            path.unlink()
    assert take_survey(machine.sysroot).records[machine.power_on()].version == "v1"
    assert not run_fsck(machine)
    assert [path.name.count("+") for path in entries(machine)] == [0]


def test_a_rollback_is_not_undone(machine: Machine) -> None:
    rollback(machine.host, Silent())
    assert entry_of(machine, "v1").name.startswith("bootd-0003")
    _lose_all_entries(machine)
    run_fsck(machine)
    found = take_survey(machine.sysroot)
    assert [found.records[entry.deployment].version for entry in found.entries] == ["v1", "v2"]
    assert [entry.serial for entry in found.entries] == [3, 2]


def test_what_was_collected_stays_away(machine: Machine) -> None:
    publish(machine.image, "v3")
    machine.upgrade()
    machine.reboot()
    publish(machine.image, "v4")
    machine.upgrade()
    machine.reboot()
    collect(machine.host, Silent())
    before = contents(machine)
    assert len(entries(machine)) == 2
    _lose_all_entries(machine)
    run_fsck(machine)
    assert contents(machine) == before


def test_what_is_staged_meanwhile_still_boots_next(machine: Machine) -> None:
    publish(machine.image, "v3")
    machine.upgrade()
    _lose_all_entries(machine)
    assert take_survey(machine.sysroot).records[machine.reboot()].version == "v3"
    run_fsck(machine)
    found = take_survey(machine.sysroot)
    assert [found.records[entry.deployment].version for entry in found.entries] == [
        "v3",
        "v2",
        "v1",
    ]


def test_a_machine_of_an_older_bootd_gets_what_runs_back(tmp_path: Path) -> None:
    machine = installed(tmp_path / "m")
    machine.upgrade()
    machine.reboot()
    machine.sysroot.noted_entries_file.unlink()
    _lose_entry_of_what_runs(machine)
    run_fsck(machine)
    path = entry_of(machine, "v2")
    assert path.name.startswith("bootd-0002-")
    assert "+" not in path.name
    assert take_survey(machine.sysroot).records[machine.power_on()].version == "v2"


def test_without_notes_the_upgrade_that_waits_still_boots_next(tmp_path: Path) -> None:
    machine = installed(tmp_path / "m")
    machine.upgrade()
    machine.reboot(healthy=False)
    machine.sysroot.command_line.write_text(f"bootd={oldest(machine)}\n")
    machine.sysroot.noted_entries_file.unlink()
    path = entry_of(machine, "v1")
    path.unlink()
    run_fsck(machine)
    assert entry_of(machine, "v1").name.startswith(path.name.removesuffix(".conf"))
    assert take_survey(machine.sysroot).entries[0].serial == 2


def oldest(machine: Machine) -> str:
    records = take_survey(machine.sysroot).records.values()
    return next(record.id for record in records if record.version == "v1")


def test_a_folder_of_an_older_bootd_comes_back_under_its_name(machine: Machine) -> None:
    record = take_survey(machine.sysroot).records[machine.sysroot.booted()]
    [own] = (machine.sysroot.boot / "bootd").glob(f"{record.kernel.digest}*")
    shared = own.with_name(record.kernel.digest)
    shutil.copytree(own, shared)
    path = entry_of(machine, "v2")
    path.write_text(path.read_text().replace(own.name, shared.name))
    before = contents(machine)
    shutil.rmtree(shared)
    [damage] = run_fsck(machine)
    assert damage.repaired
    assert contents(machine) == before


def test_what_still_boots_is_not_given_up_for_what_does_not(tmp_path: Path) -> None:
    with small_boot(tmp_path / "m", 5 * MIB) as machine:
        for version in ("v1", "v2"):
            release(machine, version)
            machine.upgrade()
            machine.reboot()
        machine.power_on()
        needed = take_survey(machine.sysroot).records[take_survey(machine.sysroot).booted]  # type: ignore[index]
        [folder] = (machine.sysroot.boot / "bootd").glob(f"{needed.kernel.digest}*")
        shutil.rmtree(folder)
        (machine.sysroot.boot / "somebody's").write_bytes(b"1" * (3 * MIB))
        run_recover(machine)
        assert kernel_damage(machine.sysroot, needed.kernel) is not None
        assert any("was not put back" in one.problem for one in run_fsck(machine))
        assert len(list((machine.sysroot.boot / "bootd").iterdir())) == 1
        (machine.sysroot.boot / "somebody's").unlink()
        run_recover(machine)
        assert kernel_damage(machine.sysroot, needed.kernel) is None
        assert take_survey(machine.sysroot).records[machine.power_on()].version == "v2"


def test_a_second_upgrade_after_a_repair_works(machine: Machine) -> None:
    # Without anything that shows whose partition it is, the loader's word has to.
    set_variable(machine.sysroot, "LoaderEntrySelected", entry_of(machine, "v2").name)
    _lose_kernels(machine)
    _lose_all_entries(machine)
    publish(machine.image, "v3")
    machine.upgrade()
    assert take_survey(machine.sysroot).records[machine.reboot()].version == "v3"
    for record in take_survey(machine.sysroot).records.values():
        assert kernel_damage(machine.sysroot, record.kernel) is None
