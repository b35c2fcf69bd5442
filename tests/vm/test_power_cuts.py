"""The power goes at any moment of an upgrade: the disk still boots, and no edit of /etc is lost.

An upgrade is recorded: stage, shutdown, first boot, bless, collect. Then the disk is made again as
it was at each flush, and with random parts of the writes that followed; each is checked without
booting, and those around the commits are booted.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from support.vm import Saved, VirtualMachine
from support.vm_checks import Wanted, check_disk
from support.vm_disk import await_kept, running_machine
from support.vm_power import Cut, Disks, WriteLog, disks
from support.vm_scenario import ESP, UPGRADE, Scenario
from support.vm_second_esp import BOTH, SECOND_ESP_NUMBER, two_esps

from bootd.operations.installing.disk_layout import ESP_NUMBER

_CHECKERS = 2
"""More of them would take the processors from the machine that is tested beside."""
_SEED = 20_261


@dataclass(frozen=True)
class Record:
    """What a machine was told and did while its writes were recorded.

    Attributes:
        log: the writes.
        edits: what was edited in ``/etc``, each with the number of writes it needs to be durable.
        loaders: digests of the boot loaders it has had.
        begun: the machine as it was before.
        esps: numbers of its EFI system partitions.
    """

    log: WriteLog
    edits: list[tuple[int, str]]
    loaders: frozenset[str]
    begun: Saved
    esps: tuple[int, ...]

    def wanted(self, cut: Cut) -> Wanted:
        """Return what a disk has to hold after a cut."""
        edits = {name: f"{name}\n" for position, name in self.edits if position <= cut.position}
        return Wanted(edits, self.loaders, self.esps)


def _edit(scenario: Scenario, name: str) -> tuple[int, str]:
    """Make a durable edit; return how large the log was then, and its name."""
    scenario.run(f"echo {name} >/etc/{name}; sync /etc/{name} /etc; sync")
    return scenario.machine.log.stat().st_size, name


def _loaders(scenario: Scenario) -> set[str]:
    return set(scenario.on_esp(f"sha256sum {ESP}/EFI/*/*").split()[::2])


def _record(scenario: Scenario, version: str, begun: Saved, *esps: int) -> Record:
    """Upgrade to a version, and a little beyond, while the writes are recorded."""
    loaders = _loaders(scenario)
    edits = [_edit(scenario, "before-staging")]
    scenario.upgrade(version)
    edits.append(_edit(scenario, "after-staging"))
    scenario.reboot_into(version)
    edits.append(_edit(scenario, "after-boot"))
    scenario.serve("v3")
    scenario.run(f"{UPGRADE}; bootctl-py unstage; bootctl-py cleanup", seconds=900)
    await_kept(scenario.machine)
    loaders |= _loaders(scenario)
    scenario.machine.shut_down()
    log = WriteLog(scenario.machine.log)
    known = [(log.position_at(size), name) for size, name in edits]
    return Record(log, known, frozenset(loaders), begun, esps)


@pytest.mark.recorded
def test_power_cut_at_any_moment(scenario: Scenario, tmp_path: Path) -> None:
    record = _record(scenario, "v2", running_machine(), ESP_NUMBER)
    assert len(record.loaders) == 1
    _check(record, tmp_path, least=300, boots=20)


@pytest.mark.recorded
def test_power_cut_while_the_loader_is_replaced(scenario: Scenario, tmp_path: Path) -> None:
    record = _record(scenario, "loader", running_machine(), ESP_NUMBER)
    assert len(record.loaders) == 2
    _check(record, tmp_path, least=200, boots=4)


@pytest.mark.recorded
@pytest.mark.machine(make=two_esps)
def test_power_cut_with_two_boot_partitions(scenario: Scenario, tmp_path: Path) -> None:
    scenario.run(f"mkdir /etc/bootd && echo '{BOTH}' >/etc/bootd/bootd.toml")
    scenario.run("systemctl reload bootd.service")
    record = _record(scenario, "k1", two_esps(), ESP_NUMBER, SECOND_ESP_NUMBER)
    _check(record, tmp_path, least=200, boots=4)


def _check(record: Record, work: Path, *, least: int, boots: int) -> None:
    cuts = record.log.cuts(least, _SEED)
    print(f"{len(record.log.writes)} requests, {len(cuts)} disks")
    with disks(work, record.begun.disk) as pool:
        booted = _check_all(pool, record, cuts, work)
        for number in _suspicious(booted, boots):
            _boot(pool, record, cuts[number], work / f"boot-{number}")


def _check_all(pool: Disks, record: Record, cuts: list[Cut], work: Path) -> list[str]:
    base = pool.begin("base")
    done = 0
    with ProcessPoolExecutor(_CHECKERS, multiprocessing.get_context("fork")) as checkers:
        checks = []
        for number, cut in enumerate(cuts):
            record.log.apply(base, range(done, cut.position))
            done = cut.position
            disk = pool.clone(base, f"cut-{number}")
            record.log.apply(disk, cut.extra)
            folder = work / f"cut-{number}"
            folder.mkdir()
            checks.append(checkers.submit(check_disk, disk, folder, record.wanted(cut)))
        booted = []
        for number, check in enumerate(checks):
            try:
                booted.append(str(check.result()))
            except BaseException as error:
                error.add_note(f"cut {number} of {len(cuts)}: {cuts[number]}")
                checkers.shutdown(cancel_futures=True)
                raise
    changes = [number for number, (a, b) in enumerate(pairwise(booted)) if a != b]
    # Where parts of a commit came through either may boot, but nobody falls back from then on.
    last = max(number for number, cut in enumerate(cuts) if booted[number] == booted[0])
    assert len(set(booted)) == 2, set(booted)
    assert cuts[last].position == cuts[changes[0]].position, changes
    return booted


def _suspicious(booted: list[str], boots: int) -> list[int]:
    """Return which disks to boot: those around the commit, and others evenly."""
    commit = next(i for i, (a, b) in enumerate(pairwise(booted)) if a != b)
    around = [*range(max(0, commit - boots // 5), min(len(booted), commit + 2 + boots // 5))]
    step = max(1, len(booted) // (boots - len(around)))
    return sorted({*around, *range(0, len(booted), step)})[:boots]


def _boot(pool: Disks, record: Record, cut: Cut, folder: Path) -> None:
    disk = pool.begin(folder.name)
    record.log.apply(disk, range(cut.position))
    record.log.apply(disk, cut.extra)
    folder.mkdir()
    machine = VirtualMachine(Saved(disk, record.begun.variables), folder)
    began = time.monotonic()
    try:
        machine.start()
        for name, content in record.wanted(cut).edits.items():
            assert machine.run(f"cat /etc/{name}") == content
    finally:
        machine.kill()
    disk.unlink()
    print(f"{cut.position} +{len(cut.extra)}: booted in {time.monotonic() - began:.0f} s")
