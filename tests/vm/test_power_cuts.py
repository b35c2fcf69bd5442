"""The power goes at any moment of an upgrade: the disk still boots, and no edit of /etc is lost.

One upgrade is recorded: stage, shutdown, first boot, bless, collect. Then the disk is made again as
it was at each flush, and with random parts of the writes that followed; each is checked without
booting, and those around the commits are booted.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from support.vm import Saved, VirtualMachine
from support.vm_checks import check_disk
from support.vm_disk import await_kept, running_machine
from support.vm_power import Cut, Disks, WriteLog, disks
from support.vm_scenario import UPGRADE, Scenario

_DISKS = 300
_BOOTED = 20
_CHECKERS = 2
"""More of them would take the processors from the machine that is tested beside."""
_SEED = 20_261


def _edit(scenario: Scenario, name: str) -> tuple[int, str]:
    """Make a durable edit; return how large the log was then, and its name."""
    scenario.run(f"echo {name} >/etc/{name}; sync /etc/{name} /etc; sync")
    return scenario.machine.log.stat().st_size, name


@pytest.mark.recorded
def test_power_cut_at_any_moment(scenario: Scenario, tmp_path: Path) -> None:
    edits = [_edit(scenario, "before-staging")]
    scenario.upgrade("v2")
    edits.append(_edit(scenario, "after-staging"))
    scenario.reboot_into("v2")
    edits.append(_edit(scenario, "after-boot"))
    scenario.serve("v3")
    scenario.run(f"{UPGRADE}; bootctl-py unstage; bootctl-py cleanup", seconds=900)
    await_kept(scenario.machine)
    scenario.machine.shut_down()
    log = WriteLog(scenario.machine.log)
    known = [(log.position_at(size), name) for size, name in edits]
    cuts = log.cuts(_DISKS, _SEED)
    print(f"{len(log.writes)} requests, {len(cuts)} disks")
    with disks(tmp_path, running_machine().disk) as pool:
        booted = _check_all(pool, log, cuts, known, tmp_path)
        for number in _suspicious(booted):
            _boot(pool, log, cuts[number], known, tmp_path / f"boot-{number}")


def _check_all(
    pool: Disks, log: WriteLog, cuts: list[Cut], known: list[tuple[int, str]], work: Path
) -> list[str]:
    base = pool.begin("base")
    done = 0
    with ProcessPoolExecutor(_CHECKERS, multiprocessing.get_context("fork")) as checkers:
        checks = []
        for number, cut in enumerate(cuts):
            log.apply(base, range(done, cut.position))
            done = cut.position
            disk = pool.clone(base, f"cut-{number}")
            log.apply(disk, cut.extra)
            folder = work / f"cut-{number}"
            folder.mkdir()
            checks.append(checkers.submit(check_disk, disk, folder, _edits(known, cut)))
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


def _edits(known: list[tuple[int, str]], cut: Cut) -> dict[str, str]:
    return {name: f"{name}\n" for position, name in known if position <= cut.position}


def _suspicious(booted: list[str]) -> list[int]:
    """Return which disks to boot: those around the commit, and others evenly."""
    commit = next(i for i, (a, b) in enumerate(pairwise(booted)) if a != b)
    around = [*range(max(0, commit - 4), min(len(booted), commit + 6))]
    step = max(1, len(booted) // (_BOOTED - len(around)))
    return sorted({*around, *range(0, len(booted), step)})[:_BOOTED]


def _boot(pool: Disks, log: WriteLog, cut: Cut, known: list[tuple[int, str]], folder: Path) -> None:
    disk = pool.begin(folder.name)
    log.apply(disk, range(cut.position))
    log.apply(disk, cut.extra)
    folder.mkdir()
    machine = VirtualMachine(Saved(disk, running_machine().variables), folder)
    began = time.monotonic()
    try:
        machine.start()
        for name, content in _edits(known, cut).items():
            assert machine.run(f"cat /etc/{name}") == content
    finally:
        machine.kill()
    disk.unlink()
    print(f"{cut.position} +{len(cut.extra)}: booted in {time.monotonic() - began:.0f} s")
