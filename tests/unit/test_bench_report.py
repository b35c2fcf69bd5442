"""The benchmark's verdicts: each figure beside its target, and a last line that counts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.bootd_tool import phases
from bench.measure import Measurement
from bench.partial_fetch import PROMISES as TABLE_PROMISES
from bench.report import NotMeasuredError, Promise, Results, Target
from bench.targets import PROMISES


def results() -> Results:
    found = Results({"processor": "none"})
    for seconds in (3.0, 1.0, 2.0):
        found.add("pull", "bootd", Measurement(seconds, seconds, 1.0, 1 << 20, 0, 5 << 20, ""))
    found.targets = [Target("pull", 0.3, 0.3, "x a tool"), Target("poll", 2, 1, "requests")]
    return found


def test_each_target_has_a_verdict_and_the_last_line_counts_them() -> None:
    found = results()
    assert (found.missed, found.verdict()) == (1, "1 targets met, 1 missed")
    rows = [line for line in found.table().splitlines() if "<=" in line]
    assert [row.split("|")[5].strip() for row in rows] == ["met", "MISSED"]


def test_medians_and_files(tmp_path: Path) -> None:
    found = results()
    assert found.median("pull", "bootd") == 2.0
    assert found.median("pull", "bootd", "wire_bytes") == 5 << 20
    found.write(tmp_path, "run")
    value = json.loads((tmp_path / "run.json").read_text())
    assert [target["met"] for target in value["targets"]] == [True, False]
    assert value["runs"]["pull"]["bootd"][0]["wire_bytes"] == 5 << 20
    assert "| bootd" in (tmp_path / "run.md").read_text()


def test_a_part_that_fails_costs_only_its_own_figures() -> None:
    found = results()
    with found.part("daemon"):
        found.note("daemon", resident=30.0)
        raise OSError("no | bus")
    with found.part("tools"), pytest.raises(NotMeasuredError, match="no / bus"):
        found.figure("daemon", "wakes")
    promises = [
        Promise("resident", 40, "MB", lambda all_found: all_found.figure("daemon", "resident")),
        Promise("wakes", 1, "a minute", lambda all_found: all_found.figure("daemon", "wakes")),
        Promise("other", 1, "x a tool", lambda all_found: all_found.median("pull", "a tool")),
    ]
    found.targets = [promise.judge(found) for promise in promises]
    assert [target.met for target in found.targets] == [True, False, False]
    assert found.verdict() == "1 targets met, 2 missed"
    assert "not measured: no / bus" in found.table()
    assert "not measured: a tool was left out" in found.table()


def test_what_a_test_tool_misses_is_a_failed_part_and_an_interrupt_is_not() -> None:
    found = results()
    with found.part("registry"):
        pytest.fail("docker-registry is missing")
    assert found.failed == {"registry": "docker-registry is missing"}
    with pytest.raises(KeyboardInterrupt), found.part("tools"):
        raise KeyboardInterrupt


def test_nothing_measured_is_nothing_met() -> None:
    found = Results({})
    found.targets = [promise.judge(found) for promise in (*PROMISES, *TABLE_PROMISES)]
    assert found.missed == len(found.targets) == 25


def test_phases_last_until_the_next_is_reported() -> None:
    events = [
        {"phase": "pulling"},
        {"phase": "pulling"},
        {"phase": "composing"},
        {"event": "result"},
    ]
    output = "".join(json.dumps(event) + "\n" for event in events)
    run = Measurement(10.0, 10.0, 1.0, 0, 0, 0, output, (1.0, 2.0, 6.0, 9.0))
    assert phases(run) == {"starting": 1.0, "pulling": 5.0, "composing": 4.0}
