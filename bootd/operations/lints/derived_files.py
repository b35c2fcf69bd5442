"""Files of ``/etc`` that are made from others, and that a machine could not make anew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from bootd.etc.rules.built_in import BUILT_IN
from bootd.etc.rules.derived import Derived
from bootd.etc.rules.policy import parse_rules
from bootd.model.errors import InvalidConfigurationError
from bootd.model.etc.derived import DerivedRule
from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.etc.rules import PROGRAM_FOLDERS, program_of
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint
from bootd.operations.lints.configuration import rules_files

_TREES: Final = ("etc", "usr/etc")
_TABLES: Final = (".db", ".lmdb", ".cdb")
"""How the files end that programs make of a text of the same name."""


def _look(image: ImageRoot) -> Iterator[Found]:
    told = {}
    for path in rules_files(image):
        try:
            rules = parse_rules(image.read(path)).derived
        except InvalidConfigurationError:
            # What is wrong with it is told by another lint.
            continue
        told.update(rules)
        for name, rule in rules.items():
            if rule.command and not _has_program(image, name, rule):
                yield Found(path, f"rule {name}: {program_of(name, rule)} is not in the image")
    rules = {**BUILT_IN, **told}
    usable = [one for one in Derived.of(rules) if _has_program(image, one.name, one.rule)]
    known = Derived.of(BUILT_IN)
    for tree in _TREES:
        leaves = {path.removeprefix(f"{tree}/") for path in image.leaves(tree)}
        for path in sorted(leaves):
            made = os.fsencode(path)
            if any(one.makes(made, None) for one in usable):
                continue
            maker = next((one for one in known if one.makes(made, None)), None)
            source = next((path.removesuffix(end) for end in _TABLES if path.endswith(end)), None)
            if maker is not None and any(maker.reads(os.fsencode(one)) for one in leaves):
                program = program_of(maker.name, maker.rule)
                yield Found(f"{tree}/{path}", f"{program}, which makes it, is not in the image")
            elif source in leaves:
                yield Found(f"{tree}/{path}", f"no rule says how it is made from /etc/{source}")


def _has_program(image: ImageRoot, name: str, rule: DerivedRule) -> bool:
    program = program_of(name, rule)
    paths = [program] if "/" in program else [f"{one}/{program}" for one in PROGRAM_FOLDERS]
    return any(image.leads_to_file(path) for path in paths)


LINT = Lint(
    rule=LintRule(
        id="derived-files",
        severity=LintSeverity.WARNING,
        reason=(
            "Where a machine changed such a file, or what it is made from, it keeps the file it "
            "has, however old that gets, and each change in the image is a conflict."
        ),
        mend=(
            "Bring the program, or say how it is made under [derived.NAME] in "
            "/usr/lib/bootd/etc.toml, as bootd-etc(7) says."
        ),
    ),
    look=_look,
)
