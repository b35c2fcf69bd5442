"""Debian's own checkers on merged account databases: pwck(8) and grpck(8), read-only."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from support.account_databases import Databases, account_databases
from support.effort import examples

from bootd.etc.accounts.merge import merge_accounts
from bootd.process import run

EXAMPLES = examples(60)
SOUND = account_databases(sound=True)


def complaints(databases: Databases) -> str:
    """What pwck and grpck say of a root folder that has these databases."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "etc").mkdir()
        (root / "bin").mkdir()
        for shell in ("sh", "bash"):
            (root / "bin" / shell).touch(0o755)
        for database in ("passwd", "shadow", "group", "gshadow"):
            (root / "etc" / database).write_bytes(databases[database])
        done = [run([tool, "-r", "-R", root], expected=range(256)) for tool in ("pwck", "grpck")]
    return "".join((one.stdout + one.stderr).decode() for one in done if one.returncode)


@EXAMPLES
@given(SOUND, SOUND, SOUND)
def test_what_is_merged_of_sound_databases_is_sound(
    base: Databases, mine: Databases, theirs: Databases
) -> None:
    assert complaints(mine) == complaints(theirs) == ""
    assert complaints(merge_accounts(base, mine, theirs).contents) == ""


def test_the_tools_do_complain() -> None:
    broken = {
        "passwd": b"a:x:1:1::/:/bin/sh\n",
        "group": b"a:x:1:\n",
        "shadow": b"",
        "gshadow": b"",
    }
    assert "no matching password file entry in" in complaints(broken)
