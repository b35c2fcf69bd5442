"""The documentation says what the code does: options, errors, settings, bus, states, links."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bootd.cli.main import INTERRUPTED
from bootd.cli.parser import verb_parser
from bootd.cli.render.by_kind import RENDERINGS
from bootd.cli.verbs import VERBS
from bootd.model.config import Configuration
from bootd.model.errors import registered_errors
from bootd.model.state import UpgradeState

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
INTERFACES = sorted((ROOT / "dbus").glob("org.bootd1.*.xml"))


NAMED_TEST = re.compile(r"`(tests/[a-z0-9_/]+\.py)(?:::([a-z0-9_]+))?`")


def named_tests() -> set[tuple[str, str, str]]:
    """Where a test is named, its file, and its name, which may be empty."""
    pages = (*ROOT.glob("*.md"), *DOCS.rglob("*.md"))
    return {
        (str(one.relative_to(ROOT)), *found)
        for one in pages
        for found in NAMED_TEST.findall(one.read_text())
    }


def rows(text: str, title: str) -> list[list[str]]:
    """The cells of each row of the table below a heading, but for its head."""
    [below] = re.findall(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE
    )
    lines = [line for line in below.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def page(name: str) -> str:
    return (DOCS / name).read_text()


def section(text: str, title: str) -> str:
    found = re.search(rf"^# {re.escape(title)}\n(.*?)(?=^# |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found is not None, f"there is no section {title}"
    return found[1]


def test_tests_that_are_named_are_there() -> None:
    missing = []
    for where, path, name in named_tests():
        file = ROOT / path
        there = file.is_file() and (
            not name or re.search(rf"^(?:async )?def {name}\(", file.read_text(), re.MULTILINE)
        )
        if not there:
            missing.append(f"{where} names {path}::{name}")
    assert not missing


def test_each_row_of_the_threat_model_is_shown_by_a_test() -> None:
    found = rows(page("threat-model.md"), "What is verified, and where")
    assert len(found) > 15
    assert [row[0] for row in found if "::test_" not in row[-1]] == []


def test_what_is_said_to_work_was_tried() -> None:
    """A row that claims anything names its tests, and one that does not says so."""
    claims = [
        (row[0], row[1] != "not tried", bool(row[2]))
        for title in ("Images", "What builds and moves images", "Registries")
        for row in rows(page("tried.md"), title)
    ]
    assert len(claims) > 15
    assert [name for name, claimed, shown in claims if claimed is not shown] == []


def test_generated_parts_are_current() -> None:
    done = subprocess.run(
        [sys.executable, DOCS / "generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, f"run 'python docs/generate.py':\n{done.stdout}{done.stderr}"


def test_a_stale_part_is_noticed(tmp_path: Path) -> None:
    copy = tmp_path / "docs"
    for path in (DOCS / "generate.py", *DOCS.rglob("*.md"), *DOCS.rglob("*.json"), *INTERFACES):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    command = [sys.executable, str(copy / "generate.py")]
    check = [*command, "--check"]

    def run(words: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)

    assert run(check).returncode == 0
    manual = copy / "man/bootctl-py.8.md"
    manual.write_text(manual.read_text().replace("**--offline**", "**--online**"))
    (copy / "schemas/status-v1.schema.json").unlink()
    stale = run(check)
    assert stale.returncode == 1
    assert "bootctl-py.8.md" in stale.stdout
    assert "status-v1.schema.json" in stale.stdout
    assert run(command).returncode == 0
    assert run(check).returncode == 0


def test_the_manual_has_every_verb_and_option_and_no_other() -> None:
    manual = page("man/bootctl-py.8.md")
    for verb in VERBS:
        parser = verb_parser(verb)
        names = {name for action in parser._actions for name in action.option_strings}
        assert all(f"**{name}**" in manual for name in names), verb.words
        assert re.search(rf"^## \*\*{verb.words}\*\*", manual, re.MULTILINE)
    listed = re.findall(r"^## \*\*([a-z -]+)\*\*", section(manual, "VERBS"), re.MULTILINE)
    assert listed == [verb.words for verb in VERBS]


def test_the_manual_says_what_works_offline() -> None:
    text = section(page("man/bootctl-py.8.md"), "WORKING WITHOUT THE DAEMON")
    named = set(re.findall(r"\*\*([a-z]+(?: [a-z]+)?)\*\*", text.replace("\n", " ")))
    assert named == {verb.words for verb in VERBS if verb.offline}


def test_the_manual_has_every_kind_of_document() -> None:
    text = section(page("man/bootctl-py.8.md"), "OUTPUT FOR PROGRAMS")
    kinds = set(re.findall(r"^\*\*(\w+)\*\*\n:  ", text, re.MULTILINE))
    assert kinds == RENDERINGS.keys() | {"Error"}
    for verb in VERBS:
        assert f"**{verb.words}**" in text, verb.words


def test_the_manual_has_every_exit_status() -> None:
    table = section(page("man/bootctl-py.8.md"), "EXIT STATUS")
    listed = {int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    errors = {error.exit_status for error in registered_errors().values()}
    assert listed == errors | {0, INTERRUPTED, 141, 255}


def test_every_error_is_in_both_manuals() -> None:
    command = section(page("man/bootctl-py.8.md"), "ERRORS")
    bus = section(page("man/org.bootd1.5.md"), "ERRORS")
    for code, error in registered_errors().items():
        assert f"**{code}** ({error.exit_status})\n:  " in command
        assert f"**{error.bus_name()}**\n:  " in bus


def classes_of_errors() -> dict[str, str]:
    """Each class of the package of errors with its base, by its source; nothing is imported."""
    found = {}
    for path in (ROOT / "bootd/model/errors").glob("*.py"):
        for statement in ast.parse(path.read_text()).body:
            if isinstance(statement, ast.ClassDef):
                [base] = map(ast.unparse, statement.bases)
                found[statement.name] = base
    return found


@pytest.mark.checkout
def test_the_architecture_has_the_whole_tree_of_errors() -> None:
    above: dict[int, str] = {-1: "BootdError"}
    shown = {}
    lines = re.findall(r"^( *)- `(\w+Error)`: \S", page("architecture.md"), re.MULTILINE)
    for indent, name in lines:
        depth = len(indent) // 2
        shown[name] = above[depth - 1]
        above[depth] = name
    written = classes_of_errors()
    assert written.pop("BootdError") == "Exception"
    assert shown == written
    assert len(lines) == len(shown)


@pytest.mark.checkout
def test_every_error_can_be_raised() -> None:
    """What the manuals list is used outside of the list, itself or by its name."""
    used = set()
    for path in (ROOT / "bootd").rglob("*.py"):
        if ROOT / "bootd/model/errors" not in path.parents:
            tree = ast.parse(path.read_text())
            used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert {error.__name__ for error in registered_errors().values()} <= used


def test_every_setting_is_described_and_no_other() -> None:
    text = section(page("man/bootd.toml.5.md"), "SETTINGS")
    described = re.findall(r"^\*\*(\w+)\*\* \((.*)\)$", text, re.MULTILINE)
    assert [name for name, _ in described] == list(Configuration.model_fields)
    for name, details in described:
        field = Configuration.model_fields[name]
        default = field.get_default()
        if isinstance(default, int):
            assert details.endswith(f"default {default}".lower()), name
        bounds = [
            getattr(one, side)
            for one in field.metadata
            for side in ("ge", "le")
            if hasattr(one, side)
        ]
        if bounds:
            assert f"{min(bounds)} to {max(bounds)}" in details, name


@pytest.mark.parametrize("path", INTERFACES, ids=lambda path: path.stem)
def test_every_member_of_the_bus_is_described(path: Path) -> None:
    [interface] = ET.parse(path).getroot().findall("interface")
    text = section(page("man/org.bootd1.5.md"), str(interface.get("name")).upper())
    for member in interface:
        if member.tag in ("method", "property", "signal"):
            assert f"**{member.get('name')}**" in text


def test_the_states_are_in_the_architecture() -> None:
    """``test_states.py`` brings a machine into each of them."""
    described = rows(page("architecture.md"), "The life of an upgrade")
    assert sorted(row[0].strip("*") for row in described) == sorted(UpgradeState)


PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not target.startswith("https://"):
            assert (path.parent / target).exists(), target


def test_every_decision_is_listed() -> None:
    listed = set(re.findall(r"\]\((\d{4}-[a-z-]+\.md)\)", page("decisions/README.md")))
    assert listed == {path.name for path in (DOCS / "decisions").glob("0*.md")}
