"""``kargs``: somebody changes the kernel arguments of a machine that runs, and undoes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.machine import Machine, installed, publish

from bootd.boot.entry import SOURCE_KEY
from bootd.boot.kernels.arguments import MAX_COMMAND_LINE
from bootd.model.documents import KernelArgumentsChangeDocument
from bootd.model.errors import (
    DamagedImageError,
    DamagedRecordError,
    DeniedDigestError,
    FixedKernelArgumentsError,
    InvalidArgumentError,
    InvalidKernelArgumentsError,
)
from bootd.operations.collect import collect
from bootd.operations.finalize import finalize
from bootd.operations.kernel_arguments import change_arguments
from bootd.operations.machine.staged import unstage
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent
from bootd.operations.rollback import rollback
from bootd.operations.stage import stage
from bootd.operations.status import status
from bootd.operations.trial.deny import deny
from bootd.sysroot import Sysroot

_NOTES = ("lock", "entries.json", "blessed.json")
"""What any change may write beside what it changes."""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that runs v2, the newest image, as its second deployment."""
    made = installed(tmp_path)
    made.upgrade()
    made.reboot()
    return made


def kargs(
    machine: Machine, verb: str, *words: str, source: str | None = None
) -> KernelArgumentsChangeDocument:
    return change_arguments(machine.host, Silent(), verb=verb, words=list(words), source=source)


def line(machine: Machine) -> list[str]:
    return machine.sysroot.command_line.read_text().split()[1:]


def added_lines(machine: Machine) -> dict[str, str]:
    found = take_survey(machine.sysroot)
    entry = found.entry(found.booted)
    assert entry is not None
    return {key.removeprefix(SOURCE_KEY): value for key, value in entry.extra}


def edit_entry(machine: Machine, old: str, new: str) -> None:
    found = take_survey(machine.sysroot)
    entry = found.entry(found.booted)
    assert entry is not None
    path = machine.sysroot.boot / "loader/entries" / entry.file_name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def write_tree(sysroot: Sysroot) -> dict[str, bytes]:
    roots = (sysroot.boot, sysroot.deployments, sysroot.intent_file.parent)
    paths = {path for root in roots for path in root.rglob("*") if path.is_file()}
    return {str(path): path.read_bytes() for path in paths if path.name not in _NOTES}


def test_an_added_argument_is_there_at_the_next_boot_and_gone_after_a_rollback(
    machine: Machine,
) -> None:
    before = machine.sysroot.booted()
    done = kargs(machine, "add", "nosmt", "quiet")
    assert (done.changed, done.added, done.removed) == (True, ["nosmt"], [])
    assert not stage(machine.host, Silent(), automatic=True).changed
    after = machine.reboot()
    assert (after, after != before) == (done.deployment, True)
    assert line(machine) == ["quiet", "image=v2", "panic=30", "nosmt"]
    assert (machine.etc(after) / "local.conf").read_text() == "mine\n" * 30
    assert not stage(machine.host, Silent(), automatic=True).changed
    rollback(machine.host, Silent())
    assert machine.reboot() == before
    assert line(machine) == ["quiet", "image=v2", "panic=30"]
    assert not stage(machine.host, Silent(), automatic=True).changed
    rollback(machine.host, Silent())
    assert machine.reboot() == after
    assert "nosmt" in line(machine)


def test_one_of_the_image_s_stays_away_over_upgrades(machine: Machine) -> None:
    kargs(machine, "remove", "quiet")
    machine.reboot()
    for version in ("v3", "v4"):
        publish(machine.image, version)
        machine.upgrade()
        machine.reboot()
        assert line(machine) == [f"image={version}", "panic=30"]
    booted = next(one for one in status(machine.host).deployments if one.booted)
    assert booted.kernel_arguments_not_taken == ["quiet"]
    rollback(machine.host, Silent())
    machine.reboot()
    assert line(machine) == ["image=v3", "panic=30"]
    assert kargs(machine, "add", "quiet").changed
    machine.reboot()
    assert line(machine) == ["image=v3", "panic=30", "quiet"]


