"""What bash, zsh and fish complete of a command line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bootd.cli.main import main

BASH = """
source "$0"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
_bootctl_py 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""
ZSH = """
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1=; autoload -U compinit; compinit -u -D; source '$1
zpty -w shell 'bindkey "^I" complete-word; echo re""ady'
zpty -r -m shell line '*ready*'
zpty -n -w shell "$2"$'\\t'"x"$'\\x18'
zpty -r -m shell line '*'$3'*' && print -rn -- found
"""
"""A line that is edited by a person, who presses the key that completes."""
LINES = [
    (("up",), {"upgrade"}),
    (("etc", "pre"), {"preview"}),
    (("etc", "co"), {"conflicts", "copies"}),
    (("status", "--json", "sh"), {"short"}),
    (("--sysroot", "/usr", "upg"), {"upgrade"}),
    (("kargs", ""), {"add", "remove", "set", "unset"}),
    (("install", "to-disk", "--fi"), {"--filesystem"}),
    (("--json", "short", "status", "--no-p"), {"--no-pager"}),
    (("rollback", "--json", "no-such"), set()),
]


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["--no-pager", "completion", shell]) == 0
    path = folder / shell
    path.write_text(capsys.readouterr().out)
    return path


def output(*words: str | Path) -> str:
    done = subprocess.run(
        [*map(str, words)], check=True, capture_output=True, text=True, timeout=120
    )
    return done.stdout


def test_bash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = script("bash", tmp_path, capsys)
    for words, expected in LINES:
        completed = output("bash", "-c", BASH, path, "bootctl-py", *words)
        assert set(completed.split()) == expected, words
    joined = output("bash", "-c", BASH, path, "bootctl-py", "--json", "=", "pre")
    assert joined.split() == ["pretty"]


def test_fish(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = script("fish", tmp_path, capsys)
    for words, expected in LINES:
        line = " ".join(["bootctl-py", *words])
        completed = output("fish", "--no-config", "-c", f"source {path}; complete -C '{line}'")
        assert {one.split("\t")[0] for one in completed.splitlines()} == expected, words


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("bootctl-py upg", "upgrade"),
        ("bootctl-py etc pre", "preview"),
        ("bootctl-py status --json sh", "short"),
        ("bootctl-py --json=pr", "--json=pretty"),
        ("bootctl-py --sysroot /usr upg", "upgrade"),
        ("bootctl-py fsck --sta", "--starting"),
    ],
)
def test_zsh(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, completed: str) -> None:
    path = script("zsh", tmp_path, capsys)
    assert "found" in output(
        "zsh", "-f", "-c", ZSH, "zsh", path, line, completed.replace(" ", "\\ ")
    )
