"""Machines for the scenarios, and the table of what each took."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.cache import cache_directory
from support.registry import run_docker_registry
from support.vm import Saved
from support.vm_disk import running_machine
from support.vm_scenario import Scenario

_TEST_SECONDS = 5_400
"""How long a scenario may take where machines are emulated on two cores that others use too."""
_FIRST = (
    *("test_power_cuts.py", "test_fallback.py", "test_boot_partition.py"),
    *("test_upgrade.py::test_rollback_and", "test_upgrade.py::test_update"),
)
"""What takes longest; begun last, it would run alone at the end while a processor has no work."""
_scenario = pytest.StashKey[Scenario]()
_failure = pytest.StashKey[str | None]()
"""What the report of a failed test says."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give scenarios the time they take, and begin with the longest."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(_TEST_SECONDS))
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    name = item.nodeid.rpartition("/")[2]
    return next((turn for turn, first in enumerate(_FIRST) if name.startswith(first)), len(_FIRST))


@pytest.fixture(scope="session", autouse=True)
def machines(request: pytest.FixtureRequest) -> None:
    """Make the machines to begin with, if they are not in the cache.

    Before any test, because what Python keeps of the processes that do it is no test's leak.
    """
    running_machine()
    for make in {_machine(item) for item in request.session.items}:
        make()


@pytest.fixture
def scenario(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scenario]:
    """A machine and a registry that serves ``v1``; without a mark it is on ``v1``, and well."""
    saved = _machine(request.node)()
    (tmp_path / "registry").mkdir()
    (tmp_path / "machine").mkdir()
    with run_docker_registry(tmp_path / "registry") as registry:
        recorded = request.node.get_closest_marker("recorded") is not None
        one = Scenario(saved, tmp_path / "machine", registry, recorded=recorded)
        request.node.stash[_scenario] = one
        try:
            one.begin()
            yield one
        finally:
            _keep(request.node.name, one, request.node.stash.get(_failure, default=None))
            one.machine.kill()


def _machine(item: pytest.Item) -> Callable[[], Saved]:
    mark = item.get_closest_marker("machine")
    return running_machine if mark is None else mark.kwargs["make"]


def _keep(name: str, one: Scenario, failure: str | None) -> None:
    """Keep report, console and screen of a scenario that failed in ``$BOOTD_VM_RESULTS``."""
    folder = Path(os.environ.get("BOOTD_VM_RESULTS") or cache_directory() / "vm-failures") / name
    shutil.rmtree(folder, ignore_errors=True)
    if failure is None:
        return
    folder.mkdir(parents=True)
    if one.machine.is_on:
        with suppress(pytest.fail.Exception):
            one.machine.take_picture(folder / "screen.png")
    (folder / "failure.txt").write_text(failure)
    (folder / "serial.log").write_text(one.machine.serial)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that a test failed, and write the row of the table."""
    report = yield
    if report.when == "call":
        item.stash[_failure] = report.longreprtext if report.failed else None
    one = item.stash.get(_scenario, None)
    if report.when == "call" and one is not None:
        report.user_properties.append(("boots", one.machine.boots))
        report.user_properties.append(("began", time.time() - report.duration))
        if report.failed:
            report.sections.append(("serial console", one.machine.describe()))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print scenario, boots, seconds and verdict."""
    rows = [
        (report.nodeid.partition("::")[2], dict(report.user_properties), report)
        for kind in ("passed", "failed")
        for report in terminalreporter.getreports(kind)
        if report.when == "call" and dict(report.user_properties).get("boots") is not None
    ]
    if not rows:
        return
    terminalreporter.section("scenarios")
    width = max(len(name) for name, _, _ in rows)
    terminalreporter.line(f"{'scenario':{width}}  boots  seconds  verdict")
    for name, properties, report in sorted(rows, key=lambda row: row[1]["began"]):
        terminalreporter.line(
            f"{name:{width}}  {properties['boots']:5}  {report.duration:7.0f}  {report.outcome}"
        )
    boots = sum(properties["boots"] for _, properties, _ in rows)
    seconds = sum(report.duration for _, _, report in rows)
    terminalreporter.line(f"{'all':{width}}  {boots:5}  {seconds:7.0f}")