def test_a_change_goes_into_what_is_staged_and_into_what_is_staged_instead(
    machine: Machine,
) -> None:
    publish(machine.image, "v3")
    staged = machine.upgrade()
    done = kargs(machine, "set", "panic=5")
    assert done.deployment == staged
    edit_entry(machine, "panic=30", "panic=30 verbose")
    assert kargs(machine, "remove", "quiet").deployment == staged
    publish(machine.image, "v4")
    newer = machine.upgrade()
    assert newer != staged
    assert kargs(machine, "add", "nosmt").deployment == newer
    assert machine.reboot() == newer
    assert sorted(line(machine)[:3]) == ["image=v4", "panic=5", "verbose"]
    assert line(machine)[3:] == ["nosmt"]
    publish(machine.image, "v5")
    machine.upgrade()
    machine.reboot()
    assert sorted(line(machine)[:3]) == ["image=v5", "panic=5", "verbose"]
    assert line(machine)[3:] == ["nosmt"]


def test_a_change_outlives_a_tag_that_goes_back(machine: Machine) -> None:
    publish(machine.image, "v3")
    machine.upgrade()
    kargs(machine, "add", "nosmt")
    publish(machine.image, "v2")
    assert stage(machine.host, Silent()).changed
    machine.reboot()
    assert line(machine) == ["quiet", "image=v2", "panic=30", "nosmt"]


def test_a_change_that_is_taken_back_leaves_nothing_staged(machine: Machine) -> None:
    kargs(machine, "add", "nosmt")
    undone = kargs(machine, "unset", "nosmt")
    assert (undone.changed, undone.deployment) == (True, machine.sysroot.booted())
    found = take_survey(machine.sysroot)
    assert (found.staged, len(found.records)) == (None, 2)
    again = kargs(machine, "unset", "nosmt")
    assert (again.changed, again.absent) == (False, ["nosmt"])


def test_unstage_and_collect_know_what_was_staged_for_arguments(machine: Machine) -> None:
    done = kargs(machine, "add", "nosmt")
    assert done.deployment not in collect(machine.host, Silent()).deployments
    assert unstage(machine.host) == done.deployment
    machine.reboot()
    assert "nosmt" not in line(machine)


def test_programs_own_arguments_beside_each_other(machine: Machine) -> None:
    kargs(machine, "set", "isolcpus=1-3", "nohz_full=1-3", source="tuned")
    kargs(machine, "set", "rd.driver.pre=vfio-pci", source="dracut")
    machine.reboot()
    assert line(machine)[3:] == ["isolcpus=1-3", "nohz_full=1-3", "rd.driver.pre=vfio-pci"]
    assert added_lines(machine) == {
        "tuned": "isolcpus=1-3 nohz_full=1-3",
        "dracut": "rd.driver.pre=vfio-pci",
    }
    assert not kargs(machine, "set", "isolcpus=1-3", "nohz_full=1-3", source="tuned").changed
    kargs(machine, "add", "audit=0")
    kargs(machine, "set", "isolcpus=0-7", source="tuned")
    machine.reboot()
    assert line(machine)[3:] == ["rd.driver.pre=vfio-pci", "audit=0", "isolcpus=0-7"]
    publish(machine.image, "v3")
    machine.upgrade()
    machine.reboot()
    assert line(machine)[3:] == ["rd.driver.pre=vfio-pci", "audit=0", "isolcpus=0-7"]
    assert kargs(machine, "unset", source="tuned").sources == {"dracut": ["rd.driver.pre=vfio-pci"]}
    machine.reboot()
    assert line(machine)[3:] == ["rd.driver.pre=vfio-pci", "audit=0"]
    publish(machine.image, "v4")
    machine.upgrade()
    machine.reboot()
    assert added_lines(machine) == {"dracut": "rd.driver.pre=vfio-pci"}
    rollback(machine.host, Silent())
    machine.reboot()
    assert added_lines(machine)["dracut"] == "rd.driver.pre=vfio-pci"


