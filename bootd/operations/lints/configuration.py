"""The settings that the image brings can be used."""

from __future__ import annotations

from collections.abc import Iterator

from bootd.configuration import load
from bootd.etc.rules.policy import parse_rules
from bootd.model.errors import InvalidConfigurationError
from bootd.model.lint import LintRule, LintSeverity
from bootd.operations.etc.rules import MAX_RULES_FILES, RULES, RULES_FOLDER
from bootd.operations.image.root import ImageRoot
from bootd.operations.lint import Found, Lint


def rules_files(image: ImageRoot) -> list[str]:
    """Return the files in which an image says what becomes of its own ``/etc``."""
    names = image.names(RULES_FOLDER)[:MAX_RULES_FILES]
    drop_ins = [name for name in names if name.endswith(".toml") and not name.startswith(".")]
    return [RULES, *(f"{RULES_FOLDER}/{name}" for name in drop_ins)]


def _look(image: ImageRoot) -> Iterator[Found]:
    try:
        loaded = load(image.folder)
    except InvalidConfigurationError as error:
        yield Found("etc/bootd/bootd.toml", error.message)
    else:
        for warning in loaded.warnings:
            yield Found("etc/bootd/bootd.toml", warning, LintSeverity.WARNING)
    for path in rules_files(image):
        try:
            parse_rules(image.read(path))
        except InvalidConfigurationError as error:
            # An upgrade goes on without them.
            yield Found(path, error.message, LintSeverity.WARNING)


LINT = Lint(
    rule=LintRule(
        id="configuration",
        severity=LintSeverity.FATAL,
        reason="The daemon does not start with settings that it cannot use.",
        mend="Mend the named file; bootd.toml(5) has the keys and their bounds.",
    ),
    look=_look,
)
