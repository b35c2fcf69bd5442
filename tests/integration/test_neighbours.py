"""Two installations of bootd on one boot partition: neither ever changes what is the other's."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.boot_tree import snapshot
from support.loader import counted_down, use_up_tries
from support.machine import KERNEL, Machine, publish

from bootd.boot.listing import list_entries
from bootd.model.deployment import DeploymentId
from bootd.operations.bless import bless
from bootd.operations.collect import collect
from bootd.operations.finalize import finalize
from bootd.operations.fsck import fsck
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent
from bootd.operations.recover import recover
from bootd.operations.rollback import rollback
from bootd.operations.status import status
from bootd.operations.trial.deny import denied


@dataclass
class System:
    """A machine on a disk of its own; a person chooses in the boot menu that it is started."""

    name: str
    machine: Machine

    def publish(self, version: str) -> None:
        initramfs = f"{self.name} {version} ".encode() * 300
        more = {f"usr/lib/modules/{KERNEL}/initramfs.img": initramfs}
        publish(self.machine.image, version, **more)

    def upgrade(self, version: str) -> DeploymentId:
        """Stage a version, shut down, and start it."""
        self.publish(version)
        staged = self.machine.upgrade()
        self.shut_down()
        self.start(staged)
        return staged

    def shut_down(self) -> None:
        finalize(self.machine.host, Silent())

    def start(self, deployment: DeploymentId, *, healthy: bool = True) -> None:
        """Start one of this system's deployments, counted as a boot loader does."""
        sysroot = self.machine.sysroot
        shutil.rmtree(self.machine.folder / "run", ignore_errors=True)
        folder = sysroot.boot / "loader/entries"
        [name] = [
            one.file_name
            for one in list_entries(sysroot).entries
            if one.deployment == deployment and one.tries_left != 0
        ][:1]
        (folder / name).rename(folder / counted_down(name))
        sysroot.command_line.parent.mkdir(parents=True, exist_ok=True)
        sysroot.command_line.write_text(f"bootd={deployment} quiet\n")
        recover(self.machine.host)
        if healthy:
            bless(self.machine.host)

    def own(self) -> dict[str, bytes]:
        """Its entries and what these name, as they are on the boot partition."""
        boot = self.machine.sysroot.boot
        files = {}
        for entry in list_entries(self.machine.sysroot).entries:
            name = f"loader/entries/{entry.file_name}"
            for path in (name, entry.linux.lstrip("/"), *(one[1:] for one in entry.initrds)):
                files[path] = (boot / path).read_bytes()
        assert files
        return files


@pytest.fixture
def systems(tmp_path: Path) -> tuple[System, System]:
    """Two systems, each on its v1, blessed."""
    esp = tmp_path / "esp"
    esp.mkdir()
    made = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "boot").symlink_to(esp)
        system = System(name, Machine(folder, tmp_path / f"image-{name}"))
        system.upgrade("v1")
        made.append(system)
    return made[0], made[1]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_upgrades_and_cleanup_leave_the_neighbour_alone(systems, order):
    busy, quiet = (systems[number] for number in order)
    before = quiet.own()
    for version in ("v2", "v3", "v4"):
        busy.upgrade(version)
    collect(busy.machine.host, Silent())
    fsck(busy.machine.host, Silent())
    assert quiet.own() == before
    assert len(list_entries(busy.machine.sysroot).entries) == 2
    # And the other way round, with what there is now.
    before = busy.own()
    quiet.upgrade("v5")
    collect(quiet.machine.host, Silent())
    assert busy.own() == before


def test_a_neighbour_is_not_counted_nor_listed(systems):
    first, second = systems
    for one in systems:
        found = take_survey(one.machine.sysroot)
        assert [entry.deployment for entry in found.entries] == [found.booted]
        assert len(found.neighbours) == 1
        assert found.queued is None
        assert found.rollback_target() is None
    [problem] = status(first.machine.host).problems
    assert "another installation of bootd" in problem
    assert status(second.machine.host).problems == []


def test_a_rollback_goes_to_ones_own_and_leaves_the_neighbour_alone(systems):
    first, second = systems
    old = take_survey(first.machine.sysroot).booted
    first.upgrade("v2")
    before = second.own()
    assert rollback(first.machine.host, Silent()).deployment == old
    assert second.own() == before


def test_a_neighbour_on_trial_is_not_blamed(systems):
    first, second = systems
    second.publish("v2")
    on_trial = second.machine.upgrade()
    second.shut_down()
    second.start(on_trial, healthy=False)
    before = second.own()
    booted = take_survey(first.machine.sysroot).booted
    assert booted is not None
    first.start(booted)
    first.upgrade("v2")
    assert denied(first.machine.host).denied == []
    assert second.own() == before


def test_a_neighbour_that_failed_is_not_denied_nor_collected(systems):
    first, second = systems
    second.upgrade("v2")
    failed = list_entries(second.machine.sysroot).entries[0]
    use_up_tries(second.machine.sysroot, failed)
    before = second.own()
    first.upgrade("v2")
    collect(first.machine.host, Silent())
    assert denied(first.machine.host).denied == []
    assert second.own() == before


def test_the_fallback_is_ones_own_though_a_neighbour_came_between(systems):
    first, second = systems
    second.upgrade("v2")
    running = take_survey(first.machine.sysroot).booted
    first.publish("v2")
    first.machine.upgrade()
    first.shut_down()
    [bad, fallback] = list_entries(first.machine.sysroot).entries
    assert fallback.deployment == running
    assert all(
        one.serial < fallback.serial for one in take_survey(first.machine.sysroot).neighbours
    )
    assert bad.serial > fallback.serial


def test_one_image_on_both_gives_deployments_that_differ(systems):
    first, second = systems
    shared = second.machine.image
    first.machine.image = shared
    second.publish("shared")
    one = first.machine.upgrade()
    other = second.machine.upgrade()
    # Neither is on the boot partition yet, so both may have the same ID; they still are two.
    first.shut_down()
    second.shut_down()
    assert list_entries(first.machine.sysroot).entries[0].deployment == one
    assert list_entries(second.machine.sysroot).entries[0].deployment == other
    before = first.own()
    second.start(other)
    collect(second.machine.host, Silent())
    assert first.own() == before
    assert first.own().keys().isdisjoint(second.own())


def test_entries_of_an_older_bootd_belong_to_who_has_the_deployment(systems):
    first, second = systems
    entries = first.machine.sysroot.boot / "loader/entries"
    for path in entries.iterdir():
        lines = [line for line in path.read_text().splitlines() if "installation" not in line]
        path.write_text("\n".join(lines) + "\n")
    for one in systems:
        found = take_survey(one.machine.sysroot)
        assert [entry.deployment for entry in found.entries] == [found.booted]
    before = second.own()
    first.upgrade("v2")
    first.upgrade("v3")
    collect(first.machine.host, Silent())
    assert second.own() == before


def test_what_a_cut_left_of_a_neighbour_stays(systems):
    first, second = systems
    boot = first.machine.sysroot.boot
    [kernel] = {Path(name).parent for name in second.own() if name.startswith("bootd/")}
    [theirs] = list_entries(second.machine.sysroot).entries
    (boot / "loader/entries" / theirs.file_name).unlink()
    empty = boot / "loader/entries/bootd-0007-00000000000000aa.0.conf"
    empty.touch()
    before = snapshot(boot / kernel)
    first.upgrade("v2")
    collect(first.machine.host, Silent())
    recover(first.machine.host)
    assert snapshot(boot / kernel) == before
    assert empty.exists()