def test_what_another_tool_wrote_for_a_program_is_that_program_s(machine: Machine) -> None:
    edit_entry(machine, "panic=30", "panic=30 nosmt quiet\nx-options-source-tuned nosmt quiet")
    kargs(machine, "set", "nosmt", source="tuned")
    machine.reboot()
    assert line(machine) == ["quiet", "image=v2", "panic=30", "nosmt"]
    assert added_lines(machine) == {"tuned": "nosmt"}


def test_where_arguments_come_from(machine: Machine) -> None:
    changes = {"kernel_arguments": ["console=ttyS0"]}
    machine.configuration = machine.configuration.model_copy(update=changes)
    stage(machine.host, Silent())
    kargs(machine, "add", "nosmt")
    kargs(machine, "set", "isolcpus=1", source="tuned")
    machine.reboot()
    edit_entry(machine, "panic=30", "panic=30 rd.debug")
    publish(machine.image, "v3")
    machine.upgrade()
    machine.reboot()
    booted = next(one for one in status(machine.host).deployments if one.booted)
    image = "/usr/lib/bootc/kargs.d/10-image.toml"
    assert booted.kernel_argument_origins == {
        "quiet": image,
        "image=v3": image,
        "console=ttyS0": "bootd.toml",
        "panic=30": "bootd",
        "rd.debug": "boot entry",
        "nosmt": "kargs",
        "isolcpus=1": "source tuned",
    }


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"verb": "append", "words": ["a"]}, "no way to change"),
    ({"verb": "add", "words": []}, "nothing is named"),
    ({"verb": "add", "words": ["a b"]}, "not one kernel argument"),
    ({"verb": "add", "words": ["a\nlinux /evil"]}, "not printable ASCII"),
    ({"verb": "add", "words": ['a="b']}, "not closed"),
    ({"verb": "add", "words": [""]}, "not one kernel argument"),
    ({"verb": "add", "words": ["="]}, "not one kernel argument"),
    ({"verb": "add", "words": ["--"]}, "not one kernel argument"),
    ({"verb": "add", "words": ["bootd=x"]}, "for bootd to say"),
    ({"verb": "remove", "words": ["bootd.integrity"]}, "for bootd to say"),
    ({"verb": "add", "words": ['note="a bootd.integrity=off b"']}, "for bootd to say"),
    ({"verb": "unset", "words": ["panic=30"]}, "is an argument and not a key"),
    ({"verb": "add", "words": ["a"] * 1_001}, "at most 1000"),
    ({"verb": "add", "words": ["a"], "source": "../tuned"}, "no name of a program"),
    ({"verb": "add", "words": ["a"], "source": ""}, "no name of a program"),
    ({"verb": "add", "words": ["a"], "source": "x" * 41}, "no name of a program"),
    ({"verb": "set", "words": ["root=/dev/sda1"], "source": "tuned"}, "not for a program"),
]


@pytest.mark.parametrize(("asked", "problem"), REFUSED)
def test_what_cannot_be_meant_changes_nothing(
    machine: Machine, asked: dict[str, Any], problem: str
) -> None:
    before = write_tree(machine.sysroot)
    with pytest.raises(InvalidArgumentError, match=problem):
        change_arguments(machine.host, Silent(), **asked)
    assert write_tree(machine.sysroot) == before


@pytest.mark.parametrize("staged", [False, True])
def test_a_line_that_a_kernel_would_cut_off_changes_nothing(machine: Machine, staged: bool) -> None:
    if staged:
        publish(machine.image, "v3")
        machine.upgrade()
    before = write_tree(machine.sysroot)
    with pytest.raises(InvalidKernelArgumentsError, match="bytes"):
        kargs(machine, "add", "x" * (MAX_COMMAND_LINE - 40))
    assert write_tree(machine.sysroot) == before


