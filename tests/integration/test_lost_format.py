"""A machine that has an image, and whose store has lost its format, is damaged."""

from __future__ import annotations

from pathlib import Path

from support.machine import installed

from bootd.cli.render.by_kind import render
from bootd.cli.style import Style
from bootd.daemon.machine import Machine
from bootd.operations.progress import Silent
from bootd.operations.stage import stage


async def test_a_store_that_lost_its_format_is_damaged(tmp_path: Path) -> None:
    machine = installed(tmp_path)
    stage(machine.host, Silent())
    (machine.folder / "bootd/format.json").unlink()
    daemon = Machine(machine.folder)
    await daemon.read()
    shown = render(daemon.status.model_dump(mode="json"), Style())
    assert "has no bootd/format.json" in shown
