"""Whatever a text of the project refers to is there: pages, headings, modules, tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.checkout
ROOT = Path(__file__).parents[2]
FOLDERS = ("bootd", "docs", "tests", "systemd", "dbus", "packaging")
SUFFIXES = (".py", ".md", ".xml", ".catalog", ".service", ".timer", ".toml", ".conf")
OF_OTHER_PROJECTS = {
    "docs/containers-storage-zstd-chunked.md",
    "docs/oid-info.md",
}
"""Pages of other projects, which are named beside them."""

PAGE = re.compile(r"(?<![\w/.-])(docs/[\w./-]+\.md)(?:, \"([^\"]+)\")?")
MODULE = re.compile(r"`(bootd(?:\.\w+)+)")
SOURCE = re.compile(r"`((?:bootd|operations|daemon|store|registry|etc|boot|model|cli)/[\w/]+\.py)`")
TEST = re.compile(r"`(?:tests/[\w/]+/)?(test_\w+\.py)(?:::(\w+))?`")
FILES = re.compile(r"bootd\.(toml|toml\.d|service|timer|socket|catalog|integrity)")
"""Names with a dot that are no modules: files, units, a kernel argument."""
ANCHOR = re.compile(r"\]\(([\w./-]*)#([\w-]+)\)")
UNSEEN = re.compile(r"\bdesign,? (?:section|chapter|§|D) ?\d|\(D\d+\)|\bdecision D\d")
"""References to a document that is not in the repository."""


def texts() -> Iterator[tuple[str, str]]:
    """Each text by its path, with lines of comments and prose joined."""
    for path in [
        *ROOT.glob("*.md"),
        *(one for name in FOLDERS for one in (ROOT / name).rglob("*")),
    ]:
        if path.suffix in SUFFIXES and path.is_file() and path != Path(__file__):
            yield str(path.relative_to(ROOT)), re.sub(r"\s*\n\s*(?:# )?", " ", path.read_text())


TEXTS = dict(texts())


def headings(page: Path) -> set[str]:
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {heading.replace("`", "") for heading in found}


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def resolves(dotted: str) -> bool:
    """Whether a dotted name leads to a module, or to a name at the top of one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:count])
        for module in (place.with_suffix(".py"), place / "__init__.py"):
            if module.is_file():
                return not parts[count:] or parts[count] in names_in(module)
    return False


def names_in(module: Path) -> set[str]:
    names = set()
    for statement in ast.parse(module.read_text()).body:
        match statement:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {ast.unparse(target) for target in targets}
            case ast.AnnAssign(target=target):
                names.add(ast.unparse(target))
            case ast.ImportFrom(names=imported):
                names |= {one.asname or one.name for one in imported}
            case _:
                pass
    return names


def missing_pages(text: str) -> Iterator[str]:
    for page, heading in PAGE.findall(text):
        if page in OF_OTHER_PROJECTS:
            continue
        there = (ROOT / page).is_file()
        if not there or (heading and heading.replace("`", "") not in headings(ROOT / page)):
            yield f"{page} {heading}"


def missing_anchors(where: str, text: str) -> Iterator[str]:
    for page, fragment in ANCHOR.findall(text):
        target = (ROOT / where).parent / page if page else ROOT / where
        if fragment not in {anchor(one) for one in headings(target)}:
            yield f"{page}#{fragment}"


def missing_sources(text: str) -> Iterator[str]:
    for name in MODULE.findall(text):
        if not FILES.fullmatch(name) and not resolves(name):
            yield name
    for path in SOURCE.findall(text):
        if not (ROOT / path).is_file() and not (ROOT / "bootd" / path).is_file():
            yield path
    for name, function in TEST.findall(text):
        files = list((ROOT / "tests").rglob(name))
        if not any(not function or f"def {function}(" in file.read_text() for file in files):
            yield f"{name} {function}"


def test_what_texts_refer_to_is_there() -> None:
    missing = {}
    for where, text in TEXTS.items():
        lost = [*missing_pages(text), *missing_sources(text), *UNSEEN.findall(text)]
        if where.endswith(".md"):
            lost += missing_anchors(where, text)
        if lost:
            missing[where] = lost
    assert not missing


def test_a_page_of_another_project_is_none_of_ours() -> None:
    cited = {page for text in TEXTS.values() for page, _ in PAGE.findall(text)}
    assert cited >= OF_OTHER_PROJECTS
    assert not [page for page in OF_OTHER_PROJECTS if (ROOT / page).exists()]


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("(design section 5)", True),
        ("design D8", True),
        ("as decided (D7)", True),
        ("design, section 4", True),
        ("by design sections are sorted", False),
        ("a RAID1 of two disks", False),
    ],
)
def test_references_to_what_nobody_can_read_are_seen(text: str, is_one: bool) -> None:
    assert bool(UNSEEN.search(text)) is is_one


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("bootd.durable", True),
        ("bootd.durable.Disk", True),
        ("bootd.model.errors.InternalError", True),
        ("bootd.durables", False),
        ("bootd.durable.Disc", False),
    ],
)
def test_names_of_modules_are_looked_up(name: str, there: bool) -> None:
    assert resolves(name) is there
