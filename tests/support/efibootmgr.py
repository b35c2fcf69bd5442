"""A stand-in for efibootmgr(8): it keeps a firmware's entries in a file, and prints them.

What it prints is as one of the program's versions has it; before 18 paths are shown with ``-v``
only, and with efivar 39 the path of a file is no longer inside ``File()``.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

UUID = "7d2b1e4a-3c5f-4b6a-9e8d-0f1a2b3c4d5e"
"""Of every partition of a disk that does not exist."""
_OTHER_DISK = "HD(1,GPT,11111111-2222-3333-4444-555555555555,0x800,0x1)"
OTHERS = [
    ["0000", "*", "Windows Boot Manager", f"HD(1,GPT,{UUID},0x800,0x32000)/File(\\EFI\\W.EFI)WIN"],
    ["0001", "*", "UEFI: \tPXE", "PciRoot(0x0)/Pci(0x1c,0x0)/MAC(089e01381698,0)"],
    ["0004", "*", "debian", f"{_OTHER_DISK}/File(\\EFI\\systemd\\systemd-bootx64.efi)"],
]
PROGRAM = """\
#!{python} -IS
import json, pathlib, subprocess, sys
file = pathlib.Path({file!r})
state = json.loads(file.read_text())
words = sys.argv[1:]
state["calls"].append(words)
def value(option):
    return words[words.index(option) + 1]
status = 0
if "--create" in words:
    if state["broken"]:
        print("Could not prepare Boot variable: No space left on device", file=sys.stderr)
        status = 5
    elif not state["forgets"]:
        taken = [entry[0] for entry in state["entries"]]
        number = next(n for n in map("{{:04X}}".format, range(99)) if n not in taken)
        asked = subprocess.run(["sfdisk", "--part-uuid", value("--disk"), value("--part")],
                               capture_output=True, text=True)
        uuid = asked.stdout.strip().lower() or {uuid!r}
        path = "HD(" + value("--part") + ",GPT," + uuid + ",0x800,0x100000)/"
        path += state["file"] % value("--loader")
        state["entries"].append([number, "*", value("--label"), path])
        state["order"].insert(0, number)
if "--active" in words:
    next(e for e in state["entries"] if e[0] == value("--bootnum"))[1] = "*"
if "--bootorder" in words:
    state["order"] = value("--bootorder").split(",")
file.write_text(json.dumps(state))
if status == 0 and "--quiet" not in words:
    print("BootCurrent: 0000\\nTimeout: 1 seconds")
    if state["order"]:
        print("BootOrder: " + ",".join(state["order"]))
    for number, active, label, path in sorted(state["entries"]):
        shown = "\\t" + path if state["always"] or "-v" in words else ""
        print(f"Boot{{number}}{{active or ' '}} {{label}}{{shown}}")
        if state["always"] and "-v" in words:
            print("      dp: 04 01 2a 00 / 7f ff 04 00\\n    data: 42 4f")
sys.exit(status)
"""
VERSIONS = {
    "17": {"file": "File(%s)", "always": False},
    "18": {"file": "File(%s)", "always": True},
    "18 with efivar 39": {"file": "%s", "always": True},
}


@dataclass(frozen=True)
class StandIn:
    """What the firmware holds, and what the program was called with."""

    file: Path

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.file.read_text())
        return state

    def change(self, **values: Any) -> None:
        self.file.write_text(json.dumps({**self.state, **values}))

    def changes(self) -> list[list[str]]:
        return [call for call in self.state["calls"] if call != ["-v"]]


def efibootmgr_in(folder: Path, patch: pytest.MonkeyPatch, version: str = "18") -> StandIn:
    """Put the stand-in before all else in PATH; the firmware has `OTHERS`."""
    file, program = folder / "variables.json", folder / "bin/efibootmgr"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable, file=str(file), uuid=UUID))
    program.chmod(0o755)
    begin = {"entries": OTHERS, "order": ["0000", "0004", "0001"], "calls": []}
    file.write_text(json.dumps({**begin, "broken": False, "forgets": False, **VERSIONS[version]}))
    patch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return StandIn(file)
