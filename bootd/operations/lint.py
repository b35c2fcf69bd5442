"""Lint: everything in an image's tree that would make it fail or misbehave on a host.

A lint is one module in ``bootd/operations/lints`` with a `Lint` called ``LINT``; being there is all
it takes to be used. Lints look and say; none changes anything or depends on another.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bootd.model.errors import InvalidArgumentError
from bootd.model.lint import LintDocument, LintFinding, LintRule, LintSeverity
from bootd.operations import lints
from bootd.operations.image.root import ImageRoot

_MOST_FINDINGS: Final = 50
"""Of one lint; what a whole folder has in common need not be said for each file."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a lint found.

    Attributes:
        path: where, from the image's root.
        problem: what is wrong there.
        severity: if it is another one than the lint's.
    """

    path: str
    problem: str
    severity: LintSeverity | None = None


@dataclass(frozen=True, slots=True)
class Lint:
    """One thing to look for.

    Attributes:
        rule: what it is called, why it matters, what to do.
        look: yields what it finds in an image.
    """

    rule: LintRule
    look: Callable[[ImageRoot], Iterable[Found]]


def all_lints() -> list[Lint]:
    """Return every lint, by its ID."""
    modules = [
        importlib.import_module(f"{lints.__name__}.{module.name}")
        for module in pkgutil.iter_modules(lints.__path__)
    ]
    return sorted((module.LINT for module in modules), key=lambda lint: lint.rule.id)


def lint(root: Path, *, skip: Collection[str] = ()) -> LintDocument:
    """Look at an image's tree.

    Args:
        root: its folder; ``/`` in a build container.
        skip: IDs of lints that are not wanted.

    Raises:
        InvalidArgumentError: the root is no folder, or there is no lint of that ID.
    """
    if not root.is_dir():
        raise InvalidArgumentError(f"{root} is not a folder")
    found = all_lints()
    unknown = set(skip) - {one.rule.id for one in found}
    if unknown:
        raise InvalidArgumentError(
            f"there is no lint {min(unknown)[:100]!r}", hint="'bootctl-py lint --list' names them."
        )
    image = ImageRoot(root)
    wanted = [one for one in found if one.rule.id not in skip]
    return LintDocument(
        root=str(image.folder),
        findings=[finding for one in wanted for finding in _apply(one, image)],
        rules=[one.rule for one in wanted],
        skipped=sorted(set(skip)),
    )


def _apply(one: Lint, image: ImageRoot) -> list[LintFinding]:
    found = []
    for number, what in enumerate(one.look(image), 1):
        if number > _MOST_FINDINGS:
            found.append(_finding(one, Found(what.path, "and more like this, not shown")))
            break
        found.append(_finding(one, what))
    return found


def _finding(one: Lint, found: Found) -> LintFinding:
    path = found.path.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return LintFinding(
        lint=one.rule.id,
        severity=found.severity or one.rule.severity,
        path=f"/{path.lstrip('/')}",
        problem=found.problem,
    )
