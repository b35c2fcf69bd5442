"""docs/architecture.md, "On disk": what a machine has after a life of its own, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from support.machine import Machine, installed

from bootd.model.errors import ConnectionFailedError
from bootd.operations.check import check
from bootd.operations.collect import collect
from bootd.operations.machine.attempts import note_attempt
from bootd.operations.machine.survey import take_survey
from bootd.operations.progress import Silent
from bootd.operations.rollback import rollback
from bootd.operations.trial.health import run_health

ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    "contents/<diff ID>": "integration/test_partial_fetch.py",
    "etc-copies/": "integration/test_forget.py",
    "unfit.json": "integration/test_unfit_images.py",
    "loader.json": "integration/test_boot_loader.py",
    "unreachable.json": "integration/test_registry_faults.py",
    "status/": "unit/test_status_file.py",
    "trial-failed": "integration/test_blessing.py",
    "try-returned": "integration/test_blessing.py",
}
"""What that life has not, since it takes an odd image or a registry that is down; who has it."""


FOLDERS = {"objects/", "layers/", "contents/", "images/", "deployments/", "health/"}
"""Folders of the store of which the page says what is in them."""


def documented() -> list[str]:
    """The paths of the block, below their own roots: the store, ``$BOOT`` and ``/run/bootd``."""
    page = (ROOT / "docs/architecture.md").read_text()
    [block] = re.findall(r"^## On disk\n+```\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    first, *lines = block.splitlines()
    assert first.startswith("/sysroot/bootd/ ")
    return [re.sub(r"^[├└]── ", "", line).partition("  ")[0].rstrip() for line in lines]


def pattern(path: str) -> re.Pattern[str]:
    """What a documented path stands for: names in brackets, and all below a folder."""
    text = re.escape(path)
    text = re.sub(r"<[^>]*>", "[^/]+", text.replace("\\ ", " "))
    text = text.replace("ab/cdef…", "[0-9a-f]{2}/[0-9a-f]+")
    return re.compile(text + (".*" if path.endswith("/") else "(/.*)?"))


def paths_on(machine: Machine) -> set[str]:
    found = set()
    places = {
        machine.sysroot.store: "",
        machine.sysroot.boot: "$BOOT/",
        machine.sysroot.run: "/run/bootd/",
    }
    for place, name in places.items():
        found |= {f"{name}{path.relative_to(place)}" for path in place.rglob("*") if path.is_file()}
        found |= {f"{path.name}/" for path in machine.sysroot.store.iterdir() if path.is_dir()}
    return found


def life(folder: Path) -> Iterator[Machine]:
    """A machine after each part of its life: an upgrade, checks, a rollback, a cleanup."""
    machine = installed(folder)
    machine.upgrade()
    yield machine
    machine.reboot()
    check(machine.host, Silent())
    yield machine
    rollback(machine.host, Silent())
    run_health(machine.host, machine.folder, take_survey(machine.sysroot))
    note_attempt(machine.host, "check", ConnectionFailedError("no"), automatic=True, user=0)
    yield machine
    machine.power_on()
    collect(machine.host, Silent())
    yield machine


def test_the_page_has_every_file_and_every_file_is_there(tmp_path: Path) -> None:
    patterns = {row: pattern(row) for row in documented()}
    assert len(patterns) > 20
    there = set[str]().union(*map(paths_on, life(tmp_path)))
    unnamed = {path for path in there if not any(one.fullmatch(path) for one in patterns.values())}
    assert unnamed - FOLDERS == set()
    absent = {row for row, one in patterns.items() if not any(map(one.fullmatch, there))}
    assert {row for row in absent if not row.endswith(tuple(ELSEWHERE))} == set()


def test_what_is_not_in_that_life_is_in_a_test() -> None:
    for test in ELSEWHERE.values():
        assert (ROOT / "tests" / test).is_file()
