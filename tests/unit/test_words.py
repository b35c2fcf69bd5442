"""docs/glossary.md: its names are there, and the words that are not used become fewer.

How many there still are of each is in ``word_ceilings.json``. A number may fall and not rise;
``BOOTD_WRITE_GOLDEN=1 pytest tests/unit/test_words.py`` writes what is lower.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from bootd.cli.render.by_kind import RENDERINGS
from bootd.cli.verbs import VERBS

pytestmark = pytest.mark.checkout
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/glossary.md"
CEILINGS = Path(__file__).with_name("word_ceilings.json")
SLACK = 10
"""How far a number may lie above what is there, or by a tenth, before it has to be written anew."""
_LIMIT = re.compile(r"_?(?:MOST_[A-Z0-9_]+|(?:[A-Z0-9]+_)+(?:LIMIT|MAX))")
_MODULES = ("bootd", "tests/support")


def _tables() -> Iterator[tuple[str, list[list[str]]]]:
    """Each heading of the page with the rows of its table."""
    for part in PAGE.read_text().split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        lines = [line for line in text.splitlines() if line.startswith("|")][2:]
        yield title, [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


TABLES = dict(_tables())
BANNED = [
    (word.strip(), row[1])
    for row in TABLES.pop("Words that are not used")
    for word in row[0].split(",")
]


@cache
def _trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in (ROOT / "bootd").rglob("*.py")}


@cache
def _locals() -> Counter[str]:
    nodes = [node for tree in _trees().values() for node in ast.walk(tree)]
    names = Counter(node.id for node in nodes if isinstance(node, ast.Name))
    return names + Counter(node.arg for node in nodes if isinstance(node, ast.arg))


@cache
def _defined() -> Counter[str]:
    """Functions, methods and classes, by name."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    nodes = (node for tree in _trees().values() for node in ast.walk(tree))
    return Counter(node.name for node in nodes if isinstance(node, kinds))


@cache
def _words_of_names() -> Counter[str]:
    split = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
    return Counter(
        word.lower()
        for name, count in _defined().items()
        for word in set(split.findall(name))
        for _ in range(count)
    )


@cache
def _text() -> str:
    """All that people read, in lower case and with single spaces."""
    paths = [*_trees(), *(ROOT / "dbus").iterdir(), *(ROOT / "docs").rglob("*.md")]
    texts = (path.read_text() for path in paths if path != PAGE)
    return re.sub(r"\s+", " ", " ".join(texts)).lower()


def _in_text(word: str) -> int:
    return len(re.findall(rf"(?<![\w-]){re.escape(word)}s?(?![\w-])", _text()))


def _modules(word: str) -> int:
    return sum(path.stem == word for top in _MODULES for path in (ROOT / top).rglob("*.py"))


def _constants(_rule: str) -> int:
    """Constants of modules that are limits, and are not called MAX_X."""
    targets = [
        target
        for tree in _trees().values()
        for statement in tree.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for target in (
            statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        )
    ]
    return sum(bool(_LIMIT.fullmatch(ast.unparse(target))) for target in targets)


def _twins(_rule: str) -> int:
    """How many classes at the top of a module have a name that another one has."""
    names = Counter(
        statement.name
        for tree in _trees().values()
        for statement in tree.body
        if isinstance(statement, ast.ClassDef)
    )
    return sum(count - 1 for count in names.values())


COUNTS: dict[str, Callable[[str], int]] = {
    "local": lambda word: _locals()[word],
    "name": lambda word: _words_of_names()[word] + _words_of_names()[f"{word}s"],
    "text": _in_text,
    "module": _modules,
    "constant": _constants,
    "class": _twins,
}


def _ceilings() -> dict[str, int]:
    found: dict[str, int] = json.loads(CEILINGS.read_text()) if CEILINGS.exists() else {}
    return found


def test_words_that_are_not_used_become_fewer() -> None:
    counts = {f"{word} ({kind})": COUNTS[kind](word) for word, kind in BANNED}
    ceilings = _ceilings()
    if os.environ.get("BOOTD_WRITE_GOLDEN"):
        lower = {key: min(count, ceilings.get(key, count)) for key, count in counts.items()}
        lower = {key: count for key, count in sorted(lower.items()) if count}
        CEILINGS.write_text(json.dumps(lower, indent=1, ensure_ascii=False) + "\n")
        return
    more = {key: count for key, count in counts.items() if count > ceilings.get(key, 0)}
    assert not more, f"docs/glossary.md says what to write instead of these: {more}"
    assert ceilings.keys() <= counts.keys()
    high = {
        key: counts[key] for key, ceiling in ceilings.items() if ceiling > counts[key] * 1.1 + SLACK
    }
    assert not high, f"fewer than before; run with BOOTD_WRITE_GOLDEN=1: {high}"


def _members() -> set[str]:
    texts = (path.read_text() for path in (ROOT / "dbus").glob("*.xml"))
    tags = r'<(?:method|property|signal) name="(\w+)"'
    return {name for text in texts for name in re.findall(tags, text)}


def _attributes() -> set[str]:
    """What is declared in the body of a class."""
    return {
        ast.unparse(statement.target)
        for tree in _trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
    }


def _assigned() -> set[str]:
    return {
        ast.unparse(target)
        for tree in _trees().values()
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
    }


def test_each_name_of_the_page_is_there() -> None:
    options = {"--sysroot"}
    verbs = {verb.words for verb in VERBS}
    there = {*_defined(), *_attributes(), *_assigned(), *_members(), *RENDERINGS, *verbs, *options}
    named = {
        name
        for rows in TABLES.values()
        for row in rows
        for name in re.findall(r"`([^`]+)`", row[-1])
    }
    assert len(named) > 60
    assert named - there == set()


def test_no_word_is_explained_twice() -> None:
    words = [word for rows in TABLES.values() for row in rows for word in row[0].split(",")]
    assert 40 <= len(words) <= 70
    assert len(set(words)) == len(words)
    assert all(
        row[0].startswith("**") and row[1] and row[2] for rows in TABLES.values() for row in rows
    )


@pytest.mark.parametrize(
    ("text", "is_limit"),
    [
        ("_TEXT_LIMIT", True),
        ("_MOST_LINKS", True),
        ("SIZE_MAX", True),
        ("MAX_LINKS", False),
        ("_MAX_LINKS", False),
        ("LIMITS", False),
    ],
)
def test_limits_are_told_by_their_names(text: str, is_limit: bool) -> None:
    assert bool(_LIMIT.fullmatch(text)) is is_limit