def test_an_image_with_too_long_a_line_is_refused_when_it_is_staged(machine: Machine) -> None:
    files = {"usr/lib/bootc/kargs.d/20-long.toml": b'kargs = ["%s"]' % (b"a" * 2_000)}
    publish(machine.image, "v3", **files)
    with pytest.raises(InvalidKernelArgumentsError):
        machine.upgrade()
    assert take_survey(machine.sysroot).staged is None


def test_another_root_is_told(machine: Machine) -> None:
    assert kargs(machine, "set", "root=UUID=1").other_root
    assert not kargs(machine, "add", "rootwait").other_root


def test_what_boots_next_by_a_rollback_keeps_its_arguments(machine: Machine) -> None:
    rollback(machine.host, Silent())
    with pytest.raises(FixedKernelArgumentsError) as caught:
        kargs(machine, "add", "nosmt")
    assert f"rollback {machine.sysroot.booted()}" in caught.value.hint
    machine.reboot()
    assert kargs(machine, "add", "nosmt").changed


def test_an_entry_that_was_lost_is_put_back_first(machine: Machine) -> None:
    found = take_survey(machine.sysroot)
    entry = found.entry(found.booted)
    assert entry is not None
    stage(machine.host, Silent())
    (machine.sysroot.boot / "loader/entries" / entry.file_name).unlink()
    assert kargs(machine, "add", "nosmt").changed
    assert take_survey(machine.sysroot).entry(found.booted) == entry
    machine.reboot()
    assert line(machine) == ["quiet", "image=v2", "panic=30", "nosmt"]


def test_a_machine_without_a_deployment_has_none_to_change(tmp_path: Path) -> None:
    empty = Machine(tmp_path / "root", tmp_path / "image")
    empty.folder.mkdir()
    empty.sysroot.initialise()
    with pytest.raises(FixedKernelArgumentsError):
        kargs(empty, "add", "nosmt")


def test_arguments_that_do_not_boot_fall_back_and_a_person_mends_them(machine: Machine) -> None:
    before = machine.sysroot.booted()
    kargs(machine, "add", "init=/nowhere", source="tuned")
    machine.reboot(healthy=False)
    for _ in range(3):
        machine.power_on(healthy=False)
    assert machine.sysroot.booted() == before
    with pytest.raises(DeniedDigestError, match="arguments of tuned"):
        kargs(machine, "add", "init=/nowhere", source="tuned")
    assert kargs(machine, "add", "nosmt").changed
    after = machine.reboot()
    assert after != before
    assert line(machine) == ["quiet", "image=v2", "panic=30", "nosmt"]


def test_a_denied_image_that_runs_can_be_changed_by_a_person(machine: Machine) -> None:
    running = take_survey(machine.sysroot)
    deny(machine.host, running.records[running.booted].digest, "a test")  # type: ignore[index]
    assert kargs(machine, "add", "nosmt").changed


def test_an_image_that_is_damaged_is_not_deployed_again(machine: Machine) -> None:
    found = take_survey(machine.sysroot)
    assert found.settled_on is not None
    image = machine.sysroot.images / found.settled_on
    (image / "image.json").rename(image / "gone")
    before = write_tree(machine.sysroot)
    with pytest.raises((DamagedRecordError, DamagedImageError)):
        kargs(machine, "add", "nosmt")
    assert write_tree(machine.sysroot) == before


def test_a_finalization_that_fails_once_keeps_the_change(machine: Machine) -> None:
    kargs(machine, "add", "nosmt")
    boot = machine.sysroot.boot / "loader/entries"
    boot.rename(boot.with_name("aside"))
    boot.write_text("in the way")
    with pytest.raises(Exception, match="entries"):
        finalize(machine.host, Silent())
    boot.unlink()
    boot.with_name("aside").rename(boot)
    machine.reboot()
    assert line(machine) == ["quiet", "image=v2", "panic=30", "nosmt"]
