"""The benchmark's verdicts: each figure beside its target, and a last line that counts them."""

from __future__ import annotations

import json
from pathlib import Path

from bench.measure import Measurement
from bench.report import Results, Target


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
